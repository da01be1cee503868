-- name: operator^
-- One operator, in the order of the row's columns.
SELECT operator_id, kind, name, is_mcn, answerable_person, identity_status, identity_methods, identity_ref, verified_at,
       pending, jurisdiction, created_at, version, account_count, extra_accounts, exited_at, by_record
FROM operator WHERE operator_id = :operator_id;
