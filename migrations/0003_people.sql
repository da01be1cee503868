-- People, staff and keys. No column holds a name, number, document, face or address of a person (P1).

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE person (
    person_id text PRIMARY KEY,
    jurisdiction text NOT NULL,
    created_at timestamptz NOT NULL,
    version bigint NOT NULL,                 -- grows by one with each change
    identity_status text NOT NULL CHECK (identity_status IN ('unverified', 'verified', 'failed', 'withdrawn')),
    identity_methods jsonb NOT NULL,         -- subset of mobile, id_document, credit_code, other
    identity_ref text,                       -- opaque, salted reference of the verifier
    verified_at timestamptz,
    minor text NOT NULL CHECK (minor IN ('yes', 'no', 'unknown')),
    bot boolean NOT NULL,
    seen_at timestamptz,
    terms_accepted jsonb NOT NULL,           -- [{document, version, at}]
    closed_at timestamptz,
    erased_at timestamptz,
    CONSTRAINT person_verified_since CHECK ((identity_status <> 'verified') OR verified_at IS NOT NULL)
);
COMMENT ON TABLE person IS 'An IM user by opaque id.';

CREATE TABLE staff (
    staff_id text PRIMARY KEY,
    person_id text,                          -- the same human as an IM user, where known: then both are one human
    jurisdiction text NOT NULL,
    created_at timestamptz NOT NULL,
    version bigint NOT NULL
);
COMMENT ON TABLE staff IS 'A member of platform staff, or an authority''s reader.';
CREATE INDEX staff_person_idx ON staff (person_id) WHERE person_id IS NOT NULL;

CREATE TABLE staff_role (
    by_record text NOT NULL,                 -- record that appointed
    staff_id text NOT NULL,
    standing text NOT NULL,                  -- a staff standing, regulator, or the post head_of_content_safety
    from_at timestamptz NOT NULL,
    until_at timestamptz,                    -- null: still held
    ended_record text,
    PRIMARY KEY (by_record, staff_id)
);
COMMENT ON TABLE staff_role IS 'Standings and posts of staff as intervals (S211, S212).';
CREATE UNIQUE INDEX staff_role_open ON staff_role (staff_id, standing) WHERE until_at IS NULL;
CREATE UNIQUE INDEX staff_post_held_once ON staff_role (standing)
WHERE until_at IS NULL AND standing = 'head_of_content_safety';

CREATE TABLE api_key (
    key_id text PRIMARY KEY,
    prefix text NOT NULL,                    -- visible start of the token, to recognise it by
    token_sha256 bytea NOT NULL,             -- the token itself is never seen by the service
    kind text NOT NULL CHECK (kind IN ('backend', 'staff', 'regulator')),
    staff_id text,                           -- whom a staff or regulator key is bound to
    families jsonb NOT NULL,                 -- action families it may ask for; empty: all
    tiers jsonb NOT NULL,                    -- tiers it may touch; empty: all
    jurisdictions jsonb NOT NULL,            -- territories it may touch; empty: all
    issued_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    by_record text NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT api_key_token_key UNIQUE (token_sha256),
    CONSTRAINT api_key_bound CHECK ((kind = 'backend') = (staff_id IS NULL))
);
COMMENT ON TABLE api_key IS 'Keys of callers, scoped; looked up by the hash of their token.';

GRANT SELECT, INSERT, UPDATE ON person, staff, staff_role, api_key TO mandate_service;

-- migrate:down
