-- Groups and the order inside them. Independent facts, no status that mixes them (G7).

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE groups (
    group_id text PRIMARY KEY,
    code text NOT NULL,                      -- public identification code, immutable (G5)
    name text NOT NULL,
    klass text NOT NULL,                     -- class of domain.md (c)
    jurisdiction text NOT NULL,
    created_at timestamptz NOT NULL,
    version bigint NOT NULL,                 -- grows with each change of this row; mutes and bars are rows of their own
    owner_id text,
    ownerless_since timestamptz,
    capacity bigint NOT NULL,                -- asked for
    member_count bigint NOT NULL,
    admin_count bigint NOT NULL,
    messages_per_day bigint NOT NULL,        -- 28-day mean, counted by the backend
    join_mode text NOT NULL CHECK (join_mode IN ('invite', 'approval', 'open')),
    discoverable boolean NOT NULL,
    link_open boolean NOT NULL,
    minors text NOT NULL CHECK (minors IN ('yes', 'no', 'unknown')),
    tier bigint NOT NULL CHECK (tier BETWEEN 1 AND 4),
    tier_basis jsonb NOT NULL,               -- what the tier was computed from, input by input
    override jsonb,                          -- {tier, until, by_record} while one stands over the computed tier
    successors jsonb NOT NULL,               -- ordered person ids
    succession_due_at timestamptz,           -- running succession
    succession_record text,                  -- record that opened it
    offer jsonb,                             -- {to, until, old_owner_becomes, by_record} while a transfer is open
    transferred_at timestamptz,              -- last change of owner by transfer
    imported boolean NOT NULL,               -- S075
    by_record text NOT NULL,                 -- record that registered it
    dissolved_at timestamptz,
    dissolved_how text CHECK (dissolved_how IN ('owner', 'measure')),
    dissolved_record text,
    preserved boolean NOT NULL,
    CONSTRAINT groups_code_key UNIQUE (code),
    CONSTRAINT groups_one_owner CHECK (dissolved_at IS NOT NULL OR (owner_id IS NULL) <> (ownerless_since IS NULL)),
    CONSTRAINT groups_members_fit CHECK (member_count >= 0 AND member_count <= capacity OR dissolved_at IS NOT NULL OR imported),
    CONSTRAINT groups_dissolved_how CHECK ((dissolved_at IS NULL) = (dissolved_how IS NULL))
);
COMMENT ON TABLE groups IS 'A conversation with members and one answerable owner.';
CREATE INDEX groups_owner_idx ON groups (owner_id) WHERE dissolved_at IS NULL;
CREATE INDEX groups_succession_idx ON groups (succession_due_at) WHERE succession_due_at IS NOT NULL;
CREATE INDEX groups_offer_idx ON groups ((offer ->> 'until')) WHERE offer IS NOT NULL;
CREATE INDEX groups_waiting_idx ON groups ((tier_basis -> 'waiting' ->> 'since'))
WHERE tier_basis -> 'waiting' ->> 'since' IS NOT NULL;
CREATE INDEX groups_override_idx ON groups ((override ->> 'until')) WHERE override IS NOT NULL;

CREATE TABLE role (
    by_record text NOT NULL,                 -- record that gave it
    person_id text NOT NULL,
    group_id text NOT NULL,
    rank bigint NOT NULL CHECK (rank BETWEEN 1 AND 3), -- owner 3, admin 2, member 1
    from_at timestamptz NOT NULL,
    until_at timestamptz,                    -- null: still held
    ended_record text,
    granted_by text,                         -- the owner who lent the power, for admins
    PRIMARY KEY (by_record, person_id)
);
COMMENT ON TABLE role IS 'Who was what in which group, from when to when, by whose record (G8).';
CREATE UNIQUE INDEX role_open ON role (group_id, person_id) WHERE until_at IS NULL;
CREATE UNIQUE INDEX role_one_owner ON role (group_id) WHERE until_at IS NULL AND rank = 3;
CREATE INDEX role_person_idx ON role (person_id) WHERE until_at IS NULL;
CREATE INDEX role_offices_idx ON role (group_id, from_at) WHERE rank > 1; -- who answered at an instant

CREATE TABLE mute (
    by_record text PRIMARY KEY,              -- record that set it
    group_id text NOT NULL,
    person_id text NOT NULL,
    from_at timestamptz NOT NULL,
    until timestamptz,                       -- holds while until >= now (S022); null: permanent
    by_rank bigint NOT NULL,                 -- rank of who set it, then
    supersedes text,                         -- record of the mute it replaced (S027)
    ended_at timestamptz,
    ended_how text CHECK (ended_how IN ('superseded', 'unmuted', 'lapsed', 'dissolved', 'owner')),
    ended_record text
);
COMMENT ON TABLE mute IS 'A person silenced in one group.';
CREATE UNIQUE INDEX mute_open ON mute (group_id, person_id) WHERE ended_at IS NULL;
CREATE INDEX mute_due_idx ON mute (until) WHERE ended_at IS NULL AND until IS NOT NULL;

CREATE TABLE mute_all (
    by_record text PRIMARY KEY,
    group_id text NOT NULL,
    from_at timestamptz NOT NULL,
    until timestamptz,
    by_rank bigint NOT NULL,
    supersedes text,
    ended_at timestamptz,
    ended_how text CHECK (ended_how IN ('superseded', 'unmuted', 'lapsed', 'dissolved')),
    ended_record text
);
COMMENT ON TABLE mute_all IS 'A whole group silenced by its owner or an admin.';
CREATE UNIQUE INDEX mute_all_open ON mute_all (group_id) WHERE ended_at IS NULL;
CREATE INDEX mute_all_due_idx ON mute_all (until) WHERE ended_at IS NULL AND until IS NOT NULL;

CREATE TABLE bar (
    by_record text PRIMARY KEY,
    group_id text NOT NULL,
    person_id text NOT NULL,
    from_at timestamptz NOT NULL,
    until timestamptz,
    by_rank bigint NOT NULL,
    supersedes text,
    ended_at timestamptz,
    ended_how text CHECK (ended_how IN ('superseded', 'unbarred', 'lapsed', 'dissolved')),
    ended_record text
);
COMMENT ON TABLE bar IS 'A person kept out of one group.';
CREATE UNIQUE INDEX bar_open ON bar (group_id, person_id) WHERE ended_at IS NULL;
CREATE INDEX bar_due_idx ON bar (until) WHERE ended_at IS NULL AND until IS NOT NULL;

CREATE TABLE join_request (
    by_record text PRIMARY KEY,
    group_id text NOT NULL,
    person_id text NOT NULL,
    invited_by text,                         -- null: the person asked; else the member who invited
    at timestamptz NOT NULL,
    ended_at timestamptz,
    ended_how text CHECK (ended_how IN ('admitted', 'joined', 'turned_away', 'lapsed', 'barred', 'dissolved')),
    ended_record text
);
COMMENT ON TABLE join_request IS 'A request to join, or an invitation, waiting for the other side.';
CREATE UNIQUE INDEX join_request_open ON join_request (group_id, person_id) WHERE ended_at IS NULL;
CREATE INDEX join_request_due_idx ON join_request (at) WHERE ended_at IS NULL;

CREATE TABLE hidden_item (
    by_record text PRIMARY KEY,
    group_id text NOT NULL,
    locator text NOT NULL,                   -- where the item is; no content
    item_sha256 text NOT NULL,               -- hash of its content
    author_id text NOT NULL,
    by_rank bigint NOT NULL,
    at timestamptz NOT NULL,
    ended_at timestamptz,
    ended_record text
);
COMMENT ON TABLE hidden_item IS 'An item hidden from members by owner or admin.';
CREATE UNIQUE INDEX hidden_item_open ON hidden_item (group_id, locator) WHERE ended_at IS NULL;

CREATE TABLE pinned_notice (
    by_record text PRIMARY KEY,
    group_id text NOT NULL,
    locator text NOT NULL,
    by_standing text NOT NULL,
    at timestamptz NOT NULL
);
COMMENT ON TABLE pinned_notice IS 'A notice pinned in a group.';
CREATE INDEX pinned_notice_group_idx ON pinned_notice (group_id);

GRANT SELECT, INSERT, UPDATE ON groups, role, mute, mute_all, bar, join_request, hidden_item, pinned_notice TO mandate_service;

-- migrate:down
