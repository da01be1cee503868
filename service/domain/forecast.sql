-- Many subjects at once, by what the table makes of them: those between the same bounds weigh the same, so that a million
-- of them are a few thousand rows. Bounds are the numbers at which a band begins, of every edition that is compared.
-- Those with ids after :after up to :last; all their ids only if asked for :with_ids.

-- name: account_end$
-- The id at which the next :most accounts after :after end, dead ones included. Null: there are none.
SELECT max(account_id) FROM (SELECT account_id FROM account WHERE account_id > :after ORDER BY account_id LIMIT :most) s;

-- name: group_end$
-- The id at which the next :most groups after :after end.
SELECT max(group_id) FROM (SELECT group_id FROM groups WHERE group_id > :after ORDER BY group_id LIMIT :most) s;

-- name: account_profiles
-- Living accounts by profile and by what holds now; one row stands for all of its kind, with two of them as samples.
SELECT
    concat_ws(
        '|', klass, operator_verified, coalesce(width_bucket(operator_score, :credit::bigint[]), -1),
        width_bucket(followers, :followers::bigint[]),
        width_bucket(reads_per_post, :reads_per_post::bigint[]), coalesce(width_bucket(quality, :quality::bigint[]), -1)
    ) AS profile,
    tier, override_tier,
    (tier_basis ->> 'tier')::bigint AS held,
    (tier_basis -> 'waiting' ->> 'tier')::bigint AS waits,
    (tier_basis -> 'waiting' ->> 'since')::timestamptz <= :due::timestamptz AS due,
    tier_basis ->> 'edition' AS edition,
    count(*) AS number, min(id) AS first, max(id) AS last,
    array_agg(id) FILTER (WHERE :with_ids::boolean) AS ids,
    min(klass) AS klass, min(operator_score) AS operator_score, bool_and(operator_verified) AS operator_verified,
    min(followers) AS followers,
    min(reads_per_post) AS reads_per_post, min(quality) AS quality
FROM tier_subject
WHERE kind = 'account' AND id > :after AND id <= :last
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY first;

-- name: group_profiles
-- Living groups by profile and by what holds now.
SELECT
    concat_ws(
        '|', klass, join_mode, discoverable, link_open, minors, width_bucket(member_count, :members::bigint[]),
        width_bucket(messages_per_day, :messages_per_day::bigint[]), width_bucket(capacity, :capacity::bigint[]),
        width_bucket(admin_count, :admins::bigint[])
    ) AS profile,
    tier, override_tier,
    (tier_basis ->> 'tier')::bigint AS held,
    (tier_basis -> 'waiting' ->> 'tier')::bigint AS waits,
    (tier_basis -> 'waiting' ->> 'since')::timestamptz <= :due::timestamptz AS due,
    tier_basis ->> 'edition' AS edition,
    count(*) AS number, min(id) AS first, max(id) AS last,
    array_agg(id) FILTER (WHERE :with_ids::boolean) AS ids,
    min(klass) AS klass, min(join_mode) AS join_mode, bool_or(discoverable) AS discoverable, bool_or(link_open) AS link_open,
    min(minors) AS minors, min(member_count) AS member_count, min(messages_per_day) AS messages_per_day,
    min(capacity) AS capacity, min(admin_count) AS admin_count
FROM tier_subject
WHERE kind = 'group' AND id > :after AND id <= :last
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY first;

-- name: accounts_of_profiles
-- The accounts of some profiles and tiers, by id after a cursor: `profile|tier`.
SELECT *
FROM (
    SELECT *, concat_ws(
        '|', klass, operator_verified, coalesce(width_bucket(operator_score, :credit::bigint[]), -1),
        width_bucket(followers, :followers::bigint[]),
        width_bucket(reads_per_post, :reads_per_post::bigint[]), coalesce(width_bucket(quality, :quality::bigint[]), -1), tier
    ) AS place
    FROM tier_subject WHERE kind = 'account' AND id > :after
) s
WHERE place = ANY(:places::text[])
ORDER BY id LIMIT :most;

-- name: groups_of_profiles
-- The groups of some profiles and tiers, by id after a cursor: `profile|tier`.
SELECT *
FROM (
    SELECT *, concat_ws(
        '|', klass, join_mode, discoverable, link_open, minors, width_bucket(member_count, :members::bigint[]),
        width_bucket(messages_per_day, :messages_per_day::bigint[]), width_bucket(capacity, :capacity::bigint[]),
        width_bucket(admin_count, :admins::bigint[]), tier
    ) AS place
    FROM tier_subject WHERE kind = 'group' AND id > :after
) s
WHERE place = ANY(:places::text[])
ORDER BY id LIMIT :most;

-- name: one_subject^
-- One living group or account.
SELECT * FROM tier_subject WHERE kind = :kind AND id = :id;

-- name: keep_forecast!
-- Keep what was counted for the act that plans.
INSERT INTO tier_forecast (kind, edition, at, counts) VALUES (:kind, :edition, :at, :counts::jsonb)
ON CONFLICT (kind) DO UPDATE SET edition = excluded.edition, at = excluded.at, counts = excluded.counts;
