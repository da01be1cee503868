-- The life of accounts: names, profile changes, transfer, closing, contracts with MCNs.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '300s';

ALTER TABLE account ADD COLUMN name_check jsonb; -- why a human must look at the name, and beside which others; null: nothing found
ALTER TABLE account ADD COLUMN pending_profile jsonb; -- the profile asked for, waiting for the same check as registration (S094)
ALTER TABLE account ADD COLUMN offer jsonb;  -- the last offered transfer, with how it ended; null: never offered
ALTER TABLE account ADD COLUMN transferred_at timestamptz; -- when it last changed its operator (transfer_rest_d)
ALTER TABLE account ADD COLUMN monetisation_eligible_at timestamptz; -- no monetisation before (S100); null: nothing stands in its way
ALTER TABLE account ADD COLUMN closing_due_at timestamptz; -- when a closing that was asked for takes effect (S104)
ALTER TABLE account ADD COLUMN mcn_agreed jsonb; -- {mcn_id, by_record}: the operator agreed to be signed by this MCN
ALTER TABLE account ADD COLUMN mcn_id text;  -- the MCN whose contract runs
ALTER TABLE account ADD COLUMN mcn_record text; -- record that signed it

-- Few accounts are offered, closing or changing: writes wait for one walk through the table, some seconds for a million rows.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX account_offer_idx ON account ((offer ->> 'until')) WHERE offer ->> 'ended_how' IS NULL AND offer IS NOT NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX account_closing_idx ON account (closing_due_at) WHERE closing_due_at IS NOT NULL AND closed_at IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX account_pending_idx ON account (account_id) WHERE pending_profile IS NOT NULL AND closed_at IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX account_name_check_idx ON account (account_id)
WHERE name_check IS NOT NULL AND accepted_at IS NULL AND closed_at IS NULL;

CREATE TABLE account_name (
    name_key text NOT NULL,                  -- the name as far as it distinguishes
    account_id text NOT NULL,
    name text NOT NULL,
    skeleton text NOT NULL,                  -- the key with look-alike characters made one
    parts jsonb NOT NULL,                    -- the skeleton and its pieces, one of which every similar name has too
    by_record text NOT NULL,                 -- record that took it
    freed_record text,                       -- record by which the name was not given after all
    PRIMARY KEY (name_key, account_id)
);
COMMENT ON TABLE account_name IS 'Every name that an account asks for, has or had: never given to another (A5), but for refused changes.';
CREATE UNIQUE INDEX account_name_held ON account_name (name_key) WHERE freed_record IS NULL;
CREATE INDEX account_name_parts_idx ON account_name USING gin (parts) WHERE freed_record IS NULL;

-- Names taken before: their pieces are those of the key itself, without look-alikes made one.
INSERT INTO account_name (name_key, account_id, name, skeleton, parts, by_record)
SELECT
    a.name_key, a.account_id, a.name, a.name_key, to_jsonb(ARRAY['=' || a.name_key] || ARRAY(
        SELECT length(a.name_key) || ':' || i || ':' || substr(
            a.name_key,
            (i * s.size + greatest(0, i - (s.pieces - length(a.name_key) % s.pieces)) + 1)::int,
            (s.size + CASE WHEN i >= s.pieces - length(a.name_key) % s.pieces THEN 1 ELSE 0 END)::int
        )
        FROM generate_series(0, s.pieces - 1) AS i
    )), a.by_record
FROM account a
CROSS JOIN LATERAL (SELECT length(a.name_key) / 4 + 1 AS pieces, length(a.name_key) / (length(a.name_key) / 4 + 1) AS size) s;

CREATE TABLE former_profile (
    account_id text NOT NULL,
    by_record text NOT NULL,                 -- record that replaced it
    name text NOT NULL,
    klass text NOT NULL,
    profile text NOT NULL,
    until_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, by_record)
);
COMMENT ON TABLE former_profile IS 'What an account was called and said of itself before a change was accepted (S094).';

CREATE TABLE subject_change (
    account_id text NOT NULL,
    by_record text NOT NULL,
    at timestamptz NOT NULL,
    from_operator text NOT NULL,
    to_operator text NOT NULL,
    PRIMARY KEY (account_id, by_record)
);
COMMENT ON TABLE subject_change IS 'Changes of operator: public, each a row (A1, S099).';

CREATE TABLE mcn_contract (
    account_id text NOT NULL,
    by_record text NOT NULL,                 -- record by which the MCN signed
    mcn_id text NOT NULL,
    from_at timestamptz NOT NULL,
    until_at timestamptz,
    ended_record text,
    PRIMARY KEY (account_id, by_record),
    CONSTRAINT mcn_contract_ended CHECK ((until_at IS NULL) = (ended_record IS NULL))
);
COMMENT ON TABLE mcn_contract IS 'Contracts of accounts with MCNs, as intervals (S107).';
CREATE UNIQUE INDEX mcn_contract_open ON mcn_contract (account_id) WHERE until_at IS NULL;
CREATE INDEX mcn_contract_mcn_idx ON mcn_contract (mcn_id, account_id) WHERE until_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON account_name, mcn_contract TO mandate_service;
GRANT SELECT, INSERT ON former_profile, subject_change TO mandate_service;

-- migrate:down
