-- name: try_lock$
-- One sequencer at a time; the lock ends with the transaction, also behind a pooler. A turn's statements are planned for its
-- thousands of rows: a plan that is kept from when the tables held a few would walk through all of them.
SELECT pg_try_advisory_xact_lock(hashtextextended('mandate.sequencer', 0)),
    set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: waiting^
-- What a turn would find to do: whether records wait, and whether the log ends in a map entry and so is fit to be signed.
SELECT EXISTS (SELECT FROM pending) AS pending, s.last_time_us, (SELECT count(*) FROM edition) AS editions,
    coalesce((SELECT substr(entry, 1, 1) = '\x02' FROM log_entry WHERE idx = s.size - 1), false) AS mapped
FROM log_state s;

-- name: oldest_waiting$
-- When the act was done whose record has waited longest: ids are drawn in the order of acts.
SELECT at FROM record WHERE id = (SELECT min(id) FROM pending);

-- name: take_pending
-- Take the first waiting records; the deleted row is the mark of work done.
WITH taken AS (
    DELETE FROM pending WHERE id IN (SELECT id FROM pending ORDER BY id LIMIT :most) RETURNING id, record_hash, tags
)
SELECT id, record_hash, tags FROM taken ORDER BY id;

-- name: advance!
-- Move the log on from the size that was read, or nothing at all: a second sequencer ends here.
UPDATE log_state SET size = :size, frontier = :frontier, last_time_us = :last_time_us, subjects = :subjects
WHERE size = :old;

-- name: keep_checkpoint!
-- Store a signed checkpoint; another process may have signed the same.
INSERT INTO checkpoint (size, note) VALUES (:size, :note) ON CONFLICT DO NOTHING;
