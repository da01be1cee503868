-- name: trail_page
-- The records of one subject between two places, oldest first, and how far was looked.
WITH near AS (
    SELECT t.record_id FROM record_tag t
    WHERE t.tag = :prefix AND t.record_id > :after AND t.record_id < :before
    ORDER BY t.record_id
    LIMIT :scan
), found AS (
    SELECT r.id, r.rid, r.at, r.act, r.out, r.body, r.tags, r.retired_by
    FROM near n JOIN record r ON r.id = n.record_id
    WHERE position(:tag::bytea IN r.tags) % 32 = 1
      AND (:act::text IS NULL OR r.act = :act)
      AND (:outcome::text IS NULL OR r.out = :outcome)
      AND (:from_at::timestamptz IS NULL OR r.at >= :from_at)
      AND (:to_at::timestamptz IS NULL OR r.at < :to_at)
      AND (:actor::text IS NULL OR convert_from(r.body, 'UTF8')::jsonb -> 'by' ->> 'tag' = :actor)
      AND (:reason::text IS NULL OR convert_from(r.body, 'UTF8')::jsonb ->> 'why' = :reason)
      AND (:rule::text IS NULL OR convert_from(r.body, 'UTF8')::jsonb ->> 'rule' = :rule)
    ORDER BY r.id
    LIMIT :limit
)
SELECT s.scanned, s.last, f.id, f.rid, f.at, f.act, f.out, f.body, f.tags, f.retired_by
FROM (SELECT count(*) AS scanned, max(record_id) AS last FROM near) s LEFT JOIN found f ON true
ORDER BY f.id;

-- name: records_by_id
-- Records by their public ids.
SELECT id, rid, at, act, out, body, tags, retired_by FROM record WHERE rid = ANY(:rids) ORDER BY id;

-- name: record_place$
-- Where a record stands in the log of this house.
SELECT id FROM record WHERE rid = :rid;

-- name: names_of
-- Whom tags stand for.
SELECT tag, type, id FROM subject_name WHERE tag = ANY(:tags);

-- name: sealed_fields
-- Sealed personal fields with the wrapped keys that still exist.
SELECT f.record_id, f.name, f.key_type, f.key_id, f.sealed, k.wrapped
FROM record_field f JOIN subject_key k ON k.type = f.key_type AND k.id = f.key_id
WHERE f.record_id = ANY(:rids) AND f.sealed IS NOT NULL;
