-- Legal holds, and deletion by record: of personal values, and of bodies whose term is over (format section 9.1).
-- The database itself carries out what a deletion record orders, in the record's own transaction; the service can delete
-- neither value nor body in any other way.

-- migrate:up

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE legal_hold (
    hold_id text PRIMARY KEY,                -- id of the record that set it
    subject_type text NOT NULL,
    subject_id text NOT NULL,                -- what it names; several holds may name the same
    set_by text NOT NULL,                    -- staff id
    reason text NOT NULL,                    -- code; the note is sealed in the record
    jurisdiction text NOT NULL,
    from_at timestamptz NOT NULL,
    ended_at timestamptz,
    ended_record text,
    version bigint NOT NULL,
    CONSTRAINT legal_hold_ended CHECK ((ended_at IS NULL) = (ended_record IS NULL))
);
COMMENT ON TABLE legal_hold IS 'Nothing that concerns its subject is erased, redacted, retired or purged until it is released (S202).';
CREATE INDEX legal_hold_open ON legal_hold (subject_type, subject_id) WHERE ended_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON legal_hold TO mandate_service;

ALTER TABLE approval ADD COLUMN salt bytea;
COMMENT ON COLUMN approval.salt IS 'In the digest beside the body, and dropped with it: a digest alone must tell nothing of a note.';
COMMENT ON COLUMN approval.digest IS 'SHA-256 of salt and body: what the approvers agree to.';

-- A value that was deleted leaves its name, and the record that ordered the deletion: bundles must cite it.
-- squawk-ignore ban-drop-not-null
ALTER TABLE record_field ALTER COLUMN sealed DROP NOT NULL;
ALTER TABLE record_field ADD COLUMN deleted_by text;
ALTER TABLE record_field ADD CONSTRAINT record_field_deleted CHECK ((sealed IS NULL) = (deleted_by IS NOT NULL)) NOT VALID;
-- squawk-ignore ban-drop-not-null
ALTER TABLE record ALTER COLUMN body DROP NOT NULL;
ALTER TABLE record ADD COLUMN retired_by text;
ALTER TABLE record ADD CONSTRAINT record_retired CHECK ((body IS NULL) = (retired_by IS NOT NULL)) NOT VALID;
COMMENT ON COLUMN record_field.deleted_by IS 'record.rid of the deletion record; sealed is null from then on.';
COMMENT ON COLUMN record.retired_by IS 'record.rid of the record.retire that deleted the body; hash and entry stay.';

-- How a deletion finds whom it speaks of. Made under a lock, once; subjects are new far more rarely than records.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX subject_name_subject_idx ON subject_name (type, id);

CREATE FUNCTION tag_prefix(tag bytea) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || encode(substr(tag, 1, 8), 'hex'))::bit(64)::bigint
$$;

CREATE VIEW held AS
SELECT h.hold_id, h.subject_type, h.subject_id, n.tag
FROM legal_hold h JOIN subject_name n ON n.type = h.subject_type AND n.id = h.subject_id
WHERE h.ended_at IS NULL;
COMMENT ON VIEW held IS 'Open legal holds with the tag of what each names.';
GRANT SELECT ON held TO mandate_service;

-- The openings that an erasure of this person deletes: what is sealed under the person's own key, the values of an operator
-- who is that person, and notes about the person in records of a group or account. What staff wrote down of themselves (why
-- they looked) and what concerns another person under that person's key stays.
CREATE FUNCTION openings_of(person text) RETURNS TABLE (record_id text, name text) LANGUAGE sql STABLE AS $$
    SELECT f.record_id, f.name
    FROM subject_name n
    JOIN record_tag t ON t.tag = tag_prefix(n.tag)
    JOIN record r ON r.id = t.record_id AND position(n.tag IN r.tags) % 32 = 1
    JOIN record_field f ON f.record_id = r.rid
    WHERE n.type = 'person' AND n.id = person AND f.sealed IS NOT NULL AND (
        (f.key_type = 'person' AND f.key_id = person)
        OR (f.key_type = 'operator' AND f.key_id IN (
            SELECT operator_id FROM operator WHERE kind = 'person' AND answerable_person = person
        ))
        OR (f.name = 'note' AND f.key_type IN ('group', 'account') AND EXISTS (
            SELECT FROM jsonb_each_text(convert_from(r.body, 'UTF8')::jsonb -> 'p' -> 'who') w (role, place)
            WHERE place::integer = (position(n.tag IN r.tags) - 1) / 32
        ))
    )
$$;

-- Bodies that a retirement of the entries from i to j deletes. Deletion records stay: bundles must show them.
CREATE FUNCTION bodies_between(i bigint, j bigint) RETURNS TABLE (id bigint) LANGUAGE sql STABLE AS $$
    SELECT r.id FROM log_entry e JOIN record r ON r.id = e.record_id
    WHERE e.idx >= i AND e.idx < j AND r.body IS NOT NULL
        AND NOT (r.out = 'done' AND r.act IN ('field.redact', 'person.erase', 'record.retire'))
$$;

CREATE FUNCTION carry_out_deletion() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    said jsonb := convert_from(NEW.body, 'UTF8')::jsonb;
    person text;
    gone text[];  -- records that lost values
BEGIN
    IF NEW.act = 'field.redact' THEN
        gone := ARRAY[said -> 'p' ->> 'record'];
        UPDATE record_field SET sealed = NULL, deleted_by = NEW.rid
        WHERE record_id = gone[1] AND said -> 'p' -> 'fields' ? name AND sealed IS NOT NULL;
    ELSIF NEW.act = 'person.erase' THEN
        SELECT n.id INTO STRICT person FROM subject_name n
        WHERE n.type = 'person'
            AND n.tag = decode(said -> 'subj' ->> (said -> 'p' -> 'who' ->> 'target')::integer, 'hex');
        WITH erased AS (
            UPDATE record_field f SET sealed = NULL, deleted_by = NEW.rid
            FROM openings_of(person) o WHERE (f.record_id, f.name) = (o.record_id, o.name)
            RETURNING f.record_id
        )
        SELECT array_agg(DISTINCT record_id) INTO gone FROM erased;
        DELETE FROM subject_key WHERE (type = 'person' AND id = person) OR (type = 'operator' AND id IN (
            SELECT operator_id FROM operator WHERE kind = 'person' AND answerable_person = person
        ));
    ELSE
        WITH retired AS (
            UPDATE record SET body = NULL, retired_by = NEW.rid
            WHERE id IN (
                SELECT b.id FROM bodies_between(
                    (said -> 'p' ->> 'from_index')::bigint, (said -> 'p' ->> 'to_index')::bigint
                ) b
            )
            RETURNING rid
        )
        SELECT array_agg(rid) INTO gone FROM retired;
        UPDATE record_field SET sealed = NULL, deleted_by = NEW.rid
        WHERE record_id = ANY(gone) AND sealed IS NOT NULL;
    END IF;
    -- Copies beside the record: first answers, what was handed to backends, and where an item was.
    DELETE FROM request_key WHERE at <= NEW.at - interval '6 months';
    DELETE FROM outbox WHERE rid = ANY(gone);
    IF NEW.act = 'person.erase' OR said -> 'p' -> 'fields' ?| ARRAY['locator', 'item_sha256'] THEN
        UPDATE hidden_item SET locator = 'erased:' || by_record, item_sha256 = ''
        WHERE by_record = ANY(gone) OR ended_record = ANY(gone);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER record_orders_deletion AFTER INSERT ON record FOR EACH ROW
WHEN (NEW.out = 'done' AND NEW.act IN ('field.redact', 'person.erase', 'record.retire'))
EXECUTE FUNCTION carry_out_deletion();

-- Of a record nothing but its body can go, and only by a record.retire that names its place, six months after it at least (S199).
CREATE FUNCTION refuse_all_but_retiring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body IS NULL AND OLD.body IS NOT NULL
        AND (NEW.id, NEW.rid, NEW.record_hash, NEW.tags, NEW.at, NEW.act, NEW.out)
            = (OLD.id, OLD.rid, OLD.record_hash, OLD.tags, OLD.at, OLD.act, OLD.out)
        AND EXISTS (
            SELECT FROM record o
            JOIN log_entry e ON e.record_id = OLD.id
            CROSS JOIN LATERAL (SELECT convert_from(o.body, 'UTF8')::jsonb -> 'p' AS p) s
            WHERE o.rid = NEW.retired_by AND o.act = 'record.retire' AND o.out = 'done'
                AND e.idx >= (s.p ->> 'from_index')::bigint AND e.idx < (s.p ->> 'to_index')::bigint
                AND OLD.at <= o.at - interval '6 months'
        )
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'record is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
DROP TRIGGER record_append_only ON record;
CREATE TRIGGER record_append_only BEFORE DELETE OR TRUNCATE ON record
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER record_body_only BEFORE UPDATE ON record
FOR EACH ROW EXECUTE FUNCTION refuse_all_but_retiring();

REVOKE DELETE ON record_field, subject_key FROM mandate_service;

-- migrate:down
