-- name: erasable
-- What the erasure of these people would delete, what holds it, and which proposals still name them.
WITH opening AS MATERIALIZED (
    SELECT p.person_id, r.at, r.body
    FROM unnest(:people::text[]) AS p (person_id)
    CROSS JOIN LATERAL openings_of(p.person_id) o
    JOIN record r ON r.rid = o.record_id
)
SELECT p.person_id, count(o.at) AS values, max(o.at) AS newest_at,
    ARRAY(
        SELECT DISTINCT h.hold_id FROM held h
        WHERE (h.subject_type = 'person' AND h.subject_id = p.person_id) OR EXISTS (
            SELECT FROM opening c WHERE c.person_id = p.person_id AND concerns(c.body, h.tag)
        )
    ) AS holds,
    ARRAY(
        SELECT a.approval_id FROM approval a
        WHERE a.state = 'open' AND a.action <> 'person.erase' AND (
            (a.target_type = 'person' AND a.target_id = p.person_id)
            OR position(convert_to(to_json(p.person_id)::text, 'UTF8') IN a.body) > 0
        )
    ) AS waiting,
    ARRAY(
        SELECT w.operator_id FROM operator w
        WHERE w.kind = 'person' AND w.answerable_person = p.person_id ORDER BY w.operator_id
    ) AS operators
FROM unnest(:people::text[]) AS p (person_id) LEFT JOIN opening o USING (person_id)
GROUP BY p.person_id;

-- name: redactable
-- These records: whom they concern, which of their values are still there, and what holds them. Those without body are gone.
SELECT r.rid AS record_id, r.at,
    (convert_from(r.body, 'UTF8')::jsonb -> 'p' -> 'who' ->> 'target')::bigint AS target,
    (
        SELECT coalesce(array_agg(ARRAY[n.type, n.id] ORDER BY n.tag), '{}') FROM subject_name n
        WHERE n.tag = ANY(ARRAY(
            SELECT decode(s.tag, 'hex') FROM jsonb_array_elements_text(convert_from(r.body, 'UTF8')::jsonb -> 'subj') AS s (tag)
        ))
    ) AS subjects,
    ARRAY(SELECT f.name FROM record_field f WHERE f.record_id = r.rid AND f.sealed IS NOT NULL ORDER BY f.name) AS fields,
    ARRAY(SELECT h.hold_id FROM held h WHERE concerns(r.body, h.tag)) AS holds
FROM record r
WHERE r.rid = ANY(:rids::text[]) AND r.body IS NOT NULL;

-- name: retirable^
-- Bodies of the entries from :start up to and without :end, what holds any of them, and the term that the log announced last:
-- the newest notice retention.period, as canonical JSON in a config entry; the condition is that of log_entry_config_idx.
SELECT s.size, n.notice, n.months,
    (SELECT count(*) FROM bodies_between(:start, :end)) AS bodies,
    (SELECT max(r.at) FROM bodies_between(:start, :end) b JOIN record r USING (id)) AS newest_at,
    ARRAY(
        SELECT h.hold_id FROM held h WHERE EXISTS (
            SELECT FROM bodies_between(:start, :end) b JOIN record r USING (id) WHERE concerns(r.body, h.tag)
        )
    ) AS holds
FROM log_state s LEFT JOIN LATERAL (
    SELECT e.idx AS notice, substring(said.text FROM '"months":([0-9]{1,6})[,}]')::bigint AS months
    FROM log_entry e CROSS JOIN LATERAL (SELECT encode(e.entry, 'escape') AS text) said
    WHERE e.record_id IS NULL AND substr(e.entry, 1, 1) = '\x03' AND e.idx < s.size
        AND said.text LIKE '%{"code":"retention.period","kind":"notice","p":%'
    ORDER BY e.idx DESC LIMIT 1
) n ON true;

-- name: old_answers
-- First answers from before an instant, the oldest first. They speak of requests, not of subjects: no hold covers them.
SELECT key FROM request_key WHERE at < :before ORDER BY at LIMIT :most;

-- name: purge_answers!
DELETE FROM request_key WHERE key = ANY(:rows::bytea[]);

-- name: old_effects
-- Effects from before an instant whose acts concern nothing that is held, in their order.
SELECT o.id FROM outbox o
WHERE o.at < :before AND NOT EXISTS (
    SELECT FROM held h JOIN record r ON r.rid = o.rid WHERE concerns(r.body, h.tag)
)
ORDER BY o.id LIMIT :most;

-- name: purge_effects!
DELETE FROM outbox WHERE id = ANY(:rows::bigint[]);
