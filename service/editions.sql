-- name: editions_since
-- The editions that come into force after an instant, in order.
SELECT digest, effective_at, files FROM edition WHERE effective_at > :effective_at ORDER BY effective_at;
