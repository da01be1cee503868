-- name: wrapped_keys
-- A few keys wrapped under the master key: those of data subjects, or, where there is none, the secrets of webhooks (no type).
(SELECT type, id, wrapped FROM subject_key ORDER BY type, id LIMIT 8)
UNION ALL
(SELECT NULL, webhook_id, wrapped FROM webhook WHERE NOT EXISTS (SELECT FROM subject_key) ORDER BY webhook_id LIMIT 8);
