-- Tiers: what each rests on, told by one view to all who rank and count many at once; and bulk re-ranking.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '300s';

ALTER TABLE groups ADD COLUMN next_recheck_at timestamptz; -- when its tier is looked at again (recheck_d); null: not ranked since this column is here
COMMENT ON COLUMN groups.next_recheck_at IS 'When the tier is looked at again (recheck_d of tiers.csv); null: not ranked since this column is here.';

-- Tiers that were said by hand, before accounts were computed, rest on nothing that could be computed again. They hold until
-- the account is ranked next; the records that set them keep what they rested on.
UPDATE account SET tier_basis = NULL WHERE tier_basis ? 'how';

-- Accounts that wait are few: writes wait for one walk through the table, some seconds for a million rows.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX account_waiting_idx ON account ((tier_basis -> 'waiting' ->> 'since'))
WHERE tier_basis -> 'waiting' ->> 'since' IS NOT NULL;

CREATE TABLE tier_forecast (
    kind text PRIMARY KEY CHECK (kind IN ('group', 'account')),
    edition text NOT NULL,                   -- under which it was counted
    at timestamptz NOT NULL,
    counts jsonb NOT NULL                    -- subjects, moves with samples, what would newly be asked
);
COMMENT ON TABLE tier_forecast IS 'The last dry run of ranking all again; counted by the service, read by the act that plans.';

CREATE TABLE tier_plan (
    plan_id text PRIMARY KEY,                -- record that planned it
    kind text NOT NULL CHECK (kind IN ('group', 'account')),
    edition text NOT NULL,
    counts jsonb NOT NULL,                   -- its dry run
    state text NOT NULL CHECK (state IN ('planned', 'running', 'stopped', 'done')),
    created_at timestamptz NOT NULL,
    run_record text,                         -- record that set it running: the parent of all it moves
    ended_at timestamptz,
    ended_record text,
    version bigint NOT NULL
);
COMMENT ON TABLE tier_plan IS 'A bulk re-ranking, from its dry run to its end.';
CREATE UNIQUE INDEX tier_plan_running ON tier_plan (kind) WHERE state = 'running';

CREATE TABLE tier_progress (
    plan_id text PRIMARY KEY,
    after text NOT NULL DEFAULT '',          -- all subjects up to this id have been looked at
    looked bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,       -- counted in the transactions that move subjects, so exact after any crash
    held_until timestamptz                   -- until then one process works on it and others leave it alone
);
COMMENT ON TABLE tier_progress IS 'How far a running plan has come. Losing it loses nothing: who was moved before is not moved again.';

CREATE VIEW tier_subject AS
SELECT
    'account' AS kind, account_id AS id, klass, jurisdiction, quality, followers, reads_per_post,
    NULL::bigint AS operator_score, true AS operator_verified, -- null: what every ledger begins with (O2)
    NULL::bigint AS member_count, NULL::bigint AS messages_per_day, NULL::bigint AS capacity,
    NULL::text AS join_mode, NULL::boolean AS discoverable, NULL::boolean AS link_open, NULL::text AS minors,
    NULL::bigint AS admin_count,
    tier, tier_basis, (override ->> 'tier')::bigint AS override_tier, override ->> 'by_record' AS override_record
FROM account
WHERE accepted_at IS NOT NULL AND closed_at IS NULL
UNION ALL
SELECT
    'group', group_id, klass, jurisdiction, NULL, NULL, NULL, NULL, NULL,
    member_count, messages_per_day, capacity, join_mode, discoverable, link_open, minors, admin_count,
    tier, tier_basis, (override ->> 'tier')::bigint, override ->> 'by_record'
FROM groups
WHERE dissolved_at IS NULL;
COMMENT ON VIEW tier_subject IS 'Every living group and account with what its tier is computed from, and what holds now.';

GRANT SELECT, INSERT, UPDATE ON tier_forecast, tier_plan, tier_progress TO mandate_service;
GRANT SELECT ON tier_subject TO mandate_service;

-- migrate:down
