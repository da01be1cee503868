-- name: stored_now
-- What every living group and account is ranked by now.
SELECT kind, id, tier, tier_basis, override_tier FROM tier_subject ORDER BY kind, id;

-- name: stored_in_records
-- The records of acts that rank, whose bodies have not been retired.
SELECT rid, body FROM record
WHERE out = 'done' AND body IS NOT NULL AND act IN (
    'group.register', 'group.update_facts', 'group.update_profile', 'group.rank', 'group.override_tier',
    'group.expire_override', 'account.accept', 'account.update_facts', 'account.rank', 'account.override_tier',
    'account.expire_override', 'account.accept_transfer', 'approval.grant'
);

-- name: stored_count$
-- How many subjects there are, and about how many records.
SELECT (SELECT count(*) FROM tier_subject)
    + (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'record'::regclass);

-- name: edition_files$
-- The files of an adopted edition.
SELECT files FROM edition WHERE digest = :digest;
