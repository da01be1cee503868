-- name: list_holds
-- Legal holds after a cursor, in the order in which they were set.
SELECT hold_id, subject_type, subject_id, set_by, reason, jurisdiction, from_at, ended_at, ended_record, version
FROM legal_hold
WHERE hold_id > :after
    AND (:state::text IS NULL OR (:state = 'open') = (ended_at IS NULL))
    AND (:subject_type::text IS NULL OR subject_type = :subject_type)
    AND (:subject_id::text IS NULL OR subject_id = :subject_id)
ORDER BY hold_id
LIMIT :most;

-- name: get_hold^
-- One legal hold.
SELECT hold_id, subject_type, subject_id, set_by, reason, jurisdiction, from_at, ended_at, ended_record, version
FROM legal_hold WHERE hold_id = :hold_id;
