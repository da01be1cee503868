-- Operators and their public accounts.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE operator (
    operator_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('person', 'company', 'media', 'government', 'mass_organisation', 'other')),
    name text NOT NULL,                      -- shown on the public card (A6)
    is_mcn boolean NOT NULL,
    answerable_person text NOT NULL,
    identity_status text NOT NULL CHECK (identity_status IN ('unverified', 'verified', 'failed', 'withdrawn')),
    identity_methods jsonb NOT NULL,
    identity_ref text,
    verified_at timestamptz,
    pending jsonb,                           -- facts asked for, waiting for the same check as registration
    jurisdiction text NOT NULL,
    created_at timestamptz NOT NULL,
    version bigint NOT NULL,
    account_count bigint NOT NULL,           -- accounts neither closed nor refused (A4, S098)
    exited_at timestamptz,
    by_record text NOT NULL
);
COMMENT ON TABLE operator IS 'The legal subject that runs accounts.';
CREATE INDEX operator_person_idx ON operator (answerable_person);

CREATE TABLE account (
    account_id text PRIMARY KEY,
    name text NOT NULL,
    name_key text NOT NULL,                  -- the name as far as it distinguishes; never given again (A5)
    klass text NOT NULL,
    operator_id text NOT NULL,
    profile text NOT NULL,
    jurisdiction text NOT NULL,
    created_at timestamptz NOT NULL,
    version bigint NOT NULL,
    accepted_at timestamptz,
    refused_at timestamptz,
    followers bigint NOT NULL,
    reads_per_post bigint NOT NULL,          -- 28-day mean
    quality bigint CHECK (quality BETWEEN 0 AND 100), -- null: unknown
    quality_source text,
    last_used_at timestamptz,
    tier bigint CHECK (tier BETWEEN 1 AND 4),  -- null until ranked
    tier_basis jsonb,                        -- what the tier rests on, input by input (S078); null until ranked
    override jsonb,                          -- {tier, until, by_record} while one stands over the ranked tier
    next_recheck_at timestamptz,
    closed_at timestamptz,
    closed_how text CHECK (closed_how IN ('owner', 'measure', 'refused')),
    by_record text NOT NULL,
    CONSTRAINT account_name_key UNIQUE (name_key),
    CONSTRAINT account_closed_how CHECK ((closed_at IS NULL) = (closed_how IS NULL)),
    CONSTRAINT account_one_answer CHECK (accepted_at IS NULL OR refused_at IS NULL)
);
COMMENT ON TABLE account IS 'A public account: it addresses an unlimited public.';
CREATE INDEX account_operator_idx ON account (operator_id);
CREATE INDEX account_list_idx ON account (klass, tier, account_id);
CREATE INDEX account_recheck_idx ON account (next_recheck_at) WHERE closed_at IS NULL;
CREATE INDEX account_override_idx ON account ((override ->> 'until')) WHERE override IS NOT NULL;

GRANT SELECT, INSERT, UPDATE ON operator, account TO mandate_service;

-- migrate:down
