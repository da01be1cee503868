-- name: log_state^
-- How far the log is.
SELECT size, frontier, last_time_us, subjects FROM log_state;

-- name: newest_checkpoint^
-- The last checkpoint: as the log signed it, and with the lines of witnesses (a note holds 16 lines at most).
SELECT c.size, c.note AS signed, c.note || coalesce(w.lines, '') AS note, w.vkeys
FROM checkpoint c, LATERAL (
    SELECT string_agg(s.line, '' ORDER BY s.vkey) AS lines, coalesce(array_agg(s.vkey), '{}') AS vkeys
    FROM (SELECT line, vkey FROM cosignature WHERE size = c.size ORDER BY vkey LIMIT 14) s
) w
ORDER BY c.size DESC LIMIT 1;

-- name: checkpoint_of^
-- A checkpoint by its size, as the log signed it and with the lines of witnesses.
SELECT c.size, c.note AS signed, c.note || coalesce(string_agg(s.line, '' ORDER BY s.vkey), '') AS note
FROM checkpoint c LEFT JOIN LATERAL (
    SELECT line, vkey FROM cosignature WHERE size = c.size ORDER BY vkey LIMIT 14
) s ON true
WHERE c.size = :size
GROUP BY c.size, c.note;

-- name: configs
-- Entry 0, key changes and notices. The condition is that of log_entry_config_idx; what was put behind the end is no entry.
SELECT idx, entry FROM log_entry
WHERE record_id IS NULL AND substr(entry, 1, 1) = '\x03' AND idx < (SELECT size FROM log_state)
ORDER BY idx;

-- name: entries
-- Entries by their places in the log.
SELECT idx, entry FROM log_entry WHERE idx >= :start AND idx < :end ORDER BY idx;

-- name: full_tiles
-- Full tiles of the log tree.
SELECT t.level, t.n, t.hashes FROM unnest(:levels::bigint[], :numbers::bigint[]) AS u (level, n) JOIN log_tile t USING (level, n);

-- name: tile_roots
-- The hashes that stand for full tiles one level up.
SELECT root FROM log_tile WHERE level = :level AND n >= :start AND n < :end ORDER BY n;

-- name: every_bucket
-- All buckets of the map that are not empty: tag and value of each member.
SELECT bucket, string_agg(tag || substr(edge, 1, 32), ''::bytea ORDER BY tag) AS members FROM subject GROUP BY bucket ORDER BY bucket;

-- name: buckets
-- Buckets of the map by their numbers.
SELECT bucket, string_agg(tag || substr(edge, 1, 32), ''::bytea ORDER BY tag) AS members FROM subject
WHERE bucket = ANY(:numbers::bigint[]) GROUP BY bucket;

-- name: on_record$
-- Whether anything is on record.
SELECT EXISTS (SELECT FROM log_entry) OR EXISTS (SELECT FROM record);
