-- name: trail_page
-- The records of one subject in one log, some from a number on, oldest first, and those that wait for the log that stands; up to
-- the record of the read itself. The first columns say how many were looked through in the log, and that the read's was met.
-- Records that were shown while they waited are not shown again. A row without rid is damage; see trail_of.
WITH near AS MATERIALIZED (
    SELECT t.seq, t.idx, t.record_id, r.id AS before
    FROM record r CROSS JOIN LATERAL trail_of(:tag, :first, :first::bigint + :scan) t
    WHERE r.rid = :read
), looked AS (
    SELECT count(*) AS scanned, min(seq) FILTER (WHERE record_id = before) AS stop FROM near
), wanted AS (
    SELECT n.seq, n.idx, n.record_id AS id FROM near n CROSS JOIN looked l WHERE l.stop IS NULL OR n.seq < l.stop
    UNION ALL
    SELECT NULL, NULL, p.id
    FROM looked l CROSS JOIN record r JOIN pending p ON p.id < r.id
    WHERE :living AND l.scanned < :scan AND l.stop IS NULL AND r.rid = :read AND position(:tag::bytea IN p.tags) % 32 = 1
), found AS (
    SELECT w.seq, w.idx, w.id, r.rid, r.at, r.act, r.out, r.body, r.retired_by
    FROM wanted w LEFT JOIN record r ON r.id = w.id
    WHERE r.id IS NULL OR (
        r.id > :waited
        AND (:act::text IS NULL OR r.act = :act)
        AND (:outcome::text IS NULL OR r.out = :outcome)
        AND (:from_at::timestamptz IS NULL OR r.at >= :from_at)
        AND (:to_at::timestamptz IS NULL OR r.at < :to_at)
        AND (:actor::text IS NULL OR convert_from(r.body, 'UTF8')::jsonb -> 'by' ->> 'tag' = :actor)
        AND (:reason::text IS NULL OR convert_from(r.body, 'UTF8')::jsonb ->> 'why' = :reason)
        AND (:rule::text IS NULL OR convert_from(r.body, 'UTF8')::jsonb ->> 'rule' = :rule)
    )
    ORDER BY w.seq, w.id
    LIMIT :limit
)
SELECT l.scanned, l.stop IS NOT NULL AS met, f.seq, f.idx, f.id, f.rid, f.at, f.act, f.out, f.body, f.retired_by
FROM looked l LEFT JOIN found f ON true
ORDER BY f.seq, f.id;

-- name: entries_of
-- The entries of these records in one log.
SELECT record_id, entry FROM log_entry WHERE record_id = ANY(:ids::bigint[]);

-- name: records_by_id
-- Records by their public ids.
SELECT id, rid, at, act, out, body, retired_by FROM record WHERE rid = ANY(:rids) ORDER BY id;

-- name: names_of
-- Whom tags stand for.
SELECT tag, type, id FROM subject_name WHERE tag = ANY(:tags);

-- name: sealed_fields
-- Sealed personal fields with the wrapped keys that still exist.
SELECT f.record_id, f.name, f.key_type, f.key_id, f.sealed, k.wrapped
FROM record_field f JOIN subject_key k ON k.type = f.key_type AND k.id = f.key_id
WHERE f.record_id = ANY(:rids) AND f.sealed IS NOT NULL;
