-- name: held
-- Every standing and post that is held now, by whom, and as which human where that is known.
SELECT r.staff_id, s.person_id, r.standing
FROM staff_role r JOIN staff s ON s.staff_id = r.staff_id
WHERE r.until_at IS NULL
ORDER BY r.staff_id, r.standing;
