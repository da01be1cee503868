-- Webhooks: where effects are posted to, how far each one is, and who is posting.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE webhook (
    webhook_id text PRIMARY KEY,
    name text NOT NULL,                      -- what operators call it
    url text NOT NULL,                       -- where it posts to; its query may hold what the receiver takes for a password
    families text[] NOT NULL,                -- nouns of the effects it gets; empty: all
    created_at timestamptz NOT NULL,
    wrapped bytea NOT NULL,                  -- its secret, 32 bytes, wrapped under the master key, which is not in the database
    former_wrapped bytea,                    -- the secret before the last rotation, which signs too until former_until
    former_until timestamptz,
    place bigint NOT NULL,                   -- outbox.id up to which all was taken, passed over or lost
    batch_id text,                           -- the batch on its way, fixed before it is posted first: its webhook-id
    batch_upto bigint,                       -- outbox.id of its last effect
    lease_by text,                           -- the process that posts now
    lease_until timestamptz,                 -- after this another process may
    failures bigint NOT NULL DEFAULT 0,      -- attempts since the last that was taken
    failing_since timestamptz,               -- null: the last attempt was taken
    next_at timestamptz NOT NULL,            -- no attempt before
    answer text,                             -- what came of the last attempt: an HTTP status, or a word of ours
    answered_at timestamptz,
    paused_at timestamptz,                   -- null: it is not paused
    paused_by text,
    lost bigint NOT NULL DEFAULT 0,          -- effects purged or erased before they were taken
    CONSTRAINT webhook_former CHECK ((former_wrapped IS NULL) = (former_until IS NULL)),
    CONSTRAINT webhook_batch CHECK ((batch_id IS NULL) = (batch_upto IS NULL) AND batch_upto > place),
    CONSTRAINT webhook_lease CHECK ((lease_by IS NULL) = (lease_until IS NULL)),
    CONSTRAINT webhook_paused CHECK ((paused_at IS NULL) = (paused_by IS NULL)),
    CONSTRAINT webhook_paused_by CHECK (paused_by IN ('operator', 'receiver'))
);
COMMENT ON TABLE webhook IS 'Where effects are posted to, and how far each one is; all instants are of the database''s clock.';
COMMENT ON COLUMN webhook.lease_until IS 'A lease and not a lock: no row is locked while a receiver is waited for.';
COMMENT ON COLUMN webhook.lost IS 'Counted where effects are deleted, by count_lost; one just being posted counts too.';
COMMENT ON COLUMN webhook.paused_by IS 'receiver: it answered 410 Gone.';

-- Whatever deletes effects, a purge at the end of their term or an erasure, says to whom they had not been delivered yet.
CREATE FUNCTION count_lost() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In one order, so that two purges do not wait for each other; and so that no place moves before the effects are gone.
    PERFORM FROM webhook ORDER BY webhook_id FOR UPDATE;
    UPDATE webhook w SET lost = w.lost + m.effects
    FROM (
        SELECT h.webhook_id, count(*) AS effects
        FROM webhook h JOIN gone g ON g.id > h.place
            AND (cardinality(h.families) = 0 OR split_part(g.kind, '.', 1) = ANY(h.families))
        GROUP BY h.webhook_id
    ) m
    WHERE m.webhook_id = w.webhook_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_count_lost AFTER DELETE ON outbox REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION count_lost();

GRANT SELECT, INSERT, UPDATE, DELETE ON webhook TO mandate_service;

-- migrate:down
