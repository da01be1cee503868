-- name: seen_by$
-- The largest size a witness signed, as far as we know.
SELECT max(size) FROM cosignature WHERE vkey = :vkey;

-- name: keep!
-- Keep what a witness signed; the first of several for one checkpoint stands.
INSERT INTO cosignature (size, vkey, line) VALUES (:size, :vkey, :line) ON CONFLICT DO NOTHING;
