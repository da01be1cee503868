-- name: try_lock$
-- One sequencer at a time; the lock ends with the transaction, also behind a pooler.
SELECT pg_try_advisory_xact_lock(hashtextextended('mandate.sequencer', 0));

-- name: waiting^
-- What a turn would find to do.
SELECT EXISTS (SELECT FROM pending) AS pending, s.size, s.mapped_size, s.mapped_us,
    coalesce((SELECT max(size) FROM checkpoint), 0) AS published
FROM log_state s;

-- name: take_pending
-- Take the first waiting records; the deleted row is the mark of work done.
WITH taken AS (
    DELETE FROM pending WHERE id IN (SELECT id FROM pending ORDER BY id LIMIT :most) RETURNING id
)
SELECT r.id, r.record_hash, r.tags FROM taken JOIN record r USING (id) ORDER BY r.id;

-- name: edges
-- Subjects by their tags.
SELECT id, tag, frontier FROM subject WHERE tag = ANY(:tags::bytea[]);

-- name: keep_edges!
-- Move the right edges of subjects that were known already.
UPDATE subject s SET n = u.n, frontier = u.frontier
FROM unnest(:ids::bigint[], :ns::bigint[], :frontiers::bytea[]) AS u (id, n, frontier)
WHERE s.id = u.id;

-- name: keep_buckets!
-- Put changed buckets in place.
INSERT INTO map_bucket (bucket, members)
SELECT * FROM unnest(:numbers::bigint[], :members::bytea[])
ON CONFLICT (bucket) DO UPDATE SET members = excluded.members;

-- name: advance!
-- Move the log on from the size that was read, or nothing at all: a second sequencer ends here.
UPDATE log_state
SET size = :size, frontier = :frontier, last_time_us = :last_time_us, subjects = :subjects,
    mapped_size = :mapped_size, mapped_root = :mapped_root, mapped_us = :mapped_us
WHERE size = :old;

-- name: keep_checkpoint!
-- Store a signed checkpoint; another process may have signed the same.
INSERT INTO checkpoint (size, note) VALUES (:size, :note) ON CONFLICT DO NOTHING;
