-- name: key_now^
-- What a key opens, if it is valid at this instant, and which standings its holder has.
SELECT k.families, k.tiers, k.jurisdictions, ARRAY(
    SELECT r.standing FROM staff_role r WHERE r.staff_id = k.staff_id AND r.until_at IS NULL ORDER BY r.from_at, r.by_record
) AS standings
FROM api_key k
WHERE k.key_id = :key_id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > :at);
