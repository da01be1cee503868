-- name: log_state^
-- How far the log is.
SELECT size, frontier, last_time_us, subjects, mapped_size, mapped_root, mapped_us FROM log_state;

-- name: newest_checkpoint^
-- The last checkpoint.
SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1;

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
-- All buckets of the map that are not empty.
SELECT bucket, members FROM map_bucket ORDER BY bucket;

-- name: buckets
-- Buckets of the map by their numbers.
SELECT bucket, members FROM map_bucket WHERE bucket = ANY(:numbers::bigint[]);
