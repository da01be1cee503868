-- name: subject_keys
-- The wrapped keys of these data subjects.
SELECT k.type, k.id, k.wrapped
FROM unnest(:types::text[], :ids::text[]) AS w (type, id)
JOIN subject_key k USING (type, id);

-- name: record_set
-- Append a set of records with all that belongs to them, in the order given; one statement, the last of the act.
WITH m AS MATERIALIZED (
    SELECT nextval('record_id_seq') AS id, u.*
    FROM unnest(:rids::text[], :hashes::bytea[], :bodies::bytea[], :tags::bytea[], :acts::text[], :outs::text[])
        WITH ORDINALITY AS u (rid, hash, body, tags, act, out, place)
    ORDER BY place
), r AS (
    INSERT INTO record (id, rid, body, at, act, out) OVERRIDING SYSTEM VALUE
    SELECT id, rid, body, :at, act, out FROM m
), p AS (
    INSERT INTO pending (id, record_hash, tags) SELECT id, hash, tags FROM m
), k AS (
    INSERT INTO request_key (key, asked, status, answer, at)
    SELECT key, asked, status, answer, :at
    FROM unnest(:keys::bytea[], :asked::bytea[], :statuses::bigint[], :answers::bytea[]) AS u (key, asked, status, answer)
), n AS (
    INSERT INTO subject_name (tag, type, id)
    SELECT * FROM unnest(:told_tags::bytea[], :told_types::text[], :told_ids::text[])
    ON CONFLICT DO NOTHING
), o AS (
    INSERT INTO outbox (rid, at, kind, payload)
    SELECT rid, :at, kind, payload::jsonb
    FROM unnest(:effect_rids::text[], :effect_kinds::text[], :effect_payloads::text[])
        WITH ORDINALITY AS u (rid, kind, payload, place)
    ORDER BY place
)
SELECT count(*) FROM m;

-- name: bodies
-- The bytes of these records.
SELECT rid, body FROM record WHERE rid = ANY(:rids::text[]);

-- name: record_fields
-- Keep the sealed openings of personal fields.
INSERT INTO record_field (record_id, name, key_type, key_id, sealed)
SELECT * FROM unnest(:rids::text[], :names::text[], :types::text[], :ids::text[], :sealed::bytea[]);

-- name: keep_subject_keys
-- Keep fresh keys of data subjects; another process may have been first.
INSERT INTO subject_key (type, id, wrapped)
SELECT * FROM unnest(:types::text[], :ids::text[], :wrapped::bytea[])
ON CONFLICT DO NOTHING;
