-- What the log says is not said again beside it. Which records speak of a subject: subject, subject_leaf and log_entry. A
-- record's hash and tags: its entry. Only a record that still waits carries them itself, in pending, until it has one.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '1h';

ALTER TABLE pending ADD COLUMN record_hash bytea, ADD COLUMN tags bytea;
UPDATE pending p SET record_hash = r.record_hash, tags = r.tags FROM record r WHERE r.id = p.id;
-- The sequencer could log no row without them. Few rows wait, and none is added meanwhile.
-- squawk-ignore adding-not-nullable-field
ALTER TABLE pending ALTER COLUMN record_hash SET NOT NULL, ALTER COLUMN tags SET NOT NULL;
COMMENT ON COLUMN pending.record_hash IS 'SHA-256 over record.body, format section 4: what its entry will say.';
COMMENT ON COLUMN pending.tags IS 'The tags of its subjects, 32 bytes each, sorted: body''s subj, and what its entry will say.';

-- Big-endian, as the log writes numbers; null where the bytes end before `at` (from 1).
CREATE FUNCTION u64(bytes bytea, at integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || encode(nullif(substr(bytes, at, 8), ''), 'hex'))::bit(64)::bigint
$$;

-- The records of a subject from number `first` on and below `last`, in one log: the one whose tables the search path names.
-- A row without record_id is damage: a place that leads nowhere, or, without idx, a subject's row that is none of a tree.
-- subject.edge: see its comment; entry 0 is canonical JSON in a config entry.
CREATE FUNCTION trail_of(whose bytea, first bigint, last bigint)
RETURNS TABLE (seq bigint, idx bigint, record_id bigint) LANGUAGE sql STABLE AS $$
    SELECT place.seq, place.idx, e.record_id
    FROM (
        SELECT number.seq, CASE
            WHEN NOT held.sound THEN NULL
            WHEN number.seq / 32 < held.n / 32 THEN u64(l.places, (number.seq % 32)::integer * 8 + 1)
            ELSE u64(held.edge, held.newest + (number.seq % 32)::integer * 8)
        END AS idx
        FROM (
            SELECT log.bits, s.tag, s.edge, u64(s.edge, 33) AS n,
                41 + 32 * bit_count(substr(s.edge, 33, 8))::integer AS newest,
                coalesce(
                    u64(s.edge, 33) BETWEEN 1 AND log.size
                    AND length(s.edge) = 40 + 32 * bit_count(substr(s.edge, 33, 8)) + u64(s.edge, 33) % 32 * 8, false
                ) AS sound
            FROM (
                SELECT state.size, (
                    SELECT substring(encode(zero.entry, 'escape') FROM '"map_bits":([0-9]{1,2})[,}]')::integer
                    FROM log_entry zero WHERE zero.idx = 0
                ) AS bits
                FROM log_state state WHERE state.size > 0
            ) log
            LEFT JOIN subject s ON s.tag = whose
                AND s.bucket = ('x' || encode(substr(whose, 1, 4), 'hex'))::bit(32)::bigint >> (32 - log.bits)
        ) held
        CROSS JOIN LATERAL generate_series(
            first, CASE WHEN held.sound THEN least(last, held.n) ELSE first + 1 END - 1
        ) AS number (seq)
        LEFT JOIN subject_leaf l ON l.tag = whose AND l.chunk = number.seq / 32
        WHERE held.tag IS NOT NULL OR held.bits IS NULL
    ) place
    LEFT JOIN log_entry e ON e.idx = place.idx
$$;

-- The ids of all records of a subject: in the logs that were ended, in the one that stands, and waiting for it.
CREATE FUNCTION records_of(whose bytea) RETURNS SETOF bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    here text := current_setting('search_path');
    log text;
    found bigint;
BEGIN
    FOR log IN
        SELECT quote_ident(nspname) || ', ' || here FROM pg_namespace WHERE nspname LIKE 'ended\_log\_%' UNION ALL SELECT here
    LOOP
        PERFORM set_config('search_path', log, true);
        FOR found IN SELECT t.record_id FROM trail_of(whose, 0, 9223372036854775807) t LOOP
            -- What is erased must be erased whole: whoever damaged the log must not decide what stays.
            IF found IS NULL THEN
                RAISE EXCEPTION 'the trail of subject % is damaged', encode(whose, 'hex') USING ERRCODE = 'data_corrupted';
            END IF;
            RETURN NEXT found;
        END LOOP;
    END LOOP;
    PERFORM set_config('search_path', here, true);
    RETURN QUERY SELECT p.id FROM pending p WHERE position(whose IN p.tags) % 32 = 1;
END
$$;

-- Whether a record speaks of a subject. Most do not, and finding no such text is quicker than reading the JSON.
CREATE FUNCTION concerns(body bytea, whose bytea) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN position(convert_to(encode(whose, 'hex'), 'UTF8') IN body) = 0 THEN false
        ELSE convert_from(body, 'UTF8')::jsonb -> 'subj' ? encode(whose, 'hex')
    END
$$;

-- As before (0008), found by the log. A retired record has no openings any more.
CREATE OR REPLACE FUNCTION openings_of(person text) RETURNS TABLE (record_id text, name text) LANGUAGE sql STABLE AS $$
    SELECT f.record_id, f.name
    FROM subject_name n
    CROSS JOIN LATERAL records_of(n.tag) t (id)
    JOIN record r ON r.id = t.id AND r.body IS NOT NULL AND concerns(r.body, n.tag)
    JOIN record_field f ON f.record_id = r.rid
    WHERE n.type = 'person' AND n.id = person AND f.sealed IS NOT NULL AND (
        (f.key_type = 'person' AND f.key_id = person)
        OR (f.key_type = 'operator' AND f.key_id IN (
            SELECT operator_id FROM operator WHERE kind = 'person' AND answerable_person = person
        ))
        OR (f.name = 'note' AND f.key_type IN ('group', 'account') AND EXISTS (
            SELECT FROM (SELECT convert_from(r.body, 'UTF8')::jsonb AS said) b
            CROSS JOIN LATERAL jsonb_each_text(b.said -> 'p' -> 'who') w (role, place)
            WHERE b.said -> 'subj' ->> w.place::integer = encode(n.tag, 'hex')
        ))
    )
$$;

-- As before (0008), without the columns that go.
CREATE OR REPLACE FUNCTION refuse_all_but_retiring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body IS NULL AND OLD.body IS NOT NULL
        AND (NEW.id, NEW.rid, NEW.at, NEW.act, NEW.out) = (OLD.id, OLD.rid, OLD.at, OLD.act, OLD.out)
        AND EXISTS (
            SELECT FROM record o
            JOIN log_entry e ON e.record_id = OLD.id
            CROSS JOIN LATERAL (SELECT convert_from(o.body, 'UTF8')::jsonb -> 'p' AS p) s
            WHERE o.rid = NEW.retired_by AND o.act = 'record.retire' AND o.out = 'done'
                AND e.idx >= (s.p ->> 'from_index')::bigint AND e.idx < (s.p ->> 'to_index')::bigint
                AND OLD.at <= o.at - interval '6 months'
        )
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'record is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

-- squawk-ignore ban-drop-table
DROP TABLE record_tag;
-- squawk-ignore ban-drop-function
DROP FUNCTION tag_prefix;
-- Rows written before keep the room of these two until somebody runs VACUUM FULL record.
-- squawk-ignore ban-drop-column
ALTER TABLE record DROP COLUMN record_hash, DROP COLUMN tags;

-- The door draws a record's id itself, so that record and pending are written from one set of rows, without a join.
GRANT USAGE ON SEQUENCE record_id_seq TO mandate_service;

-- migrate:down
