-- name: editions
-- The adopted editions in the order in which they come into force.
SELECT digest, effective_at FROM edition ORDER BY effective_at;
