-- name: running_plans
-- Plans that run, the first one first.
SELECT plan_id, kind, edition, counts, state, created_at, run_record, ended_at, ended_record, version
FROM tier_plan WHERE state = 'running' ORDER BY plan_id;

-- name: take_progress^
-- Keep a plan for some seconds, unless another process keeps it; tell how far it has come.
UPDATE tier_progress SET held_until = clock_timestamp() + make_interval(secs => :seconds::bigint)
WHERE plan_id = :plan_id AND (held_until IS NULL OR held_until < clock_timestamp())
RETURNING after;

-- name: note_progress^
-- All subjects up to this one have been looked at, and the plan is kept for some more seconds; nothing where it runs no more.
UPDATE tier_progress SET
    after = :after, looked = looked + :number::bigint,
    held_until = clock_timestamp() + make_interval(secs => :seconds::bigint)
WHERE plan_id = :plan_id AND EXISTS (SELECT FROM tier_plan WHERE plan_id = :plan_id AND state = 'running')
RETURNING looked;

-- name: progress^
-- How far a plan has come.
SELECT looked, changed FROM tier_progress WHERE plan_id = :plan_id;
