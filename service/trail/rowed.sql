-- name: edges
-- All subjects of some buckets of the map, with where their rows stand: nobody else moves them while the log is locked.
SELECT s.bucket, s.tag, s.edge, s.ctid FROM unnest(:buckets::bigint[]) AS u (bucket) JOIN subject s USING (bucket);

-- name: keep_edges!
-- Move the edges of subjects that were known already; a row that another sequencer moved meanwhile is not there.
UPDATE subject s SET edge = u.edge FROM unnest(:rows::tid[], :edges::bytea[]) AS u (place, edge) WHERE s.ctid = u.place;
