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
-- An account that was registered at an instant, with the operator that it had then, and the MCN whose contract ran.
SELECT a.created_at, coalesce(a.closed_at, a.refused_at) AS ended_at, o.operator_id, o.kind, o.answerable_person,
    coalesce(taken.at, o.created_at) AS operator_since, coalesce(taken.by_record, o.by_record) AS operator_record, o.exited_at,
    m.operator_id AS mcn_id, m.kind AS mcn_kind, m.answerable_person AS mcn_answerable_person, c.from_at AS mcn_since,
    c.by_record AS mcn_record, m.exited_at AS mcn_exited_at
FROM account a
LEFT JOIN LATERAL (
    SELECT from_operator FROM subject_change WHERE account_id = a.account_id AND at > :at ORDER BY at, by_record LIMIT 1
) given ON true
LEFT JOIN LATERAL (
    SELECT at, by_record FROM subject_change WHERE account_id = a.account_id AND at <= :at ORDER BY at DESC, by_record DESC LIMIT 1
) taken ON true
JOIN operator o ON o.operator_id = coalesce(given.from_operator, a.operator_id)
LEFT JOIN mcn_contract c ON c.account_id = a.account_id AND c.from_at <= :at AND (c.until_at IS NULL OR c.until_at > :at)
LEFT JOIN operator m ON m.operator_id = c.mcn_id
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
