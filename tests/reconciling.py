"""An independent look at a whole database after a test: state and records tell one story.

It shares no code with what wrote them but the reader of records, the tags and the seals.
"""

import re
from typing import Any

from service.db.pool import Reader
from service.trail.fields import open_sealed
from service.trail.keys import TrailKeys
from service.trail.record import commitment, read_record, record_hash

#: Ids that the service makes; what tests arrange past the API bears other ids, or those of `record_named`.
MADE = r"^(?!00000000-)[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

# Every column that names a record, with the table it stands in.
NAMED = """
SELECT t.table_name || '.' || c.column_name AS place, t.table_name, c.column_name
FROM information_schema.tables t JOIN information_schema.columns c USING (table_schema, table_name)
WHERE t.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type = 'text'
    AND (c.column_name IN ('by_record', 'supersedes', 'rid') OR c.column_name LIKE '%\\_record')
    AND t.table_name <> 'record'
ORDER BY 1
"""

# What the state says of records beyond its columns, and what one row of it must say of others. Each row is a fault.
FAULTS = """
SELECT format('group %s: %s members, %s admins, owner %s; its open roles say %s, %s, %s', g.group_id, g.member_count,
        g.admin_count, g.owner_id, r.members, r.admins, r.owner)
FROM groups g CROSS JOIN LATERAL (
    SELECT count(*) AS members, count(*) FILTER (WHERE rank = 2) AS admins, max(person_id) FILTER (WHERE rank = 3) AS owner
    FROM role WHERE group_id = g.group_id AND until_at IS NULL
) r
WHERE NOT g.imported AND (g.member_count, g.admin_count) <> (r.members, r.admins) OR g.owner_id IS DISTINCT FROM r.owner
UNION ALL
SELECT format('two owners of group %s at one instant: %s and %s', a.group_id, a.person_id, b.person_id)
FROM role a JOIN role b ON a.group_id = b.group_id AND a.ctid < b.ctid AND a.rank = 3 AND b.rank = 3
WHERE tstzrange(a.from_at, a.until_at) && tstzrange(b.from_at, b.until_at)
UNION ALL
SELECT format('%s has two roles in group %s at one instant', a.person_id, a.group_id)
FROM role a JOIN role b ON a.group_id = b.group_id AND a.person_id = b.person_id AND a.ctid < b.ctid
WHERE tstzrange(a.from_at, a.until_at) && tstzrange(b.from_at, b.until_at)
UNION ALL
SELECT format('a role of %s in group %s ends before it begins, or ends by no record', person_id, group_id)
FROM role WHERE until_at < from_at OR (until_at IS NULL AND ended_record IS NOT NULL)
UNION ALL
SELECT format('staff %s holds %s twice at one instant', a.staff_id, a.standing)
FROM staff_role a JOIN staff_role b ON a.staff_id = b.staff_id AND a.standing = b.standing AND a.ctid < b.ctid
WHERE tstzrange(a.from_at, a.until_at) && tstzrange(b.from_at, b.until_at)
UNION ALL
SELECT format('two heads of content safety at one instant: %s and %s', a.staff_id, b.staff_id)
FROM staff_role a JOIN staff_role b ON a.standing = b.standing AND a.ctid < b.ctid AND a.standing = 'head_of_content_safety'
WHERE tstzrange(a.from_at, a.until_at) && tstzrange(b.from_at, b.until_at)
UNION ALL
SELECT format('for operator %s %s answers; its open interval says %s', o.operator_id, o.answerable_person, a.person_id)
FROM operator o LEFT JOIN answerable a ON a.operator_id = o.operator_id AND a.until_at IS NULL
WHERE o.answerable_person IS DISTINCT FROM a.person_id
UNION ALL
SELECT format('two people answer for operator %s at one instant: %s and %s', a.operator_id, a.person_id, b.person_id)
FROM answerable a JOIN answerable b ON a.operator_id = b.operator_id AND a.ctid < b.ctid
WHERE tstzrange(a.from_at, a.until_at) && tstzrange(b.from_at, b.until_at)
UNION ALL
SELECT format('operator %s counts %s accounts, and has %s', o.operator_id, o.account_count, a.accounts)
FROM operator o CROSS JOIN LATERAL (
    SELECT count(*) AS accounts FROM account WHERE operator_id = o.operator_id AND closed_at IS NULL AND refused_at IS NULL
) a WHERE o.account_count <> a.accounts
UNION ALL
SELECT format('approval %s is of no proposal', approval_id)
FROM approval WHERE approval_id ~ :made AND NOT EXISTS (SELECT FROM record WHERE rid = approval_id AND out = 'proposed')
UNION ALL
SELECT format('approval %s: a yes by record %s, which is none', approval_id, y ->> 'record')
FROM approval CROSS JOIN jsonb_array_elements(granted_by) y
WHERE y ->> 'record' ~ :made AND NOT EXISTS (SELECT FROM record WHERE rid = y ->> 'record' AND out = 'done')
UNION ALL
SELECT format('group %s: %s by record %s, which is none', group_id, what, named)
FROM groups CROSS JOIN LATERAL (VALUES ('offer', offer ->> 'by_record'), ('override', override ->> 'by_record')) v (what, named)
WHERE named ~ :made AND NOT EXISTS (SELECT FROM record WHERE rid = named AND out = 'done')
UNION ALL
SELECT format('account %s: override by record %s, which is none', account_id, override ->> 'by_record')
FROM account
WHERE override ->> 'by_record' ~ :made AND NOT EXISTS (SELECT FROM record WHERE rid = override ->> 'by_record' AND out = 'done')
UNION ALL
SELECT format('credit of %s %s is %s in %s entries; its ledger says %s in %s', subject_type, subject_id, c.score, c.entries,
        e.score, e.entries)
FROM credit c FULL JOIN (
    SELECT subject_type, subject_id, sum(points) AS score, count(*) AS entries FROM credit_entry GROUP BY 1, 2
) e USING (subject_type, subject_id)
WHERE (c.score, c.entries) IS DISTINCT FROM (e.score::bigint, e.entries)
UNION ALL
SELECT format('entry %s of the credit of %s %s says %s, dated %s; before it the ledger came to %s', number, subject_type,
        subject_id, score, at, folded - points)
FROM (
    SELECT *, sum(points) OVER ledger AS folded, row_number() OVER ledger AS place, lag(at) OVER ledger AS earlier
    FROM credit_entry WINDOW ledger AS (PARTITION BY subject_type, subject_id ORDER BY number)
) e
WHERE score <> folded OR number <> place OR at < earlier OR (number = 1) <> (cause = 'opened')
UNION ALL
SELECT format('the ledger of %s %s was last %s, and the identity is %s', subject_type, subject_id, cause, s.identity_status)
FROM (
    SELECT DISTINCT ON (subject_type, subject_id) * FROM credit_entry WHERE cause IN ('opened', 'suspended', 'resumed')
    ORDER BY subject_type, subject_id, number DESC
) e JOIN (
    SELECT 'person' AS subject_type, person_id AS subject_id, identity_status FROM person WHERE erased_at IS NULL
    UNION ALL SELECT 'operator', operator_id, identity_status FROM operator
) s USING (subject_type, subject_id)
WHERE by_record ~ :made AND (cause <> 'suspended') <> (s.identity_status = 'verified')
UNION ALL
SELECT format('operator %s: extra accounts by record %s, which is none', operator_id, extra_accounts ->> 'by_record')
FROM operator
WHERE extra_accounts ->> 'by_record' ~ :made
    AND NOT EXISTS (SELECT FROM record WHERE rid = extra_accounts ->> 'by_record' AND out = 'done')
UNION ALL
SELECT format('measure %s is by record %s, or has no notice %s of its own', measure_id, m.by_record, notice_id)
FROM measure m
WHERE by_record ~ :made AND (
    measure_id NOT LIKE by_record || '.%' OR (notice_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM notice n WHERE n.notice_id = m.notice_id AND n.measure_id = m.measure_id AND n.by_record = m.by_record
    ))
)
UNION ALL
SELECT format('measure %s was lifted, and %s, which came with it, was not', p.measure_id, c.measure_id)
FROM measure p JOIN measure c ON c.coupled_to = p.measure_id
WHERE p.ended_how = 'lifted' AND c.ended_at IS NULL AND (c.until IS NULL OR c.until >= p.ended_at)
UNION ALL
SELECT format('measure %s is coupled to %s on another target', c.measure_id, p.measure_id)
FROM measure c JOIN measure p ON c.coupled_to = p.measure_id
WHERE (c.target_type, c.target_id) <> (p.target_type, p.target_id)
UNION ALL
SELECT format('record %s waits for the sequencer, and is not there', p.id)
FROM pending p WHERE NOT EXISTS (SELECT FROM record WHERE id = p.id)
"""

RECORDS = """
SELECT r.id, r.rid, r.body, r.at, r.act, r.out, r.retired_by, p.record_hash, p.tags
FROM record r LEFT JOIN pending p USING (id) ORDER BY r.id
"""

LOGS = "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname = current_schema() OR nspname LIKE 'ended\\_log\\_%'"

FIELDS = """
SELECT f.record_id, f.name, f.key_type, f.key_id, f.sealed, f.deleted_by, k.wrapped
FROM record_field f LEFT JOIN subject_key k ON (k.type, k.id) = (f.key_type, f.key_id)
"""


async def faults(reader: Reader, keys: TrailKeys) -> list[str]:
    """What does not fit in this database, each as a sentence; empty where all does."""
    found = [row[0] for row in await reader.fetch(FAULTS.replace(":made", "$1"), MADE)]
    found += await _unknown_records(reader)
    bodies: dict[str, dict[str, Any]] = {}
    retired: dict[str, str] = {}
    logged, led_to = await _logged(reader)
    for row in await reader.fetch(RECORDS):
        waits = [] if row["tags"] is None else [(row["record_hash"], row["tags"])]
        said = [*waits, *logged.get(row["id"], ())]
        if len(said) != 1:
            found.append(f"record {row['rid']} waits or is logged {len(said)} times")
            continue
        [(hashed, tagged)] = said
        led = waits or all((tagged[at : at + 32], row["id"]) in led_to for at in range(0, len(tagged), 32))
        if not led:
            found.append(f"record {row['rid']} ({row['act']}): no trail of its subjects leads to it")
        if row["body"] is None:
            bodies[row["rid"]] = {"sd": {}}
            retired[row["rid"]] = row["retired_by"]
            continue
        try:
            body = read_record(row["body"])
        except ValueError as error:
            found.append(f"record {row['rid']} does not parse: {error}")
            continue
        bodies[row["rid"]] = body
        tags = [bytes.fromhex(tag) for tag in body["subj"]]
        told = {
            "hash": record_hash(row["body"]) == hashed,
            "tags": b"".join(tags) == tagged and sorted(tags) == tags,
            "id": body["id"] == row["rid"],
            "instant": body["ts_us"] == round(row["at"].timestamp() * 1_000_000),
            "act": (body["act"], body["out"]) == (row["act"], row["out"]),
            "links": all(link in bodies or not re.match(MADE, link) for link in body["links"]),
        }
        found += [
            f"record {row['rid']} ({row['act']}): {what} does not fit"
            for what, fits in told.items()
            if not fits
        ]
    found += [
        f"record {rid} lost its body to {by}, which orders no such thing"
        for rid, by in retired.items()
        if not _orders(bodies.get(by, {}), "record.retire")
    ]
    notices = {row["notice_id"] for row in await reader.fetch("SELECT notice_id FROM notice")}
    found += [
        f"record {rid} gave a notice {rid}.{one['id']}, and there is none"
        for rid, body in bodies.items()
        for one in body.get("p", {}).get("coupled", ())
        if body["out"] == "done"
        and (one.get("what") == "notice" or "notice" in one)
        and f"{rid}.{one['id']}" not in notices
    ]
    found += _unopened(await reader.fetch(FIELDS), bodies, keys)
    for row in await reader.fetch("SELECT tag, type, id FROM subject_name"):
        if keys.tag(row["type"], row["id"]) != row["tag"]:
            found.append(f"the tag of {row['type']} {row['id']} stands for somebody else")
    return found


async def _logged(reader: Reader) -> tuple[dict[int, list[tuple[bytes, bytes]]], set[tuple[bytes, int]]]:
    """What the entries of all logs say of records: hash and tags. And by tag, to which records the subjects' rows lead."""
    said: dict[int, list[tuple[bytes, bytes]]] = {}
    led_to: set[tuple[bytes, int]] = set()
    for (log,) in await reader.fetch(LOGS):
        at: dict[int, int] = {}
        for index, number, entry in await reader.fetch(
            f"SELECT * FROM {log}.log_entry WHERE record_id IS NOT NULL"
        ):
            at[index] = number
            tags = b"".join(entry[start : start + 32] for start in range(50, len(entry), 40))
            said.setdefault(number, []).append((entry[17:49], tags))
        places = [
            (row["tag"], row["places"]) for row in await reader.fetch(f"SELECT * FROM {log}.subject_leaf")
        ]
        for row in await reader.fetch(f"SELECT * FROM {log}.subject"):
            roots = int.from_bytes(row["edge"][32:40], "big").bit_count()
            places.append((row["tag"], row["edge"][40 + 32 * roots :]))
        led_to |= {
            (tag, at.get(int.from_bytes(held[start : start + 8], "big"), -1))
            for tag, held in places
            for start in range(0, len(held), 8)
        }
    return said, led_to


_queries: list[str] = []


async def _unknown_records(reader: Reader) -> list[str]:
    """Where state names a record that is not there, or one by which nothing was done."""
    if not _queries:
        _queries.append(
            " UNION ALL ".join(
                f"""SELECT format('{row["place"]} names record %s, which did nothing', t."{row["column_name"]}")
                FROM "{row["table_name"]}" t WHERE t."{row["column_name"]}" ~ $1
                AND NOT EXISTS (SELECT FROM record WHERE rid = t."{row["column_name"]}" AND out = 'done')"""
                for row in await reader.fetch(NAMED)
            )
        )
    return [row[0] for row in await reader.fetch(_queries[0], MADE)]


def _orders(body: dict[str, Any], *acts: str) -> bool:
    """Whether this is the record of a deletion: done, of one of these acts, with a legal basis."""
    return body.get("act") in acts and body["out"] == "done" and bool(body["basis"])


def _unopened(rows: list[Any], bodies: dict[str, dict[str, Any]], keys: TrailKeys) -> list[str]:
    """Sealed values that do not open to what their record committed to."""
    found: list[str] = []
    for row in rows:
        what = f"field {row['name']} of record {row['record_id']}"
        if row["deleted_by"] is not None:
            orders = ("field.redact", "person.erase", "record.retire")
            if row["sealed"] is not None or not _orders(bodies.get(row["deleted_by"], {}), *orders):
                found.append(f"{what}: {row['deleted_by']} orders no deletion")
            continue
        committed = bodies.get(row["record_id"], {}).get("sd", {}).get(row["name"])
        if committed is None:
            found.append(f"{what}: the record knows nothing of it")
            continue
        if row["wrapped"] is None:
            found.append(f"{what}: its key is gone")
            continue
        tag = keys.tag(row["key_type"], row["key_id"])
        key = keys.keyring.unwrap(row["wrapped"], purpose="record.field", tag=tag)
        salt, value = open_sealed(key, record_id=row["record_id"], name=row["name"], sealed=row["sealed"])
        if commitment(salt, row["name"], value).hex() != committed:
            found.append(f"{what} is not what was committed to")
    return found
