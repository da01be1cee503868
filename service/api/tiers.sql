-- name: edition_files$
-- The files of an adopted edition.
SELECT files FROM edition WHERE digest = :digest;

-- name: plans
-- Plans of bulk re-ranking by id after a cursor, each with how far it has come.
SELECT p.plan_id, p.kind, p.edition, p.counts, p.state, p.created_at, p.run_record, p.ended_at, p.ended_record, p.version,
    g.looked, g.changed
FROM tier_plan p LEFT JOIN tier_progress g USING (plan_id)
WHERE p.plan_id > :after
ORDER BY p.plan_id LIMIT :most;

-- name: plan^
-- One plan, with how far it has come.
SELECT p.plan_id, p.kind, p.edition, p.counts, p.state, p.created_at, p.run_record, p.ended_at, p.ended_record, p.version,
    g.looked, g.changed
FROM tier_plan p LEFT JOIN tier_progress g USING (plan_id)
WHERE p.plan_id = :plan_id;
