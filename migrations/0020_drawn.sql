-- Which places of the outbox were ever drawn: a cursor beyond them is one of another database, or of this one before it was
-- restored from a backup.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '1h';

GRANT SELECT ON SEQUENCE outbox_id_seq TO mandate_service;

-- migrate:down
