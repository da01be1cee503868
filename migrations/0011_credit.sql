-- Credit of people and operators, credentials of operators, filings with authorities.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE credit (
    subject_type text NOT NULL CHECK (subject_type IN ('person', 'operator')), -- separate ledgers (O2)
    subject_id text NOT NULL,
    score bigint NOT NULL CHECK (score >= 0), -- the sum of the points of all entries
    entries bigint NOT NULL,                 -- how many there are; grows by one with each
    recovering_since timestamptz,            -- since when the present clean period runs; null: none does
    PRIMARY KEY (subject_type, subject_id)
);
COMMENT ON TABLE credit IS 'What the ledger of a person or operator comes to (S086). Who was never verified has none (P2).';
CREATE INDEX credit_recovering_idx ON credit (recovering_since) WHERE recovering_since IS NOT NULL;

CREATE TABLE credit_entry (
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    number bigint NOT NULL,                  -- 1, 2, 3, ... within one ledger
    at timestamptz NOT NULL,
    points bigint NOT NULL,                  -- signed, as applied: never past the least or the most that may be held
    score bigint NOT NULL,                   -- the sum of all points so far
    cause text NOT NULL,
    by_record text NOT NULL,                 -- record that caused it
    PRIMARY KEY (subject_type, subject_id, number)
);
COMMENT ON TABLE credit_entry IS 'The ledger of credit: signed points, only ever added, each with its record.';
CREATE TRIGGER credit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credit_entry
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE operator ADD COLUMN extra_accounts jsonb; -- {number, until, by_record}: accounts above the cap of its kind

CREATE TABLE credential (
    credential_id text PRIMARY KEY,          -- id of the record that submitted it
    operator_id text NOT NULL,
    kind text NOT NULL,                      -- news_licence, or the field: finance, education, health, law (A3)
    reference text NOT NULL,                 -- number of the document, or the issuer's opaque reference
    valid_from timestamptz NOT NULL,
    valid_until timestamptz NOT NULL,        -- holds while valid_until >= now
    submitted_at timestamptz NOT NULL,
    accepted_at timestamptz,
    accepted_record text,
    ended_at timestamptz,
    ended_how text CHECK (ended_how IN ('refused', 'expired')),
    ended_record text,
    version bigint NOT NULL,
    CONSTRAINT credential_ended CHECK ((ended_at IS NULL) = (ended_how IS NULL)),
    CONSTRAINT credential_one_answer CHECK (accepted_at IS NULL OR ended_how IS NULL OR ended_how <> 'refused')
);
COMMENT ON TABLE credential IS 'What an operator shows to run accounts of a field. Waits until accepted or refused; expires by time.';
CREATE INDEX credential_operator_idx ON credential (operator_id, credential_id);
CREATE INDEX credential_due_idx ON credential (valid_until) WHERE ended_at IS NULL;

CREATE TABLE filing (
    filing_id text PRIMARY KEY,              -- id of the record that noted it
    document text NOT NULL,                  -- a document of the policy's documents.csv, and its version
    version text NOT NULL,
    authority text NOT NULL,                 -- with whom it was lodged
    receipt text NOT NULL,                   -- what the authority gave for it
    jurisdiction text NOT NULL,
    filed_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT filing_once UNIQUE (document, version, authority)
);
COMMENT ON TABLE filing IS 'Versions of published documents that were lodged with an authority, with receipt (S213).';

-- An account's tier takes the credit of its operator (S077).
CREATE OR REPLACE VIEW tier_subject AS
SELECT
    'account' AS kind, a.account_id AS id, a.klass, a.jurisdiction, a.quality, a.followers, a.reads_per_post,
    c.score AS operator_score, o.identity_status = 'verified' AS operator_verified, -- null: what every ledger begins with (O2)
    NULL::bigint AS member_count, NULL::bigint AS messages_per_day, NULL::bigint AS capacity,
    NULL::text AS join_mode, NULL::boolean AS discoverable, NULL::boolean AS link_open, NULL::text AS minors,
    NULL::bigint AS admin_count,
    a.tier, a.tier_basis, (a.override ->> 'tier')::bigint AS override_tier, a.override ->> 'by_record' AS override_record
FROM account a
JOIN operator o ON o.operator_id = a.operator_id
LEFT JOIN credit c ON c.subject_type = 'operator' AND c.subject_id = a.operator_id
WHERE a.accepted_at IS NOT NULL AND a.closed_at IS NULL
UNION ALL
SELECT
    'group', group_id, klass, jurisdiction, NULL, NULL, NULL, NULL, NULL,
    member_count, messages_per_day, capacity, join_mode, discoverable, link_open, minors, admin_count,
    tier, tier_basis, (override ->> 'tier')::bigint, override ->> 'by_record'
FROM groups
WHERE dissolved_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON credit, credential TO mandate_service;
GRANT SELECT, INSERT ON credit_entry, filing TO mandate_service;

-- migrate:down
