-- name: list_approvals
-- Approvals in the order in which they were proposed, after :after.
SELECT approval_id, action, target_type, target_id, body, digest, salt, proposer, parties, persons_needed, granted_by, jurisdiction, tier, created_at, expires_at, state, ended_at, ended_record, version
FROM approval
WHERE approval_id > :after
    AND (:state::text IS NULL OR state = :state)
    AND (:action::text IS NULL OR action = :action)
    AND (:target_type::text IS NULL OR target_type = :target_type)
    AND (:target_id::text IS NULL OR target_id = :target_id)
ORDER BY approval_id LIMIT :most;

-- name: get_approval^
-- One approval.
SELECT approval_id, action, target_type, target_id, body, digest, salt, proposer, parties, persons_needed, granted_by, jurisdiction, tier, created_at, expires_at, state, ended_at, ended_record, version
FROM approval WHERE approval_id = :approval_id;
