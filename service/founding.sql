-- name: is_founded$
-- Whether there is any staff.
SELECT EXISTS (SELECT FROM staff);
