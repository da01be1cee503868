-- name: edge$
-- What a subject's row says of its tree.
SELECT edge FROM subject WHERE bucket = :bucket AND tag = :tag;

-- name: places
-- The places of a subject's records, 32 to a row, in order; the newest ones are in its own row.
SELECT places FROM subject_leaf WHERE tag = :tag AND chunk >= :first AND chunk < :last ORDER BY chunk;

-- name: cosigned_before$
-- How many of these witnesses signed the checkpoint before; null where there is none.
SELECT (SELECT count(*) FROM cosignature s WHERE s.size = c.size AND s.vkey = ANY(:vkeys::text[]))
FROM checkpoint c WHERE c.size < :size ORDER BY c.size DESC LIMIT 1;

-- name: leaves
-- Entries by their places, in the order asked.
SELECT u.idx, e.entry
FROM unnest(:places::bigint[]) WITH ORDINALITY AS u (idx, number)
CROSS JOIN LATERAL (SELECT l.entry FROM log_entry l WHERE l.idx = u.idx OFFSET 0) e
ORDER BY u.number;

-- name: records
-- Records by their places in the log, in the order asked, with their entries. A retired one has no body, and who retired it;
-- where the record itself is missing all is null but the entry.
SELECT u.idx, e.entry, e.rid, e.body, e.retired_by
FROM unnest(:places::bigint[]) WITH ORDINALITY AS u (idx, number)
CROSS JOIN LATERAL (
    SELECT l.entry, r.rid, r.body, r.retired_by
    FROM log_entry l LEFT JOIN record r ON r.id = l.record_id WHERE l.idx = u.idx OFFSET 0
) e
ORDER BY u.number;

-- name: sealed
-- Sealed personal fields with the wrapped keys that still exist.
SELECT f.record_id, f.name, f.key_type, f.key_id, f.sealed, k.wrapped
FROM record_field f JOIN subject_key k ON k.type = f.key_type AND k.id = f.key_id
WHERE f.record_id = ANY(:rids::text[]) AND f.sealed IS NOT NULL;

-- name: deleted
-- Personal fields that were deleted, each with the record that ordered it, if that is in the log below a size.
SELECT f.record_id, f.name, f.deleted_by
FROM record_field f JOIN record d ON d.rid = f.deleted_by JOIN log_entry e ON e.record_id = d.id
WHERE f.record_id = ANY(:rids::text[]) AND e.idx < :size;

-- name: cited
-- Records in the log below a size by their ids, with their entries, in their order.
SELECT e.idx, e.entry, r.rid, r.body, r.retired_by
FROM record r JOIN log_entry e ON e.record_id = r.id
WHERE r.rid = ANY(:rids::text[]) AND e.idx < :size AND r.body IS NOT NULL
ORDER BY e.idx;

-- name: logged^
-- Where a record stands in the log.
SELECT e.idx, e.entry FROM record r JOIN log_entry e ON e.record_id = r.id WHERE r.rid = :rid;
