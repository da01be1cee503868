-- name: subject_keys
-- The wrapped keys of these data subjects.
SELECT k.type, k.id, k.wrapped
FROM unnest(:types::text[], :ids::text[]) AS w (type, id)
JOIN subject_key k USING (type, id);

-- name: record_set
-- Append a set of records with all that belongs to them, in the order given; one statement, the last of the act.
WITH r AS (
    INSERT INTO record (rid, record_hash, body, tags, at, act, out)
    SELECT rid, hash, body, tags, :at, act, out
    FROM unnest(:rids::text[], :hashes::bytea[], :bodies::bytea[], :tags::bytea[], :acts::text[], :outs::text[])
        WITH ORDINALITY AS u (rid, hash, body, tags, act, out, place)
    ORDER BY place
    RETURNING id, rid
), p AS (
    INSERT INTO pending (id) SELECT id FROM r
), t AS (
    INSERT INTO record_tag (tag, record_id)
    SELECT DISTINCT u.tag, r.id FROM unnest(:tag_prefixes::bigint[], :tag_rids::text[]) AS u (tag, rid) JOIN r USING (rid)
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
SELECT count(*) FROM r;

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
