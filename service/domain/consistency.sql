-- name: overrides
-- Proposed overrides of tiers in the order of their proposals, each with the record that proposed it.
SELECT a.approval_id, a.target_type, a.target_id, a.proposer, a.granted_by, a.state, a.created_at, a.ended_record, r.body
FROM approval a JOIN record r ON r.rid = a.approval_id
WHERE a.action IN ('group.override_tier', 'account.override_tier')
    AND (:kind::text IS NULL OR a.target_type = :kind)
    AND a.approval_id > :after
ORDER BY a.approval_id LIMIT :most;
