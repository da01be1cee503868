-- The memory: what the door writes in the same transaction as the act it speaks of.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE record (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- drawn after the row locks: acts on one row stand in the order in which they took effect
    rid text NOT NULL,                                  -- UUIDv7, the record's public id
    record_hash bytea NOT NULL,                         -- SHA-256 over the body, format section 4
    body bytea NOT NULL,                                -- the exact bytes that were hashed; never rebuilt from columns
    tags bytea NOT NULL,                                -- the subjects' tags, 32 bytes each, sorted: body's subj
    at timestamptz NOT NULL,                            -- the act's instant
    act text NOT NULL,
    out text NOT NULL,
    CONSTRAINT record_rid_key UNIQUE (rid),
    CONSTRAINT record_out_known CHECK (out IN ('done', 'refused', 'proposed'))
);
COMMENT ON TABLE record IS 'One line of the accountability log. Inserted by the door only; nobody updates or deletes.';

CREATE TABLE pending (
    id bigint PRIMARY KEY -- record.id; a row here is a record that the sequencer has not yet put into the log
);
COMMENT ON TABLE pending IS 'Records waiting for the sequencer. Inserted with the record, deleted by the sequencer.';

CREATE TABLE record_tag (
    tag bigint NOT NULL,       -- first 8 bytes of a subject's tag, signed; the full tag is compared after the look-up
    record_id bigint NOT NULL, -- record.id
    PRIMARY KEY (tag, record_id)
);
COMMENT ON TABLE record_tag IS 'Which records speak of a subject: how a trail is read back.';

CREATE TABLE record_field (
    record_id text NOT NULL, -- record.rid
    name text NOT NULL,      -- field name, a member of the body's sd
    key_type text NOT NULL,  -- whose key seals it: type and id of a subject_key
    key_id text NOT NULL,
    sealed bytea NOT NULL,   -- salt and value, AES-256-GCM
    PRIMARY KEY (record_id, name)
);
COMMENT ON TABLE record_field IS 'Openings of personal fields. The record itself holds only the commitment.';

CREATE TABLE subject_key (
    type text NOT NULL,
    id text NOT NULL,
    wrapped bytea NOT NULL, -- the data subject's key under the master key, which lies outside the database
    PRIMARY KEY (type, id)
);
COMMENT ON TABLE subject_key IS 'One key per data subject. Dropping a row makes every sealed value of that subject unreadable.';

CREATE TABLE subject_name (
    tag bytea PRIMARY KEY, -- HMAC tag, format section 3
    type text NOT NULL,
    id text NOT NULL
);
COMMENT ON TABLE subject_name IS 'Which subject a tag stands for, so that readers entitled to it see ids.';

CREATE TABLE request_key (
    key bytea PRIMARY KEY,        -- SHA-256 over the caller's key id and the idempotency key
    asked bytea NOT NULL,         -- SHA-256 over what was asked, and for whom
    status bigint NOT NULL,       -- HTTP status of the first answer
    answer bytea NOT NULL,        -- its exact bytes, given again
    at timestamptz NOT NULL       -- kept for request_key_keep_d days
);
COMMENT ON TABLE request_key IS 'First answers to repeated requests (S010).';
CREATE INDEX request_key_at_idx ON request_key (at);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(), -- readers take only rows of transactions that all ended: nothing is skipped
    rid text NOT NULL,                              -- record.rid of the act
    at timestamptz NOT NULL,
    kind text NOT NULL,                             -- what the backend must do or know, e.g. group.muted
    payload jsonb NOT NULL
);
COMMENT ON TABLE outbox IS 'Effects, delivered to backends after commit in record order.';

CREATE TABLE edition (
    digest text PRIMARY KEY,           -- SHA-256 over the files of policies/
    effective_at timestamptz NOT NULL, -- in force from here until the next one
    adopted_record text NOT NULL,      -- record that adopted it
    files jsonb NOT NULL               -- name -> base64 text of every file, kept for ever
);
COMMENT ON TABLE edition IS 'Every adopted edition of the policy, whole.';
CREATE UNIQUE INDEX edition_effective_at_idx ON edition (effective_at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER record_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON record
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER record_tag_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON record_tag
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER edition_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON edition
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON record, record_tag, edition, subject_name TO mandate_service;
GRANT SELECT, INSERT, DELETE ON pending, record_field, subject_key, request_key, outbox TO mandate_service;

-- migrate:down
