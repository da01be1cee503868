-- name: end_of_effects^
-- The newest effect that can be seen, and between which transactions some may still run; all of one snapshot.
SELECT coalesce((SELECT max(id) FROM outbox), 0) AS place,
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS running_from,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS running_to;

-- name: effects
-- Effects after a place and up to another, in their order, of some families or of all.
SELECT id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, rid, kind, payload::text AS payload
FROM outbox
WHERE id > :after AND id <= :upto
  AND (cardinality(:families::text[]) = 0 OR split_part(kind, '.', 1) = ANY(:families))
ORDER BY id
LIMIT :limit;
