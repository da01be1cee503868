-- name: running_plans
-- Plans that run, the first one first.
SELECT plan_id, kind, edition, counts, state, created_at, run_record, ended_at, ended_record, version
FROM tier_plan WHERE state = 'running' ORDER BY plan_id;

-- name: take_progress^
-- Keep a plan for a while, unless another process keeps it; tell how far it has come.
UPDATE tier_progress SET held_until = clock_timestamp() + :lease::interval
WHERE plan_id = :plan_id
    AND (held_until IS NULL OR held_until < clock_timestamp() OR held_until = :mine::timestamptz)
RETURNING after, looked, changed, held_until;

-- name: note_progress!
-- All subjects up to this one have been looked at.
UPDATE tier_progress SET after = :after, looked = looked + :number::bigint WHERE plan_id = :plan_id;
