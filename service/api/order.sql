-- name: silences_at
-- What persons were in groups at instants, and what silenced them: until is inclusive, an end by hand holds from its own instant.
-- Open and ended rows are looked for apart, each by an index of its own.
SELECT a.place, s.kind, s.by_record, s.by_rank, s.from_at, s.until
FROM unnest(:group_ids::text[], :person_ids::text[], :ats::timestamptz[])
    WITH ORDINALITY AS a (group_id, person_id, at, place)
CROSS JOIN LATERAL (
    SELECT 'role' AS kind, by_record, rank AS by_rank, from_at, until_at AS until
    FROM role WHERE group_id = a.group_id AND person_id = a.person_id AND from_at <= a.at AND until_at IS NULL
    UNION ALL
    SELECT 'role', by_record, rank, from_at, until_at
    FROM role WHERE group_id = a.group_id AND person_id = a.person_id AND from_at <= a.at AND until_at > a.at
    UNION ALL
    SELECT 'mute', by_record, by_rank, from_at, until
    FROM mute
    WHERE group_id = a.group_id AND person_id = a.person_id AND from_at <= a.at AND (until IS NULL OR until >= a.at)
        AND ended_at IS NULL
    UNION ALL
    SELECT 'mute', by_record, by_rank, from_at, until
    FROM mute
    WHERE group_id = a.group_id AND person_id = a.person_id AND from_at <= a.at AND (until IS NULL OR until >= a.at)
        AND ended_at > a.at
    UNION ALL
    SELECT 'mute_all', by_record, by_rank, from_at, until
    FROM mute_all
    WHERE group_id = a.group_id AND from_at <= a.at AND (until IS NULL OR until >= a.at) AND ended_at IS NULL
    UNION ALL
    SELECT 'mute_all', by_record, by_rank, from_at, until
    FROM mute_all
    WHERE group_id = a.group_id AND from_at <= a.at AND (until IS NULL OR until >= a.at) AND ended_at > a.at
) s;

-- name: roles_at
-- The roles held in a group at an instant, highest first, after a place in that order.
SELECT person_id, rank, from_at, until_at, by_record, granted_by, ended_record
FROM (
    SELECT * FROM role WHERE group_id = :group_id AND from_at <= :at AND until_at IS NULL
    UNION ALL
    SELECT * FROM role WHERE group_id = :group_id AND from_at <= :at AND until_at > :at
) r
WHERE (:rank::bigint IS NULL OR rank = :rank::bigint)
    AND (rank < :after_rank::bigint OR (rank = :after_rank::bigint AND person_id > :after_person::text))
ORDER BY rank DESC, person_id
LIMIT :most::bigint;
