-- name: account_place^
-- Where an account belongs, its tier, and who answers for it.
SELECT a.jurisdiction AS place, a.tier, o.answerable_person
FROM account a JOIN operator o USING (operator_id)
WHERE a.account_id = :account_id;

-- name: former_profiles
-- What an account was called before, the latest first.
SELECT name, klass AS class, profile, until_at AS until, by_record
FROM former_profile WHERE account_id = :account_id
ORDER BY until_at DESC, by_record DESC;

-- name: names_waiting
-- Names that wait for a human, by account; of one account only, if named, whatever was found when it asked.
SELECT w.account_id, w.name, w.name_key, w.klass AS class, w.by, w.asked_record, w.name_check,
       o.name AS operator_name, w.jurisdiction AS place, w.tier, w.version, coalesce(n.by_record, w.asked_record) AS since
FROM (
    SELECT account_id, name, name_key, klass, 'registration' AS by, by_record AS asked_record, name_check, operator_id,
           jurisdiction, tier, version
    FROM account
    WHERE accepted_at IS NULL AND closed_at IS NULL AND (name_check IS NOT NULL OR account_id = :account_id)
        AND (:account_id::text IS NULL OR account_id = :account_id)
    UNION ALL
    SELECT account_id, pending_profile ->> 'name', pending_profile ->> 'name_key', pending_profile ->> 'klass', 'profile',
           pending_profile ->> 'by_record', nullif(pending_profile -> 'name_check', 'null'), operator_id, jurisdiction, tier,
           version
    FROM account
    WHERE pending_profile IS NOT NULL AND closed_at IS NULL
        AND (nullif(pending_profile -> 'name_check', 'null') IS NOT NULL OR account_id = :account_id)
        AND (:account_id::text IS NULL OR account_id = :account_id)
) w
JOIN operator o USING (operator_id)
LEFT JOIN account_name n ON n.name_key = w.name_key AND n.account_id = w.account_id AND n.freed_record IS NULL
WHERE (:by::text IS NULL OR w.by = :by) AND (w.account_id, w.by) > (:after::text, :after_by::text)
ORDER BY w.account_id, w.by
LIMIT :most;

-- name: cards
-- What stands beside a name: who runs the account, from where, and whether it lives.
SELECT a.account_id, o.name AS operator_name, a.jurisdiction AS place,
       CASE WHEN a.refused_at IS NOT NULL THEN 'refused' WHEN a.closed_at IS NOT NULL THEN 'closed'
            WHEN a.accepted_at IS NULL THEN 'waiting' ELSE 'accepted' END AS state
FROM account a JOIN operator o USING (operator_id)
WHERE a.account_id = ANY(:account_ids::text[]);
