-- name: here$
-- The schemas in which names are looked for.
SELECT current_setting('search_path');

-- name: ended
-- The schemas of ended logs that may be read.
SELECT nspname AS schema FROM pg_namespace
WHERE nspname LIKE 'ended\_log\_%' AND has_schema_privilege(oid, 'USAGE') ORDER BY oid;

-- name: look_in$
-- Look for names in other schemas until the transaction ends.
SELECT set_config('search_path', :path, true);
