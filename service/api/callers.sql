-- name: key_of_token^
-- The key whose token has this hash.
SELECT key_id, prefix, token_sha256, kind, staff_id, families, tiers, jurisdictions, issued_at, expires_at, revoked_at, by_record, version
FROM api_key WHERE token_sha256 = :token_sha256;
