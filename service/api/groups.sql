-- name: groups_page
-- Groups by id after a cursor; a null condition asks nothing.
SELECT group_id, code, name, klass, member_count, capacity, tier, jurisdiction, owner_id, version, ownerless_since, dissolved_at
FROM groups
WHERE group_id > :after
    AND (:owner_id::text IS NULL OR owner_id = :owner_id)
    AND (:klass::text IS NULL OR klass = :klass)
    AND (:tier::bigint IS NULL OR tier = :tier)
    AND (:jurisdiction::text IS NULL OR jurisdiction LIKE :jurisdiction)
    AND (
        :lifecycle::text IS NULL
        OR CASE :lifecycle
            WHEN 'living' THEN dissolved_at IS NULL
            WHEN 'ownerless' THEN dissolved_at IS NULL AND ownerless_since IS NOT NULL
            ELSE dissolved_at IS NOT NULL
        END
    )
ORDER BY group_id
LIMIT :limit;

-- name: members_page
-- Open roles of a group, owner and admins first, after a cursor.
SELECT person_id, rank, from_at, by_record, granted_by
FROM role
WHERE group_id = :group_id AND until_at IS NULL AND (-rank, person_id) > (-(:after_rank::bigint), :after_person::text)
ORDER BY -rank, person_id
LIMIT :limit;
