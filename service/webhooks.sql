-- name: due
-- Webhooks that may be posted to now: not paused, not waiting after a failure, and nobody's just now.
SELECT webhook_id, place, batch_id IS NOT NULL AS begun FROM webhook
WHERE paused_at IS NULL AND next_at <= now() AND (lease_until IS NULL OR lease_until <= now());

-- name: claim^
-- Take the lease; no row where another process was quicker.
UPDATE webhook SET lease_by = :process, lease_until = now() + make_interval(secs => :seconds)
WHERE webhook_id = :webhook_id AND paused_at IS NULL AND next_at <= now() AND (lease_until IS NULL OR lease_until <= now())
RETURNING place, batch_upto, families;

-- name: begin_batch^
-- Fix what is posted next; what was fixed before keeps its id. And hold the lease for so long again. No row where the webhook
-- was paused, removed or taken over meanwhile.
UPDATE webhook SET batch_id = CASE WHEN batch_upto = :upto THEN batch_id ELSE :batch_id END, batch_upto = :upto,
    lease_until = now() + make_interval(secs => :seconds)
WHERE webhook_id = :webhook_id AND lease_by = :process AND paused_at IS NULL AND place = :place
RETURNING batch_id, url, wrapped, CASE WHEN former_until > now() THEN former_wrapped END AS former, failures, now() AS at;

-- name: batch_taken$
-- The receiver has the batch: go on behind it. Whoever posted it, and whatever became of the lease; nothing where it was done.
UPDATE webhook SET place = batch_upto, batch_id = NULL, batch_upto = NULL, failures = 0, failing_since = NULL,
    answer = :answer, answered_at = now()
WHERE webhook_id = :webhook_id AND batch_id = :batch_id
RETURNING place;

-- name: batch_failed!
-- The receiver has not taken the batch: it is posted again after a pause, or when an operator resumes what is gone.
UPDATE webhook SET failures = failures + 1, failing_since = coalesce(failing_since, now()), answer = :answer, answered_at = now(),
    next_at = now() + make_interval(secs => :pause), lease_by = NULL, lease_until = NULL,
    paused_at = CASE WHEN :gone THEN now() ELSE paused_at END, paused_by = CASE WHEN :gone THEN 'receiver' ELSE paused_by END
WHERE webhook_id = :webhook_id AND batch_id = :batch_id AND lease_by = :process;

-- name: pass_over$
-- Nothing up to here is for this webhook, or is there any more.
UPDATE webhook SET place = :upto, batch_id = NULL, batch_upto = NULL
WHERE webhook_id = :webhook_id AND lease_by = :process AND place = :place
RETURNING place;

-- name: release!
-- Give the lease back.
UPDATE webhook SET lease_by = NULL, lease_until = NULL WHERE webhook_id = :webhook_id AND lease_by = :process;

-- name: release_all!
-- Give every lease of a process back.
UPDATE webhook SET lease_by = NULL, lease_until = NULL WHERE lease_by = :process;

-- name: standings
-- How each webhook stands. Effects behind are looked for among so many after its place.
SELECT w.webhook_id, w.name, w.url, w.families, w.failing_since, w.answer, w.answered_at, w.lost, w.paused_by,
    CASE WHEN w.paused_at IS NULL THEN w.next_at END AS next_at,
    coalesce(extract(epoch FROM now() - w.failing_since), 0)::float8 AS failing_seconds, b.behind
FROM webhook w CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE cardinality(w.families) = 0 OR split_part(o.kind, '.', 1) = ANY(w.families)) AS behind
    FROM (SELECT kind FROM outbox WHERE id > w.place ORDER BY id LIMIT :most) o
) b
ORDER BY w.created_at, w.webhook_id;

-- name: count_webhooks$
-- How many there are.
SELECT count(*) FROM webhook;

-- name: newest_effect$
-- The newest effect that can be seen.
SELECT coalesce(max(id), 0) FROM outbox;

-- name: add!
-- A new webhook, which gets what comes after a place.
INSERT INTO webhook (webhook_id, name, url, families, created_at, wrapped, place, next_at)
VALUES (:webhook_id, :name, :url, :families, now(), :wrapped, :place, now());

-- name: rotate!
-- A new secret; the one before signs too for a day.
UPDATE webhook SET former_wrapped = wrapped, former_until = now() + interval '1 day', wrapped = :wrapped
WHERE webhook_id = :webhook_id;

-- name: pause!
-- Nothing is posted until it is resumed.
UPDATE webhook SET paused_at = coalesce(paused_at, now()), paused_by = coalesce(paused_by, 'operator')
WHERE webhook_id = :webhook_id;

-- name: resume!
-- Post again, at once.
UPDATE webhook SET paused_at = NULL, paused_by = NULL, failures = 0, next_at = now() WHERE webhook_id = :webhook_id;

-- name: remove!
-- It is gone, with its secret.
DELETE FROM webhook WHERE webhook_id = :webhook_id;

-- name: one^
-- What a ping needs.
SELECT url, wrapped, CASE WHEN former_until > now() THEN former_wrapped END AS former, now() AS at
FROM webhook WHERE webhook_id = :webhook_id;
