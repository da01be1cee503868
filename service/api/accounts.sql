-- name: account^
-- One account with its operator as the card shows it; a person who runs accounts has no credit code.
SELECT a.account_id, a.name, a.klass AS class, a.profile, a.jurisdiction AS place, a.operator_id,
       o.name AS operator_name, o.kind AS operator_kind,
       CASE WHEN o.identity_methods ? 'credit_code' AND o.kind <> 'person' THEN o.identity_ref END AS credit_code_ref,
       CASE WHEN a.refused_at IS NOT NULL THEN 'refused' WHEN a.accepted_at IS NULL THEN 'waiting' ELSE 'accepted' END
         AS state,
       a.accepted_at, a.closed_at, a.version, a.tier, a.tier_basis, a.override, a.next_recheck_at, a.followers,
       a.reads_per_post, a.quality, a.quality_source, a.last_used_at, a.refused_at, a.created_at,
       in_force.measures, o.answerable_person
FROM account a JOIN operator o USING (operator_id)
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object('measure_id', m.measure_id, 'code', m.code) ORDER BY m.measure_id), '[]')
        AS measures
    FROM measure m
    WHERE m.target_type = 'account' AND m.target_id = a.account_id AND m.ended_at IS NULL
        AND (m.until IS NULL OR m.until >= :now::timestamptz)
) in_force
WHERE a.account_id = :account_id;

-- name: accounts
-- One page of accounts by id; every condition that is null holds.
SELECT a.account_id, a.name, a.klass AS class, a.profile, a.jurisdiction AS place, a.operator_id,
       o.name AS operator_name, o.kind AS operator_kind,
       CASE WHEN o.identity_methods ? 'credit_code' AND o.kind <> 'person' THEN o.identity_ref END AS credit_code_ref,
       CASE WHEN a.refused_at IS NOT NULL THEN 'refused' WHEN a.accepted_at IS NULL THEN 'waiting' ELSE 'accepted' END
         AS state,
       a.accepted_at, a.closed_at, a.version, a.tier, a.tier_basis, a.override, a.next_recheck_at, a.followers,
       a.reads_per_post, a.quality, a.quality_source, a.last_used_at, a.refused_at, a.created_at,
       in_force.measures
FROM account a JOIN operator o USING (operator_id)
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object('measure_id', m.measure_id, 'code', m.code) ORDER BY m.measure_id), '[]')
        AS measures
    FROM measure m
    WHERE m.target_type = 'account' AND m.target_id = a.account_id AND m.ended_at IS NULL
        AND (m.until IS NULL OR m.until >= :now::timestamptz)
) in_force
WHERE (:after::text IS NULL OR a.account_id > :after)
  AND (:klass::text IS NULL OR a.klass = :klass)
  AND (:tier::bigint IS NULL OR a.tier = :tier)
  AND (:jurisdiction::text IS NULL OR a.jurisdiction = :jurisdiction OR a.jurisdiction LIKE :inner)
  AND (:operator_id::text IS NULL OR a.operator_id = :operator_id)
  AND (:state::text IS NULL OR :state = CASE WHEN a.refused_at IS NOT NULL THEN 'refused'
                                             WHEN a.accepted_at IS NULL THEN 'waiting' ELSE 'accepted' END)
  AND (:override::boolean IS NULL OR (a.override IS NOT NULL) = :override)
  AND (:due_recheck_before::timestamptz IS NULL OR (a.next_recheck_at < :due_recheck_before AND a.closed_at IS NULL))
ORDER BY a.account_id
LIMIT :most;
