-- The two roles of the house, made once per server by a superuser (the embedded PostgreSQL does so by itself):
--     psql -f service/db/roles.sql
--     psql -c 'CREATE DATABASE mandate OWNER mandate_owner'
-- Running it again changes nothing. Passwords are for the operator to set: ALTER ROLE … PASSWORD.

DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mandate_owner') THEN
        CREATE ROLE mandate_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mandate_service') THEN
        CREATE ROLE mandate_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
END
$roles$;

-- Time limits live on the role, not in the connection, so that they hold behind a pooler too.
ALTER ROLE mandate_service SET lock_timeout = '2s';
ALTER ROLE mandate_service SET statement_timeout = '15s';
ALTER ROLE mandate_service SET idle_in_transaction_session_timeout = '10s';
-- Every statement takes arrays of keys and finds rows by index: planning it anew each time would cost more than running it.
ALTER ROLE mandate_service SET plan_cache_mode = 'force_generic_plan';
-- A plan that is kept must not be one for the empty table it was made on: rows are found by index, key by key, from the
-- first day.
ALTER ROLE mandate_service SET enable_seqscan = off;
ALTER ROLE mandate_service SET enable_hashjoin = off;
ALTER ROLE mandate_service SET enable_mergejoin = off;
ALTER ROLE mandate_service SET jit = off;
ALTER ROLE mandate_service SET timezone = 'UTC';
ALTER ROLE mandate_owner SET timezone = 'UTC';
