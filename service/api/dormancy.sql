-- name: dormant
-- One page of accounts that were warned of their present stretch without use or are paused, by id.
SELECT d.* FROM (
    SELECT a.account_id, a.name, a.klass AS class, a.jurisdiction, a.tier, a.operator_id, o.answerable_person,
        greatest(a.accepted_at, a.last_used_at, ended.at) AS unused_since, w.at AS warned_at, w.by_record AS warned_record,
        w.unused_since AS warned_of, p.measure_id, p.from_at AS paused_at
    FROM dormancy_warning w JOIN account a USING (account_id) JOIN operator o USING (operator_id)
    LEFT JOIN measure p ON p.target_type = 'account' AND p.target_id = a.account_id AND p.code = 'P_DORMANT_PAUSE'
        AND p.ended_at IS NULL AND p.coupled_to IS NULL
    CROSS JOIN LATERAL (
        SELECT max(m.ended_at) AS at FROM measure m
        WHERE m.target_type = 'account' AND m.target_id = a.account_id AND m.code = 'P_DORMANT_PAUSE'
    ) ended
    WHERE a.account_id > :after AND a.closed_at IS NULL
) d
WHERE (d.measure_id IS NOT NULL OR d.warned_of = d.unused_since)
  AND (:stage::text IS NULL OR :stage = CASE
        WHEN d.measure_id IS NULL THEN 'warned'
        WHEN d.unused_since <= :end_before THEN 'to_decide' ELSE 'paused' END)
ORDER BY d.account_id
LIMIT :most;
