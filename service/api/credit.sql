-- name: holder^
-- Whose credit it is: his identity, since when, territory, and for an operator who answers for it, its kind and accounts.
SELECT identity_status, verified_at, jurisdiction, person_id AS human, NULL::text AS kind, NULL::bigint AS account_count,
       NULL::jsonb AS extra_accounts
FROM person WHERE :holder = 'person' AND person_id = :id
UNION ALL
SELECT identity_status, verified_at, jurisdiction, answerable_person, kind, account_count, extra_accounts
FROM operator WHERE :holder = 'operator' AND operator_id = :id;

-- name: ledger
-- A whole ledger up to an instant, in the order of its lines.
SELECT subject_type, subject_id, number, at, points, score, cause, by_record FROM credit_entry
WHERE subject_type = :holder AND subject_id = :id AND at <= :at
ORDER BY number;

-- name: credit_of^
-- What a ledger comes to now, if there is one.
SELECT subject_type, subject_id, score, entries, recovering_since FROM credit
WHERE subject_type = :holder AND subject_id = :id;
