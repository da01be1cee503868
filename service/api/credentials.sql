-- name: operator_inside^
-- Who answers for an operator, and its territory.
SELECT answerable_person, jurisdiction FROM operator WHERE operator_id = :operator_id;

-- name: credentials
-- One page of credentials by id, the first submitted first; every condition that is null holds.
SELECT c.credential_id, c.operator_id, c.kind, c.reference, c.valid_from, c.valid_until, c.submitted_at, c.accepted_at,
       c.accepted_record, c.ended_at, c.ended_how, c.ended_record, c.version, o.jurisdiction
FROM credential c JOIN operator o USING (operator_id)
WHERE c.credential_id > :after
  AND (:operator_id::text IS NULL OR c.operator_id = :operator_id)
  AND (:kind::text IS NULL OR c.kind = :kind)
  AND (:state::text IS NULL
       OR :state = coalesce(c.ended_how, CASE WHEN c.accepted_at IS NULL THEN 'waiting' ELSE 'accepted' END))
  AND (:ends_before::timestamptz IS NULL OR (c.valid_until < :ends_before AND c.ended_at IS NULL))
ORDER BY c.credential_id
LIMIT :most;
