"""Append a set of records: bytes, tags, sealed personal values and what leaves with them, in one statement.

Only the door calls this, as the last write of its transaction. If we crash before COMMIT, neither act nor record exists.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from service.action import Effect, Subject
from service.clock import to_us
from service.db import Tx, queries
from service.rows import Row
from service.trail import record
from service.trail.fields import FIELD_PURPOSE, seal
from service.trail.keys import TrailKeys
from service.trail.writing import Written, sorted_tags, write_record

sql = queries(__file__)
#: Roles that `p.who` leaves out: the actor stands in `by`, and a territory is nobody's role.
_UNNAMED = frozenset({"actor", "jurisdiction"})


class Entry(msgspec.Struct, kw_only=True):
    """One record to be: the parts of format section 4 with plain subjects, and the first answer to be kept with it.

    `subjects`: by role; who acted is the `actor`. `told`: the subjects whose tags may not have been told yet (`subject_name`).
    """

    record_id: str
    act: str
    out: str
    by_kind: str
    by_standing: str | None
    rule: str | None
    why: str | None
    basis: Sequence[str]
    p: dict[str, Any]
    subjects: dict[str, Subject]
    personal: dict[str, Any]
    sealed_for: Subject
    links: Sequence[str]
    effects: Sequence[Effect]
    told: Sequence[Subject]
    request: Request | None
    status: int
    answer: bytes


class FirstAnswer(Row, frozen=True, kw_only=True):
    """What was answered when a request key was used first (S010); `asked`: the hash of what was asked then."""

    table = "(SELECT key AS request_key, asked, status, answer FROM request_key)"
    key = ("request_key",)

    request_key: bytes
    asked: bytes
    status: int
    answer: bytes


class Request(msgspec.Struct, frozen=True):
    """An idempotent request: hash of caller and key, hash of what was asked, hash of the key alone for the record."""

    key: bytes
    asked: bytes
    req: bytes


def tag_of(keys: TrailKeys, subject: Subject) -> bytes:
    """The 32-byte tag of a subject: how records name it without its id."""
    return keys.tag(subject.type, subject.id)


def write(
    entry: Entry, keys: TrailKeys, *, at: dt.datetime, edition: str, commitments: dict[str, bytes]
) -> Written:
    """Make the record's bytes. `p.who` says which place in `subj` each role has."""
    tags = {role: keys.tag(subject.type, subject.id) for role, subject in entry.subjects.items()}
    subjects = sorted_tags(tags.values())
    entry.p["who"] = {role: subjects.index(tag) for role, tag in tags.items() if role not in _UNNAMED}
    return write_record(
        id=entry.record_id,
        ts_us=to_us(at),
        act=entry.act,
        out=entry.out,
        by_kind=entry.by_kind,
        by_standing=entry.by_standing,
        by_tag=tags.get("actor"),
        rule=entry.rule,
        policy=edition,
        why=entry.why,
        basis=entry.basis,
        p=entry.p,
        sd=commitments,
        tags=subjects,
        links=entry.links,
        req=None if entry.request is None else entry.request.req,
    )


async def append(
    tx: Tx,
    entries: Sequence[Entry],
    keys: TrailKeys,
    *,
    at: dt.datetime,
    edition: str,
    writes: Mapping[type[Row], Sequence[Row]],
) -> list[Written]:
    """Append the records in the order given, with what waits to be logged, first answers, effects and sealed fields.

    `writes` are the rows that the acts change, written by the same statement: no two of its parts may touch one table.
    """
    commitments = await _seal_fields(tx, entries, keys)
    written = [
        write(entry, keys, at=at, edition=edition, commitments=commitments.get(entry.record_id, {}))
        for entry in entries
    ]
    asked = [entry for entry in entries if entry.request is not None]
    effects = [(entry.record_id, effect) for entry in entries for effect in entry.effects]
    # In order of their tags, so that two processes that tell the same subjects do not wait for each other.
    told = sorted({(tag_of(keys, subject), subject) for entry in entries for subject in entry.told})
    record_set = sql.all["record_set"]
    told_of = record_set.values(
        (),
        {
            "at": at,
            "rids": [entry.record_id for entry in entries],
            "hashes": [one.hash for one in written],
            "bodies": [one.body for one in written],
            "tags": [b"".join(one.tags) for one in written],
            "acts": [entry.act for entry in entries],
            "outs": [entry.out for entry in entries],
            "keys": [entry.request.key for entry in asked if entry.request],
            "asked": [entry.request.asked for entry in asked if entry.request],
            "statuses": [entry.status for entry in asked],
            "answers": [entry.answer for entry in asked],
            "effect_rids": [rid for rid, _ in effects],
            "effect_kinds": [effect.kind for _, effect in effects],
            "effect_payloads": [msgspec.json.encode(effect.payload).decode() for _, effect in effects],
            "told_tags": [tag for tag, _ in told],
            "told_types": [subject.type for _, subject in told],
            "told_ids": [subject.id for _, subject in told],
        },
    )
    changes = [column for kind, rows in writes.items() for column in kind.applied(rows)]
    await tx.execute(_with_changes(tuple(writes)), *told_of, *changes)
    return written


@cache
def _with_changes(kinds: tuple[type[Row], ...]) -> str:
    """The statement `record_set` that also writes rows of these kinds, whose values follow its own."""
    record_set = sql.all["record_set"]
    number = len(record_set.parameters) + 1
    parts: list[str] = []
    for place, kind in enumerate(kinds):
        parts.append(f"change{place} AS ({kind.applying(number)})")
        number += len(kind.__struct_fields__)
    head, _, rest = record_set.sql.partition("WITH ")
    return f"{head}WITH {', '.join((*parts, rest))}"


async def bodies(tx: Tx, record_ids: Sequence[str]) -> dict[str, bytes]:
    """The bytes of records by id; none for those that are retired."""
    return {row["rid"]: row["body"] for row in await sql.bodies(tx, rids=list(record_ids)) if row["body"]}


async def _seal_fields(tx: Tx, entries: Sequence[Entry], keys: TrailKeys) -> dict[str, dict[str, bytes]]:
    """Seal every personal value under its data subject's key; return the commitments by record."""
    sealing = [entry for entry in entries if entry.personal]
    if not sealing:
        return {}
    subject_keys = await _subject_keys(tx, {entry.sealed_for for entry in sealing}, keys)
    commitments: dict[str, dict[str, bytes]] = {}
    rows: list[tuple[str, str, str, str, bytes]] = []
    for entry in sealing:
        key = subject_keys[entry.sealed_for]
        for name, value in entry.personal.items():
            salt = os.urandom(32)
            commitments.setdefault(entry.record_id, {})[name] = record.commitment(salt, name, value)
            value_json = record.canonical(value)
            sealed = seal(key, record_id=entry.record_id, name=name, salt=salt, value_json=value_json)
            rows.append((entry.record_id, name, entry.sealed_for.type, entry.sealed_for.id, sealed))
    rids, names, types, ids, values = (list(column) for column in zip(*rows, strict=True))
    await sql.record_fields(tx, rids=rids, names=names, types=types, ids=ids, sealed=values)
    return commitments


async def _subject_keys(tx: Tx, subjects: set[Subject], keys: TrailKeys) -> dict[Subject, bytes]:
    """Return the data subjects' keys, making those that are missing."""
    order = sorted(subjects)
    found = await _read_keys(tx, order)
    missing = [subject for subject in order if subject not in found]
    if missing:
        fresh = [
            keys.keyring.new_person_key(purpose=FIELD_PURPOSE, tag=tag_of(keys, one))[1] for one in missing
        ]
        await sql.keep_subject_keys(
            tx, types=[one.type for one in missing], ids=[one.id for one in missing], wrapped=fresh
        )
        found |= await _read_keys(tx, missing)
    return {
        subject: keys.keyring.unwrap(wrapped, purpose=FIELD_PURPOSE, tag=tag_of(keys, subject))
        for subject, wrapped in found.items()
    }


async def _read_keys(tx: Tx, subjects: Sequence[Subject]) -> dict[Subject, bytes]:
    rows = await sql.subject_keys(tx, types=[one.type for one in subjects], ids=[one.id for one in subjects])
    return {Subject(row["type"], row["id"]): row["wrapped"] for row in rows}
