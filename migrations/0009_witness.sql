-- Witnesses: who outside the service saw which checkpoint, and when.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE cosignature (
    size bigint NOT NULL,        -- checkpoint.size
    vkey text NOT NULL,          -- key of the witness, with its name
    line text NOT NULL,          -- its signature line under that checkpoint, with the line end; verified before it stands here
    PRIMARY KEY (size, vkey)
);
CREATE INDEX cosignature_vkey_idx ON cosignature (vkey, size);
COMMENT ON TABLE cosignature IS 'What witnesses signed: they saw this checkpoint, and it extends what they saw before. Nobody updates or deletes.';

CREATE TRIGGER cosignature_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cosignature
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON cosignature TO mandate_service;

-- Entry 0, key changes and notices are few among many: who reads the keys of the log must not walk through all of it.
-- Only the sequencer writes there: while it is made records wait in pending, and acts go on.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX log_entry_config_idx ON log_entry (idx) WHERE record_id IS NULL AND substr(entry, 1, 1) = '\x03';

-- migrate:down
