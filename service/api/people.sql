-- name: person^
-- One person, in the order of the row's columns.
SELECT person_id, jurisdiction, created_at, version, identity_status, identity_methods, identity_ref, verified_at,
       minor, bot, seen_at, terms_accepted, closed_at, erased_at
FROM person WHERE person_id = :person_id;
