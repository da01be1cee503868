-- name: staff_page
-- Members of staff in the order of their ids, with what each holds now.
SELECT s.staff_id, s.jurisdiction, s.created_at, s.version,
    coalesce(array_agg(r.standing ORDER BY r.from_at, r.standing) FILTER (WHERE r.standing IS NOT NULL), '{}') AS standings
FROM staff s LEFT JOIN staff_role r ON r.staff_id = s.staff_id AND r.until_at IS NULL
WHERE s.staff_id > :after
    AND (:standing::text IS NULL OR EXISTS (
        SELECT FROM staff_role h WHERE h.staff_id = s.staff_id AND h.standing = :standing AND h.until_at IS NULL
    ))
GROUP BY s.staff_id ORDER BY s.staff_id LIMIT :most;

-- name: staff_member^
-- One member of staff.
SELECT staff_id, jurisdiction, created_at, version FROM staff WHERE staff_id = :staff_id;

-- name: intervals
-- Every standing and post that somebody held or holds, oldest first.
SELECT standing, from_at, until_at, by_record, ended_record FROM staff_role
WHERE staff_id = :staff_id ORDER BY from_at, by_record;

-- name: key_page
-- Keys in the order of their ids: scopes and ends, never a hash.
SELECT key_id, prefix, kind, staff_id, families, tiers, jurisdictions, issued_at, expires_at, revoked_at, by_record, version
FROM api_key WHERE key_id > :after ORDER BY key_id LIMIT :most;

-- name: edition_page
-- Adopted editions, the one in force last first.
SELECT digest, effective_at, adopted_record FROM edition
WHERE :before::timestamptz IS NULL OR effective_at < :before ORDER BY effective_at DESC LIMIT :most;

-- name: edition_whole^
-- One edition with its files.
SELECT digest, effective_at, adopted_record, files FROM edition WHERE digest = :digest;
