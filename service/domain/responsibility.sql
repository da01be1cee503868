-- name: head_at^
-- Who was head of content safety at an instant.
SELECT staff_id AS holder, from_at, until_at, by_record, ended_record
FROM staff_role
WHERE standing = 'head_of_content_safety' AND from_at <= :at AND (until_at IS NULL OR until_at > :at)
ORDER BY from_at DESC
LIMIT 1;

-- name: group_since^
-- A group that was registered at an instant.
SELECT code, created_at, dissolved_at FROM groups WHERE group_id = :group_id AND created_at <= :at;

-- name: offices_until
-- Everybody who was owner or admin of a group at an instant or before it, in the order in which they came.
SELECT person_id AS holder, rank, from_at, until_at, by_record, ended_record, granted_by
FROM role
WHERE group_id = :group_id AND rank > 1 AND from_at <= :at AND (until_at IS NULL OR until_at > from_at)
ORDER BY from_at, by_record, person_id;

-- name: account_since^
-- An account that was registered at an instant, with its operator.
SELECT a.created_at, coalesce(a.closed_at, a.refused_at) AS ended_at, o.operator_id, o.kind, o.answerable_person,
    o.created_at AS operator_since, o.by_record AS operator_record, o.exited_at
FROM account a JOIN operator o USING (operator_id)
WHERE a.account_id = :id AND a.created_at <= :at;

-- name: operator_since^
-- An operator that was registered at an instant.
SELECT o.created_at, o.exited_at AS ended_at, o.operator_id, o.kind, o.answerable_person, o.created_at AS operator_since,
    o.by_record AS operator_record, o.exited_at
FROM operator o
WHERE o.operator_id = :id AND o.created_at <= :at;

-- name: measures_at
-- The measures in force on a subject at an instant, past ones included (S128).
SELECT measure_id, code, scope, imposed_as, from_at, until, by_record, notice_id
FROM measure
WHERE target_type = :type AND target_id = :id AND from_at <= :at
    AND (ended_at IS NULL OR ended_at > :at) AND (until IS NULL OR until >= :at)
ORDER BY measure_id;
