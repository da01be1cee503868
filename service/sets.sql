-- name: open_approvals
-- Which of these acts on these targets already wait for approval, in which one, and who asked.
SELECT a.action, a.target_type, a.target_id, a.approval_id, a.proposer
FROM unnest(:actions::text[], :types::text[], :ids::text[]) AS k (action, target_type, target_id)
JOIN approval a USING (action, target_type, target_id)
WHERE a.state = 'open';
