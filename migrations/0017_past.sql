-- What was: roles and silences that have ended, found by their group and person. Until now only the open ones had an index, so
-- that who asked for an instant of the past walked through all there ever were.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '1h';

-- Partial, so that an act that begins something pays nothing for them.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX role_past_idx ON role (group_id, person_id) WHERE until_at IS NOT NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX mute_past_idx ON mute (group_id, person_id) WHERE ended_at IS NOT NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX mute_all_past_idx ON mute_all (group_id) WHERE ended_at IS NOT NULL;

-- migrate:down
