-- The log in fewer and smaller rows. A subject now holds all that grows with it: the right edge of its tree, its value in the
-- map and the places of its newest records; older places stand 32 to a row. The buckets of the map are ranges of subject, so
-- map_bucket goes, and with it what log_state said of the last map entry, which from now on ends every turn of the sequencer.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '1h';

CREATE FUNCTION pg_temp.root_of_edge(frontier bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    root bytea := substr(frontier, length(frontier) - 31);
BEGIN
    FOR place IN REVERSE length(frontier) / 32 - 2 .. 0 LOOP
        root := sha256('\x01'::bytea || substr(frontier, 9 + 32 * place, 32) || root);
    END LOOP;
    RETURN root;
END
$$;

-- Logs that were ended stand in schemas of their own, in the same form.
DO $$
DECLARE
    here text := current_schema();
    log text;
    bits integer;
BEGIN
    FOR log IN SELECT nspname FROM pg_namespace WHERE nspname = here OR nspname LIKE 'ended\_log\_%' LOOP
        PERFORM set_config('search_path', quote_ident(log) || ', ' || quote_ident(here), true);
        SELECT (convert_from(substr(entry, 22), 'UTF8')::jsonb ->> 'map_bits')::integer INTO bits
        FROM log_entry WHERE idx = 0;
        CREATE TEMP TABLE subject_before ON COMMIT DROP AS SELECT * FROM subject;
        CREATE TEMP TABLE leaf_before ON COMMIT DROP AS SELECT * FROM subject_leaf;
        DROP TABLE map_bucket, subject, subject_leaf;
        ALTER TABLE log_state DROP COLUMN mapped_size, DROP COLUMN mapped_root, DROP COLUMN mapped_us;

        EXECUTE format('CREATE TABLE %I.subject (
            bucket bigint NOT NULL, -- of the map: first bits of the tag, as many as entry 0 says
            tag bytea NOT NULL,     -- HMAC tag, format section 3
            edge bytea NOT NULL,    -- all that grows: its value in the map, the right edge of its tree, its newest places
            PRIMARY KEY (bucket, tag)
        ) WITH (fillfactor = 75)', log);
        COMMENT ON TABLE subject IS 'Every subject of a logged record: its tree, its value in the map. As of the end of the log.';
        -- One column and not four: each costs the sequencer about a microsecond a subject and turn.
        COMMENT ON COLUMN subject.edge IS
            'What the map holds for it (32 bytes, format section 6); u64 its records so far; the roots of the perfect subtrees '
            'of its tree, 32 bytes each; log_entry.idx of those records that are not in subject_leaf, u64 each, fewer than 32.';

        EXECUTE format('CREATE TABLE %I.subject_leaf (
            tag bytea NOT NULL,    -- subject.tag
            chunk bigint NOT NULL, -- from 0: the records number 32 * chunk to 32 * chunk + 31 of the subject
            places bytea NOT NULL, -- their log_entry.idx, u64 each
            PRIMARY KEY (tag, chunk)
        )', log);
        COMMENT ON TABLE subject_leaf IS 'Which entries make up the tree of a subject, 32 to a row. Nobody updates or deletes.';

        INSERT INTO subject
        SELECT ('x' || encode(substr(b.tag, 1, 4), 'hex'))::bit(32)::bigint >> (32 - bits), b.tag,
            sha256('\x0010'::bytea || b.tag || int8send(b.n) || pg_temp.root_of_edge(b.frontier)) || b.frontier
                || coalesce(newest.places, ''::bytea)
        FROM subject_before b LEFT JOIN (
            SELECT l.subject_id, string_agg(int8send(l.idx), ''::bytea ORDER BY l.seq) AS places
            FROM leaf_before l JOIN subject_before o ON o.id = l.subject_id
            WHERE l.seq >= o.n / 32 * 32
            GROUP BY l.subject_id
        ) newest ON newest.subject_id = b.id;
        INSERT INTO subject_leaf
        SELECT b.tag, l.seq / 32, string_agg(int8send(l.idx), ''::bytea ORDER BY l.seq)
        FROM leaf_before l JOIN subject_before b ON b.id = l.subject_id
        WHERE l.seq < b.n / 32 * 32
        GROUP BY b.tag, l.seq / 32;
        DROP TABLE subject_before, leaf_before;

        CREATE TRIGGER subject_leaf_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON subject_leaf
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        IF log = here THEN
            GRANT SELECT, INSERT ON subject_leaf TO mandate_service;
            GRANT SELECT, INSERT, UPDATE ON subject TO mandate_service;
        ELSE
            -- For exports; nobody writes into a log that was ended.
            EXECUTE format('REVOKE INSERT, UPDATE ON ALL TABLES IN SCHEMA %I FROM mandate_service', log);
            EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO mandate_service', log);
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO mandate_service', log);
        END IF;
    END LOOP;
    PERFORM set_config('search_path', quote_ident(here), true);
END
$$;

-- migrate:down
