-- name: records_of$
-- How many records a subject has below a size of the log.
SELECT l.seq + 1 FROM subject s JOIN subject_leaf l ON l.subject_id = s.id
WHERE s.tag = :tag AND l.idx < :size
ORDER BY l.seq DESC LIMIT 1;

-- name: subject_number$
-- The number of a subject.
SELECT id FROM subject WHERE tag = :tag;

-- name: cosigned_before$
-- How many of these witnesses signed the checkpoint before; null where there is none.
SELECT (SELECT count(*) FROM cosignature s WHERE s.size = c.size AND s.vkey = ANY(:vkeys::text[]))
FROM checkpoint c WHERE c.size < :size ORDER BY c.size DESC LIMIT 1;

-- name: leaves
-- The entries of a subject's first records, in order.
SELECT l.seq, e.entry FROM subject_leaf l JOIN log_entry e ON e.idx = l.idx
WHERE l.subject_id = :subject_id AND l.seq < :n ORDER BY l.seq;

-- name: records
-- Records of a subject by their numbers, with their entries. A retired one has no body, and who retired it.
SELECT l.idx, e.entry, r.rid, r.body, r.retired_by
FROM subject_leaf l JOIN log_entry e ON e.idx = l.idx JOIN record r ON r.id = e.record_id
WHERE l.subject_id = :subject_id AND l.seq >= :start AND l.seq < :end ORDER BY l.seq;

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
