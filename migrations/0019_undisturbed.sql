-- Whether a statement saw all there was to see: rows that it did not lock are those of its beginning, and while it waited for
-- the locks of others something may have been committed. With this as its last part, one statement locks subjects and reads
-- their parts; only when something ended meanwhile are the parts read again.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '1h';

-- Volatile, for then the snapshot inside is a new one; asked with the snapshot of the statement that asks. A snapshot changes
-- only when a transaction that wrote something ends.
CREATE FUNCTION undisturbed(since pg_snapshot) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN pg_current_snapshot()::text = since::text;
END;
$$;

-- migrate:down
