-- Who answered for an operator when; and whose level of credit moved, so that its accounts are ranked anew.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '300s';

CREATE TABLE answerable (
    operator_id text NOT NULL,
    by_record text NOT NULL,                 -- record by which the person came to answer
    person_id text NOT NULL,
    from_at timestamptz NOT NULL,
    until_at timestamptz,                    -- null: answers still
    ended_record text,
    PRIMARY KEY (operator_id, by_record),
    CONSTRAINT answerable_ended CHECK ((until_at IS NULL) = (ended_record IS NULL))
);
COMMENT ON TABLE answerable IS 'Who answers for an operator, as intervals (S214); the open one is operator.answerable_person.';
CREATE UNIQUE INDEX answerable_open ON answerable (operator_id) WHERE until_at IS NULL;

-- What is known of before: the records of the checks by which a person came to answer for another one, for as long as they
-- have bodies; the first person answers since the operator was registered.
INSERT INTO answerable (operator_id, by_record, person_id, from_at, until_at, ended_record)
WITH told AS (
    SELECT r.id, r.rid, r.at, o.id AS operator_id, b.id AS before, a.id AS after
    FROM record r
    CROSS JOIN LATERAL (SELECT convert_from(r.body, 'UTF8')::jsonb -> 'p' -> 'who' AS who) p
    JOIN subject_name o ON o.tag = substr(r.tags, 32 * (who ->> 'target')::int + 1, 32)
    JOIN subject_name b ON b.tag = substr(r.tags, 32 * (who ->> 'answerable_before')::int + 1, 32)
    JOIN subject_name a ON a.tag = substr(r.tags, 32 * (who ->> 'answerable')::int + 1, 32)
    WHERE r.act = 'operator.verify' AND r.out = 'done' AND r.body IS NOT NULL
), change AS (
    SELECT *, row_number() OVER w AS place, lead(at) OVER w AS next_at, lead(rid) OVER w AS next_record
    FROM told WHERE before <> after
    WINDOW w AS (PARTITION BY operator_id ORDER BY id)
)
SELECT o.operator_id, o.by_record, coalesce(c.before, o.answerable_person), o.created_at, c.at, c.rid
FROM operator o LEFT JOIN change c ON c.operator_id = o.operator_id AND c.place = 1
UNION ALL
SELECT o.operator_id, c.rid, CASE WHEN c.next_at IS NULL THEN o.answerable_person ELSE c.after END, c.at, c.next_at, c.next_record
FROM operator o JOIN change c ON c.operator_id = o.operator_id;

CREATE TABLE level_move (
    operator_id text PRIMARY KEY,
    by_record text NOT NULL,                 -- record that moved the level last
    at timestamptz NOT NULL
);
COMMENT ON TABLE level_move IS 'Operators whose level of credit moved: the sweep ranks their accounts anew (S077), and drops the row a while after.';

-- As before, but that credit is looked up operator by operator: joined, a plan made while the table was empty would walk it for
-- each account.
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
LEFT JOIN LATERAL (
    SELECT score FROM credit WHERE subject_type = 'operator' AND subject_id = a.operator_id OFFSET 0
) c ON true
WHERE a.accepted_at IS NOT NULL AND a.closed_at IS NULL
UNION ALL
SELECT
    'group', group_id, klass, jurisdiction, NULL, NULL, NULL, NULL, NULL,
    member_count, messages_per_day, capacity, join_mode, discoverable, link_open, minors, admin_count,
    tier, tier_basis, (override ->> 'tier')::bigint, override ->> 'by_record'
FROM groups
WHERE dissolved_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON answerable TO mandate_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON level_move TO mandate_service;

-- migrate:down
