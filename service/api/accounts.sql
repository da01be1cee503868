-- name: accounts
-- Accounts with their operators as the card shows them; a person who runs accounts has no credit code.
SELECT a.account_id, a.name, a.klass AS class, a.profile, a.jurisdiction AS place, a.operator_id,
       o.name AS operator_name, o.kind AS operator_kind,
       CASE WHEN o.identity_methods ? 'credit_code' AND o.kind <> 'person' THEN o.identity_ref END AS credit_code_ref,
       CASE WHEN a.refused_at IS NOT NULL THEN 'refused' WHEN a.closed_at IS NOT NULL THEN 'closed'
            WHEN a.accepted_at IS NULL THEN 'waiting' ELSE 'accepted' END AS state,
       a.mcn_id, m.name AS mcn_name, changes.subject_changes, a.pending_profile, a.name_check, a.offer,
       a.monetisation_eligible_at, a.closing_due_at,
       a.accepted_at, a.closed_at, a.version, a.tier, a.tier_basis, a.override, a.next_recheck_at, a.followers,
       a.reads_per_post, a.quality, a.quality_source, a.last_used_at, a.refused_at, a.created_at, in_force.measures,
       o.answerable_person,
       m.answerable_person AS mcn_answerable_person
FROM account a JOIN operator o USING (operator_id) LEFT JOIN operator m ON m.operator_id = a.mcn_id
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object('at', c.at, 'from_operator', c.from_operator, 'from_name', f.name,
        'to_operator', c.to_operator, 'to_name', t.name) ORDER BY c.at, c.by_record), '[]') AS subject_changes
    FROM subject_change c JOIN operator f ON f.operator_id = c.from_operator JOIN operator t ON t.operator_id = c.to_operator
    WHERE c.account_id = a.account_id
) changes
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object('measure_id', x.measure_id, 'code', x.code) ORDER BY x.measure_id), '[]')
        AS measures
    FROM measure x
    WHERE x.target_type = 'account' AND x.target_id = a.account_id AND x.ended_at IS NULL
        AND (x.until IS NULL OR x.until >= :now::timestamptz)
) in_force
WHERE a.account_id = ANY(:account_ids::text[])
ORDER BY a.account_id;

-- name: account_ids
-- One page of accounts by id; every condition that is null holds.
SELECT a.account_id FROM account a
WHERE (:after::text IS NULL OR a.account_id > :after)
  AND (:klass::text IS NULL OR a.klass = :klass)
  AND (:tier::bigint IS NULL OR a.tier = :tier)
  AND (:jurisdiction::text IS NULL OR a.jurisdiction = :jurisdiction OR a.jurisdiction LIKE :inner)
  AND (:operator_id::text IS NULL OR a.operator_id = :operator_id)
  AND (:state::text IS NULL OR :state = CASE WHEN a.refused_at IS NOT NULL THEN 'refused' WHEN a.closed_at IS NOT NULL THEN 'closed'
                                             WHEN a.accepted_at IS NULL THEN 'waiting' ELSE 'accepted' END)
  AND (:override::boolean IS NULL OR (a.override IS NOT NULL) = :override)
  AND (:changing::boolean IS NULL OR (a.pending_profile IS NOT NULL AND a.closed_at IS NULL) = :changing)
  AND (:due_recheck_before::timestamptz IS NULL OR (a.next_recheck_at < :due_recheck_before AND a.closed_at IS NULL))
ORDER BY a.account_id
LIMIT :most;
