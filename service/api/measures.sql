-- name: measures
-- One page of measures by id, the first imposed first; every condition that is null holds. :person sees those that bind what
-- he answers for. :at asks for those in force at an instant, past ones included (S128).
SELECT m.measure_id, m.code, m.target_type, m.target_id, m.scope, m.jurisdiction, m.ground, m.basis, m.facts, m.imposed_as,
       m.from_at, m.until, m.dsa_surface, m.coupled_to, m.notice_id, m.by_record, m.ended_at, m.ended_how, m.ended_record,
       m.lift_reason, m.version
FROM measure m
WHERE m.measure_id > :after
  AND (:measure_id::text IS NULL OR m.measure_id = :measure_id)
  AND (:target_type::text IS NULL OR m.target_type = :target_type)
  AND (:target_id::text IS NULL OR m.target_id = :target_id)
  AND (:code::text IS NULL OR m.code = :code)
  AND (:imposed_as::text IS NULL OR m.imposed_as = :imposed_as)
  AND (:at::timestamptz IS NULL
       OR (m.from_at <= :at AND (m.ended_at IS NULL OR m.ended_at > :at) AND (m.until IS NULL OR m.until >= :at)))
  AND (:person::text IS NULL OR EXISTS (
        SELECT FROM account a JOIN operator o USING (operator_id)
        WHERE m.target_type = 'account' AND a.account_id = m.target_id AND o.answerable_person = :person))
ORDER BY m.measure_id
LIMIT :most;

-- name: notices
-- One page of notices by id, the first made first; every condition that is null holds.
SELECT notice_id, measure_id, to_person, about_type, about_id, jurisdiction, parts, at, by_record
FROM notice
WHERE notice_id > :after
  AND (:notice_id::text IS NULL OR notice_id = :notice_id)
  AND (:measure_id::text IS NULL OR measure_id = :measure_id)
  AND (:person::text IS NULL OR to_person = :person)
ORDER BY notice_id
LIMIT :most;

-- name: account_uses^
-- An account as far as its uses depend on it, with its operator and who answers for it.
SELECT a.klass, a.jurisdiction, a.tier, a.monetisation_eligible_at, a.accepted_at IS NOT NULL AND a.closed_at IS NULL AS lives,
       a.operator_id, o.answerable_person, o.identity_status = 'verified' AS operator_verified
FROM account a JOIN operator o USING (operator_id)
WHERE a.account_id = :account_id;
