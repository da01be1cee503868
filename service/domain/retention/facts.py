"""What a deletion must know: open holds, what it would delete, how old that is. Looked at, never written.

All of it is looked at behind one gate: a hold that is being set waits for a deletion under way, and the other way round.
Cases, appeals and orders that are open stop a deletion like a hold; they join here, in facts.sql (S200, S201).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec

from service import rows
from service.clock import instant_text, later
from service.db import queries
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.action import Situation

sql = queries(__file__)
LegalBasis = Annotated[
    list[Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/#()-]{0,127}$")]],
    msgspec.Meta(
        max_length=8, description="Codes of the law it rests on, the weightiest first: `pipl:art.47`."
    ),
]


@subject
class LegalHold(Row, frozen=True, kw_only=True):
    """While it is open nothing about its subject is deleted (S202). `hold_id` is the id of the record that set it."""

    table = "legal_hold"
    key = ("hold_id",)

    hold_id: str
    subject_type: str
    subject_id: str
    set_by: str
    reason: str
    jurisdiction: str
    from_at: dt.datetime
    ended_at: dt.datetime | None = None
    ended_record: str | None = None
    version: int = 1


class Gated(rows.Gated, frozen=True, kw_only=True):
    """One at a time: who sets a hold, and who deletes."""

    gate = "retention"


class Gate(Gated, frozen=True, kw_only=True):
    """Nothing but the gate: for who sets a hold."""

    table = "legal_hold"
    key = ()

    @classmethod
    async def found(cls, db: Any, keys: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], Self]:
        del db, keys
        return {}


class Erasable(Gated, frozen=True, kw_only=True):
    """What the erasure of a person would delete.

    `holds`: holds on the person or on anything that a record with such a value concerns. `waiting`: proposed acts that name
    the person and are still open. `newest_at`: of the records whose values would go.
    """

    table = "record_field"
    key = ("person_id",)

    person_id: str
    values: int
    newest_at: dt.datetime | None
    holds: list[str]
    waiting: list[str]
    operators: list[str]

    @classmethod
    async def found(cls, db: Any, keys: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], Self]:
        rows = await sql.erasable(db, people=[key[0] for key in keys])
        return {(row["person_id"],): cls(**row) for row in rows}


class Redactable(Gated, frozen=True, kw_only=True):
    """A record and those of its personal values that are still there. `subjects`: type and id of all it concerns."""

    table = "record"
    key = ("record_id",)

    record_id: str
    at: dt.datetime
    target: int | None
    subjects: list[list[str]]
    fields: list[str]
    holds: list[str]

    @classmethod
    async def found(cls, db: Any, keys: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], Self]:
        rows = await sql.redactable(db, rids=[key[0] for key in keys])
        return {(row["record_id"],): cls(**row) for row in rows}


class Retirable(Gated, frozen=True, kw_only=True):
    """The entries from one place of the log to another: how many bodies are there, and how old the newest is.

    `notice` and `months`: the entry in which the log announced last how long bodies are kept, and what it said.
    """

    table = "log_entry"
    key = ("start", "end")

    start: str
    end: str
    size: int
    bodies: int
    newest_at: dt.datetime | None
    holds: list[str]
    notice: int | None
    months: int | None

    @classmethod
    async def found(cls, db: Any, keys: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], Self]:
        looked: dict[tuple[str, ...], Self] = {}
        for start, end in keys:
            row = await sql.retirable(db, start=int(start), end=int(end))
            looked[start, end] = cls(start=start, end=end, **row)
        return looked


def refuse_held(holds: Sequence[str]) -> None:
    """Refuse `legal_hold` (data: by which)."""
    if holds:
        raise Refusal(Code.LEGAL_HOLD, holds=sorted(holds)[:20])


def refuse_running(here: Situation, newest_at: dt.datetime | None, months: int) -> None:
    """Refuse `retention_runs` (data: until when) where the newest is younger than so many calendar months (S199)."""
    if newest_at is not None and here.at < (until := later(newest_at, months)):
        raise Refusal(Code.RETENTION_RUNS, until=instant_text(until))


def require_basis(legal_basis: Sequence[str]) -> None:
    """Refuse `basis_missing`, `malformed` (one twice)."""
    if not legal_basis:
        raise Refusal(Code.BASIS_MISSING, pointer="/legal_basis")
    if len(set(legal_basis)) < len(legal_basis):
        raise Refusal(Code.MALFORMED, pointer="/legal_basis", why="one code twice")
