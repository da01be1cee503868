-- The roles are made outside (service/db/roles.sql), since an owner of tables may not make roles.
-- Each later migration grants, table by table, exactly what the service may do.

-- migrate:up

SET LOCAL lock_timeout = '5s';

DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mandate_service') THEN
        RAISE EXCEPTION 'role mandate_service does not exist: run service/db/roles.sql as a superuser first';
    END IF;
END
$roles$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO mandate_service;
GRANT SELECT ON schema_migrations TO mandate_service;

-- migrate:down
