-- name: end_of_effects^
-- The newest effect that can be seen; below which transaction all had ended by then; and from which on none had begun.
-- The upper end of a snapshot is one past the last that ended, not the next to begin: age() knows that one.
SELECT coalesce((SELECT max(id) FROM outbox), 0) AS place,
    pg_snapshot_xmin(s)::text::bigint AS ended,
    pg_snapshot_xmax(s)::text::bigint + age(pg_snapshot_xmax(s)::xid) AS begun
FROM pg_current_snapshot() s;

-- name: effects
-- Effects after a place and up to another, in their order, of some families or of all.
SELECT id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, rid, kind, payload::text AS payload
FROM outbox
WHERE id > :after AND id <= :upto
  AND (cardinality(:families::text[]) = 0 OR split_part(kind, '.', 1) = ANY(:families))
ORDER BY id
LIMIT :limit;

-- name: newest_place$
-- The newest place that was ever drawn, also by a transaction that came to nothing.
SELECT coalesce(pg_sequence_last_value('outbox_id_seq'), 0);
