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
-- An account that was registered at an instant, and when it came to the operator that it had then.
SELECT a.created_at, coalesce(a.closed_at, a.refused_at) AS ended_at,
    coalesce(given.from_operator, a.operator_id) AS operator_id,
    coalesce(taken.at, a.created_at) AS from_at, coalesce(taken.by_record, a.by_record) AS by_record,
    given.at AS until_at, given.by_record AS ended_record
FROM account a
LEFT JOIN LATERAL (
    SELECT at, by_record, from_operator FROM subject_change
    WHERE account_id = a.account_id AND at > :at ORDER BY at, by_record LIMIT 1
) given ON true
LEFT JOIN LATERAL (
    SELECT at, by_record FROM subject_change WHERE account_id = a.account_id AND at <= :at ORDER BY at DESC, by_record DESC LIMIT 1
) taken ON true
WHERE a.account_id = :id AND a.created_at <= :at;

-- name: contract_at^
-- The contract with an MCN that an account had at an instant.
SELECT mcn_id AS operator_id, from_at, until_at, by_record, ended_record
FROM mcn_contract
WHERE account_id = :id AND from_at <= :at AND (until_at IS NULL OR until_at > :at)
ORDER BY from_at DESC LIMIT 1;

-- name: operator_since^
-- An operator that was registered at an instant.
SELECT created_at, exited_at AS ended_at, operator_id, created_at AS from_at, by_record, NULL::timestamptz AS until_at,
    NULL::text AS ended_record
FROM operator
WHERE operator_id = :id AND created_at <= :at;

-- name: answering_at^
-- Who answered for an operator at an instant.
SELECT o.kind, o.exited_at, p.person_id AS holder, p.from_at, p.until_at, p.by_record, p.ended_record
FROM answerable p
JOIN operator o USING (operator_id)
WHERE p.operator_id = :operator_id AND p.from_at <= :at AND (p.until_at IS NULL OR p.until_at > :at);

-- name: measures_at
-- The measures in force on a subject at an instant, past ones included (S128).
SELECT measure_id, code, scope, imposed_as, from_at, until, by_record, notice_id
FROM measure
WHERE target_type = :type AND target_id = :id AND from_at <= :at
    AND (ended_at IS NULL OR ended_at > :at) AND (until IS NULL OR until >= :at)
ORDER BY measure_id;
