-- Second and third persons.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE approval (
    approval_id text PRIMARY KEY,            -- id of the record that proposed
    action text NOT NULL,                    -- noun.verb
    target_type text NOT NULL,
    target_id text NOT NULL,
    body bytea,                              -- the action as asked; dropped when the approval ends
    digest text NOT NULL,                    -- SHA-256 of body: what the approvers agree to
    proposer jsonb NOT NULL,                 -- caller of the proposal
    parties jsonb NOT NULL,                  -- humans who have a part in the matter, as kind:id
    persons_needed bigint NOT NULL CHECK (persons_needed BETWEEN 2 AND 3),
    granted_by jsonb NOT NULL,               -- [{human, standing, record}]
    jurisdiction text NOT NULL,
    tier bigint,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'granted', 'refused', 'lapsed')),
    ended_at timestamptz,
    ended_record text,
    version bigint NOT NULL
);
COMMENT ON TABLE approval IS 'A proposed act waiting for others to agree.';
CREATE UNIQUE INDEX approval_open ON approval (action, target_type, target_id) WHERE state = 'open';
CREATE INDEX approval_due_idx ON approval (expires_at) WHERE state = 'open';
CREATE INDEX approval_list_idx ON approval (state, approval_id);

GRANT SELECT, INSERT, UPDATE ON approval TO mandate_service;

-- migrate:down
