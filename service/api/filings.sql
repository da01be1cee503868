-- name: filings
-- One page of the register, the latest noted first, before :before; every condition that is null holds.
SELECT filing_id, document, version, authority, receipt, jurisdiction, filed_at, at FROM filing
WHERE (:before::text IS NULL OR filing_id < :before) AND (:document::text IS NULL OR document = :document)
ORDER BY filing_id DESC LIMIT :most;

-- name: filed
-- Each version that was lodged with anybody.
SELECT DISTINCT document, version FROM filing;
