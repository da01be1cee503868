-- name: logs$
-- Where names are looked for to read the logs of this house: those that were ended, the oldest first, then the one that stands.
SELECT ARRAY(
    SELECT quote_ident(nspname) || ', ' || current_setting('search_path') FROM pg_namespace
    WHERE nspname LIKE 'ended\_log\_%' AND has_schema_privilege(oid, 'USAGE') ORDER BY length(nspname), nspname
) || current_setting('search_path');

-- name: look_in$
-- Look for names in other schemas until the transaction ends.
SELECT set_config('search_path', :path, true);
