-- The log: records in one order, with the trees over them that make evidence. Written by the sequencer only.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE log_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), -- there is one log
    size bigint NOT NULL,                             -- entries so far; written by comparing with what was read: a second sequencer fails here
    frontier bytea NOT NULL,                          -- right edge of the log tree: u64 size and the roots of its perfect subtrees
    last_time_us bigint NOT NULL,                     -- time of the last entry, microseconds since 1970 UTC; never falls
    subjects bigint NOT NULL,                         -- rows of subject
    mapped_size bigint NOT NULL,                      -- size just after the last map entry: the largest that may be signed
    mapped_root bytea NOT NULL,                       -- root of the log tree at that size
    mapped_us bigint NOT NULL                         -- time of that map entry
);
COMMENT ON TABLE log_state IS 'How far the log is. Ahead of what is signed and published, which is in checkpoint.';
INSERT INTO log_state VALUES (true, 0, '\x0000000000000000', 0, 0, 0, '\x', 0);

CREATE TABLE log_entry (
    idx bigint PRIMARY KEY, -- place in the log, from 0 without gaps
    record_id bigint,       -- record.id; null for map and config entries
    entry bytea NOT NULL    -- the exact bytes under the leaf hash, format section 5
);
COMMENT ON TABLE log_entry IS 'The log. Inserted by the sequencer only; nobody updates or deletes.';
CREATE UNIQUE INDEX log_entry_record_id_key ON log_entry (record_id);

CREATE TABLE log_tile (
    level bigint NOT NULL, -- 0: leaf hashes; each next level: roots of the tiles below
    n bigint NOT NULL,       -- number of the tile in its level
    root bytea NOT NULL,     -- root over its hashes: the hash that stands for it one level up
    hashes bytea NOT NULL,   -- 256 hashes
    PRIMARY KEY (level, n)
);
ALTER TABLE log_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE log_tile IS 'Full tiles of the log tree. What is not yet full comes from log_entry and from the roots one level down.';

CREATE TABLE subject (
    id bigint PRIMARY KEY,   -- from 0, in the order in which subjects first came into the log
    tag bytea NOT NULL,      -- HMAC tag, format section 3
    n bigint NOT NULL,       -- records of this subject in the log
    frontier bytea NOT NULL, -- right edge of its tree
    CONSTRAINT subject_tag_key UNIQUE (tag)
) WITH (fillfactor = 80);
COMMENT ON TABLE subject IS 'Every subject of a logged record, with the right edge of its tree.';

CREATE TABLE subject_leaf (
    subject_id bigint NOT NULL, -- subject.id
    seq bigint NOT NULL,        -- number of earlier records of the subject
    idx bigint NOT NULL,        -- log_entry.idx
    PRIMARY KEY (subject_id, seq)
);
COMMENT ON TABLE subject_leaf IS 'Which entries make up the tree of a subject.';

CREATE TABLE map_bucket (
    bucket bigint PRIMARY KEY, -- first bits of the tags in it
    members bytea NOT NULL     -- tag and value of each, 64 bytes, sorted by tag, as of the last map entry
);
COMMENT ON TABLE map_bucket IS 'The lowest level of the map; those above it are kept in memory.';

CREATE TABLE checkpoint (
    size bigint PRIMARY KEY, -- of the tree that was signed
    note text NOT NULL       -- the signed note; on disk outside the database before it stands here
);
COMMENT ON TABLE checkpoint IS 'Every signed checkpoint. Nobody updates or deletes.';

CREATE TRIGGER log_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_entry
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_tile_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_tile
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER subject_leaf_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON subject_leaf
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoint_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON log_entry, log_tile, subject_leaf, checkpoint TO mandate_service;
GRANT SELECT, INSERT, UPDATE ON subject, map_bucket TO mandate_service;
GRANT SELECT, UPDATE ON log_state TO mandate_service;

-- migrate:down
