"""Records read back: who they speak of, by id where that is known, and their personal fields opened where still there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from service.action import Subject
from service.clock import to_us
from service.db import Db, Reader, queries
from service.trail import ended
from service.trail.entry import RecordEntry, decode
from service.trail.fields import FIELD_PURPOSE, SealError, open_sealed
from service.trail.kept import Damaged, undamaged
from service.trail.keys import TrailKeys
from service.trail.note import LARGEST_SIZE

sql = queries(__file__)
SCANNED = 20_000
"""So many records of a subject are looked through for one page; a filter that fits few gives short pages, with a next."""
_WIDER = 8
"""So many times more are looked through where the first ones did not fill the page."""


class Filter(NamedTuple):
    """Which records of a subject are wanted; None: any."""

    actor: Subject | None = None
    act: str | None = None
    outcome: str | None = None
    reason: str | None = None
    rule: str | None = None
    from_at: dt.datetime | None = None
    to_at: dt.datetime | None = None


class Found(NamedTuple):
    """One record: its decoded body, and its subjects in the order of `subj`.

    A subject is None where nobody has told its tag. `retired_by`: the record that deleted the body after its term; what the
    database still knows of it then stands for the body.
    """

    body: dict[str, Any]
    subjects: list[Subject | None]
    retired_by: str | None = None

    @property
    def record_id(self) -> str:
        """The record's public id."""
        return str(self.body["id"])

    def who(self) -> dict[str, Subject | None]:
        """The subjects by their roles in the act (`target`, `person`)."""
        return {role: self.subjects[place] for role, place in self.body["p"].get("who", {}).items()}

    def actor(self) -> Subject | None:
        """Who acted; None for machines."""
        tag = self.body["by"]["tag"]
        return None if tag is None else self.subjects[self.body["subj"].index(tag)]


class Place(NamedTuple):
    """Where a page begins: in which log (from 0, the oldest that was ended; the one that stands comes last), at which number of
    the subject's records in it, and the newest record of the pages before that still waited for the log.
    """

    log: int = 0
    number: int = 0
    waited: int = 0


class Page(NamedTuple):
    """Some records of a subject, oldest first, and where to go on; None at the end."""

    records: list[Found]
    after: Place | None


async def page(
    db: Db, keys: TrailKeys, subject: Subject, wanted: Filter, *, after: Place, read: str, limit: int
) -> Page:
    """Read the records of `subject` from a place on up to the record `read`, at most `limit`: in the order of the log, then
    those that wait for it, in theirs.

    What waited and was shown is passed over where it stands in the log by now. So an act that was committed late, while a page
    with younger ones that wait was read, may be missing from that reading; the next one has it. Raises Damaged.
    """
    tag = keys.tag(subject.type, subject.id)
    asked = {
        "actor": None if wanted.actor is None else keys.tag(wanted.actor.type, wanted.actor.id).hex(),
        "act": wanted.act,
        "outcome": wanted.outcome,
        "reason": wanted.reason,
        "rule": wanted.rule,
        "from_at": wanted.from_at,
        "to_at": wanted.to_at,
    }
    async with db.read(snapshot=True) as reader:
        logs = await ended.logs(reader)
        # Anyone can make a cursor.
        at = Place(min(after.log, len(logs) - 1), min(after.number, LARGEST_SIZE), after.waited)
        rows: list[tuple[Place, Any]] = []
        scan, left = limit + 1, SCANNED
        going = True
        while going and left and len(rows) <= limit:
            living = at.log == len(logs) - 1
            if len(logs) > 1:
                await ended.look_in(reader, logs[at.log])
            scan = min(scan, left)
            part = await sql.trail_page(
                reader,
                tag=tag,
                first=at.number,
                scan=scan,
                read=read,
                living=living,
                waited=at.waited,
                limit=limit + 1 - len(rows),
                **asked,
            )
            scanned, met = part[0]["scanned"], part[0]["met"]
            for row in part:
                if row["seq"] is not None:
                    rows.append((at._replace(number=row["seq"] + 1), row))
                elif row["id"] is not None:
                    rows.append((Place(at.log, at.number + scanned, row["id"]), row))
            left -= scanned
            if scanned == scan and not met:
                at, scan = at._replace(number=at.number + scanned), scan * _WIDER
            elif met or living:
                going = False
            else:
                at = Place(at.log + 1, 0, at.waited)
        found = await _with_subjects(reader, logs, [row for _, row in rows[:limit]], tag)
    if len(rows) > limit:
        return Page(found, rows[limit - 1][0])
    return Page(found, at if going else None)


async def find(db: Db, record_ids: Sequence[str]) -> list[Found]:
    """The records with these ids, in the order in which they were made; unknown ids are left out. Raises Damaged."""
    async with db.read(snapshot=True) as reader:
        rows = await sql.records_by_id(reader, rids=list(record_ids))
        retired = any(row["body"] is None for row in rows)
        return await _with_subjects(reader, await ended.logs(reader) if retired else (), rows)


async def body_of(db: Db, record_id: str) -> bytes | None:
    """The bytes of a record that were hashed, None if they were retired; the record must exist."""
    async with db.read() as reader:
        [row] = await sql.records_by_id(reader, rids=[record_id])
    return row["body"]


async def opened(db: Db, keys: TrailKeys, records: Iterable[Found]) -> dict[str, dict[str, Any]]:
    """The personal fields of these records by record id and name. What was redacted or erased is absent."""
    rids = [one.record_id for one in records if one.body["sd"]]
    if not rids:
        return {}
    async with db.read() as reader:
        rows = await sql.sealed_fields(reader, rids=rids)
    fields: dict[str, dict[str, Any]] = {}
    for row in rows:
        tag = keys.tag(row["key_type"], row["key_id"])
        try:
            key = keys.keyring.unwrap(row["wrapped"], purpose=FIELD_PURPOSE, tag=tag)
            _, value = open_sealed(key, record_id=row["record_id"], name=row["name"], sealed=row["sealed"])
        except SealError:
            continue
        fields.setdefault(row["record_id"], {})[row["name"]] = value
    return fields


async def _with_subjects(
    reader: Reader, logs: Sequence[str], rows: Sequence[Any], whose: bytes | None = None
) -> list[Found]:
    """Decode the bodies and tell whom their tags stand for; all must be records of `whose`. Raises Damaged."""
    for row in rows:
        if row["rid"] is None:
            raise Damaged(_missing(row, whose or b""))
    entries = await _tags_in(reader, logs, [row["id"] for row in rows if row["body"] is None])
    bodies: list[tuple[dict[str, Any], list[bytes]]] = []
    for row in rows:
        with undamaged(f"record {row['rid']}"):
            body = _body(row, entries)
            bodies.append((body, [bytes.fromhex(tag) for tag in body["subj"]]))
        if whose is not None and whose not in bodies[-1][1]:
            raise Damaged(f"record {row['rid']}, which is not of the subject {whose.hex()}")
    tags = list({tag for _, of_record in bodies for tag in of_record})
    known = (
        {row["tag"]: Subject(row["type"], row["id"]) for row in await sql.names_of(reader, tags=tags)}
        if tags
        else {}
    )
    return [
        Found(body, [known.get(tag) for tag in of_record], row["retired_by"])
        for row, (body, of_record) in zip(rows, bodies, strict=True)
    ]


def _missing(row: Any, whose: bytes) -> str:
    """Which row is missing where the trail of a subject leads to no record."""
    if row["seq"] is None:
        return f"record {row['id']}, which waits for its entry"
    if row["idx"] is None:
        return f"subject or subject_leaf: the place of record {row['seq']} of the subject {whose.hex()}"
    return f"log_entry {row['idx']}" if row["id"] is None else f"record of log_entry {row['idx']}"


async def _tags_in(reader: Reader, logs: Sequence[str], retired: Sequence[int]) -> dict[int, Sequence[bytes]]:
    """The tags that entries have of records whose bodies are gone, in whichever log they stand."""
    found: dict[int, Sequence[bytes]] = {}
    for log in logs if retired else ():
        if len(logs) > 1:
            await ended.look_in(reader, log)
        for row in await sql.entries_of(reader, ids=retired):
            with undamaged(f"the entry of record {row['record_id']}"):
                entry = decode(row["entry"])
                if isinstance(entry, RecordEntry):
                    found[row["record_id"]] = entry.tags
    return found


def _body(row: Any, entries: Mapping[int, Sequence[bytes]]) -> dict[str, Any]:
    """The decoded body; of a retired one what is left: when and what, and whom it concerned, as its entry says."""
    if row["body"] is not None:
        return msgspec.json.decode(row["body"])
    return {
        "act": row["act"],
        "basis": [],
        "by": {"kind": "retired", "standing": None, "tag": None},
        "id": row["rid"],
        "links": [row["retired_by"]],
        "out": row["out"],
        "p": {},
        "policy": "",
        "rule": None,
        "sd": {},
        "subj": [tag.hex() for tag in entries[row["id"]]],
        "ts_us": to_us(row["at"]),
        "why": None,
    }
