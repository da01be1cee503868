"""Records read back: who they speak of, by id where that is known, and their personal fields opened where still there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from service.action import Subject
from service.clock import to_us
from service.db import Db, queries
from service.trail.append import prefix
from service.trail.fields import SealError, open_sealed
from service.trail.keys import TrailKeys

sql = queries(__file__)
_FIELD_PURPOSE = "record.field"
_TAG_BYTES = 32
SCANNED = 20_000
"""So many records of a subject are looked through for one page; a filter that fits few gives short pages, with a next."""


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
    """One record: its place in the log of this house, its decoded body, and its subjects in the order of `subj`.

    A subject is None where nobody has told its tag. `retired_by`: the record that deleted the body after its term; what the
    database still knows of it then stands for the body.
    """

    place: int
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


class Page(NamedTuple):
    """Some records of a subject, oldest first, and after which place to go on; None at the end."""

    records: list[Found]
    after: int | None


async def page(
    db: Db, keys: TrailKeys, subject: Subject, wanted: Filter, *, after: int, before: int, limit: int
) -> Page:
    """Read the records of `subject` with places above `after` and below `before`, at most `limit`."""
    tag = keys.tag(subject.type, subject.id)
    async with db.read(snapshot=True) as reader:
        rows = await sql.trail_page(
            reader,
            prefix=prefix(tag),
            tag=tag,
            after=after,
            before=before,
            scan=SCANNED,
            limit=limit + 1,
            actor=None if wanted.actor is None else keys.tag(wanted.actor.type, wanted.actor.id).hex(),
            act=wanted.act,
            outcome=wanted.outcome,
            reason=wanted.reason,
            rule=wanted.rule,
            from_at=wanted.from_at,
            to_at=wanted.to_at,
        )
        scanned, last = rows[0]["scanned"], rows[0]["last"]
        found = await _with_subjects(reader, [row for row in rows if row["id"] is not None])
    if len(found) > limit:
        return Page(found[:limit], found[limit - 1].place)
    return Page(found, last if scanned == SCANNED else None)


async def find(db: Db, record_ids: Sequence[str]) -> list[Found]:
    """The records with these ids, in the order in which they were made; unknown ids are left out."""
    async with db.read() as reader:
        return await _with_subjects(reader, await sql.records_by_id(reader, rids=list(record_ids)))


async def place_of(db: Db, record_id: str) -> int | None:
    """The place of a record in the log of this house."""
    async with db.read() as reader:
        return await sql.record_place(reader, rid=record_id)


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
            key = keys.keyring.unwrap(row["wrapped"], purpose=_FIELD_PURPOSE, tag=tag)
            _, value = open_sealed(key, record_id=row["record_id"], name=row["name"], sealed=row["sealed"])
        except SealError:
            continue
        fields.setdefault(row["record_id"], {})[row["name"]] = value
    return fields


async def _with_subjects(reader: Any, rows: Sequence[Any]) -> list[Found]:
    """Decode the bodies and tell whom their tags stand for."""
    split = [
        [row["tags"][start : start + _TAG_BYTES] for start in range(0, len(row["tags"]), _TAG_BYTES)]
        for row in rows
    ]
    tags = list({tag for of_record in split for tag in of_record})
    known = (
        {row["tag"]: Subject(row["type"], row["id"]) for row in await sql.names_of(reader, tags=tags)}
        if tags
        else {}
    )
    return [
        Found(row["id"], _body(row, of_record), [known.get(tag) for tag in of_record], row["retired_by"])
        for row, of_record in zip(rows, split, strict=True)
    ]


def _body(row: Any, tags: Sequence[bytes]) -> dict[str, Any]:
    """The decoded body; of a retired one what is left: when and what, and whom it concerned."""
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
        "subj": [tag.hex() for tag in tags],
        "ts_us": to_us(row["at"]),
        "why": None,
    }
