-- Measures with their notices of reasons, and the warnings of dormancy.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE measure (
    measure_id text PRIMARY KEY,             -- id of the record that imposed it, a point, its number in that record
    code text NOT NULL,                      -- of the catalogue of the edition then in force (M1)
    target_type text NOT NULL CHECK (target_type IN ('group', 'person', 'office', 'account', 'operator', 'reporter')),
    target_id text NOT NULL,
    scope text,                              -- the part of the target it is about: the class of a field; null: the whole
    jurisdiction text NOT NULL,
    ground text NOT NULL CHECK (ground IN ('illegal', 'terms', 'both')),
    basis jsonb NOT NULL CHECK (basis <> '[]'), -- codes of instruments and articles (M2)
    facts jsonb NOT NULL CHECK (facts <> '{}'), -- what it rests on; no personal values (M2)
    imposed_as text NOT NULL CHECK (imposed_as IN ('platform', 'automation', 'authority')),
    from_at timestamptz NOT NULL,
    until timestamptz,                       -- holds while until >= now; null: until lifted, or for good (M4)
    dsa_surface text NOT NULL CHECK (dsa_surface IN ('none', 'hosting', 'online_platform')), -- at the time of the decision (G9)
    coupled_to text,                         -- the measure with which it came, by the catalogue (S119)
    notice_id text,                          -- its notice of reasons, where the code is restrictive (S133)
    by_record text NOT NULL,
    ended_at timestamptz,
    ended_how text CHECK (ended_how IN ('lifted', 'expired')),
    ended_record text,
    lift_reason text,                        -- code; the note is sealed in the record
    version bigint NOT NULL,
    CONSTRAINT measure_ended CHECK ((ended_at IS NULL) = (ended_how IS NULL) AND (ended_at IS NULL) = (ended_record IS NULL))
);
COMMENT ON TABLE measure IS 'Dated restrictions and warnings. A row is about its target only; the target has no word of it (M3).';
CREATE UNIQUE INDEX measure_in_force ON measure (target_type, target_id, code, coalesce(scope, ''))
WHERE ended_at IS NULL AND coupled_to IS NULL;
CREATE INDEX measure_target_idx ON measure (target_type, target_id, measure_id);
CREATE INDEX measure_due_idx ON measure (until) WHERE ended_at IS NULL AND until IS NOT NULL;

CREATE TABLE notice (
    notice_id text PRIMARY KEY,              -- id of the record it came with, a point, its number in that record
    measure_id text,                         -- null: of an act that is no measure, such as a warning of dormancy
    to_person text NOT NULL,                 -- whom it is for
    about_type text NOT NULL,
    about_id text NOT NULL,
    jurisdiction text NOT NULL,
    parts jsonb NOT NULL,                    -- the statement of reasons, part by part (S134)
    at timestamptz NOT NULL,
    by_record text NOT NULL
);
COMMENT ON TABLE notice IS 'Statements of reasons to those whom an act affects, made in the act itself (S133).';
CREATE INDEX notice_measure_idx ON notice (measure_id) WHERE measure_id IS NOT NULL;
CREATE INDEX notice_person_idx ON notice (to_person, notice_id);

CREATE TABLE dormancy_warning (
    account_id text PRIMARY KEY,
    unused_since timestamptz NOT NULL,       -- the last use it speaks of: any later one makes it void (S103)
    at timestamptz NOT NULL,
    by_record text NOT NULL
);
COMMENT ON TABLE dormancy_warning IS 'The last warning of each account that it was long unused (S102).';

GRANT SELECT, INSERT, UPDATE ON measure, dormancy_warning TO mandate_service;
GRANT SELECT, INSERT ON notice TO mandate_service;

-- migrate:down
