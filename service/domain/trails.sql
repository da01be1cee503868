-- name: places
-- The territories of subjects that exist or existed. A key lies where its holder does.
SELECT k.type, k.id, coalesce(p.jurisdiction, g.jurisdiction, a.jurisdiction, o.jurisdiction, s.jurisdiction, h.jurisdiction, 'CN')
    AS jurisdiction
FROM unnest(:types::text[], :ids::text[]) AS k (type, id)
LEFT JOIN person p ON k.type = 'person' AND p.person_id = k.id
LEFT JOIN groups g ON k.type = 'group' AND g.group_id = k.id
LEFT JOIN account a ON k.type = 'account' AND a.account_id = k.id
LEFT JOIN operator o ON k.type = 'operator' AND o.operator_id = k.id
LEFT JOIN staff s ON k.type = 'staff' AND s.staff_id = k.id
LEFT JOIN api_key y ON k.type = 'staff' AND starts_with(k.id, 'key:') AND y.key_id = substr(k.id, 5)
LEFT JOIN staff h ON h.staff_id = y.staff_id
WHERE coalesce(p.person_id, g.group_id, a.account_id, o.operator_id, s.staff_id, y.key_id) IS NOT NULL;
