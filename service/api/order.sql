-- name: rank_at$
-- The rank a person held in a group at an instant; none: outside.
SELECT rank
FROM role
WHERE group_id = :group_id AND person_id = :person_id AND from_at <= :at AND (until_at IS NULL OR until_at > :at);

-- name: silences_at
-- What silenced a person in a group at an instant: until is inclusive, an end by hand holds from its own instant.
SELECT 'mute' AS kind, by_record, by_rank, from_at, until
FROM mute
WHERE group_id = :group_id AND person_id = :person_id
    AND from_at <= :at AND (until IS NULL OR until >= :at) AND (ended_at IS NULL OR ended_at > :at)
UNION ALL
SELECT 'mute_all', by_record, by_rank, from_at, until
FROM mute_all
WHERE group_id = :group_id
    AND from_at <= :at AND (until IS NULL OR until >= :at) AND (ended_at IS NULL OR ended_at > :at);

-- name: roles_at
-- The roles held in a group at an instant, highest first, after a place in that order.
SELECT person_id, rank, from_at, until_at, by_record, granted_by, ended_record
FROM role
WHERE group_id = :group_id AND from_at <= :at AND (until_at IS NULL OR until_at > :at)
    AND (:rank::bigint IS NULL OR rank = :rank::bigint)
    AND (rank < :after_rank::bigint OR (rank = :after_rank::bigint AND person_id > :after_person::text))
ORDER BY rank DESC, person_id
LIMIT :most::bigint;
