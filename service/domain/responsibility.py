"""Who answers for a group, an account or an operator at one instant (S057, S211, S214): the chain, link by link."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from service.clock import InstantText, instant_text
from service.db import queries

sql = queries(__file__)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A post or office held by somebody for a time; `record_id` is the record that gave it, `until` null: still held."""

    type: str
    id: str
    held_from: InstantText
    until: InstantText | None
    record_id: str
    ended_record_id: str | None = None


class AdminLink(Held, frozen=True, kw_only=True):
    """An admin: by whose hand, and under which owners he has served until the instant asked for (S057)."""

    granted_by: str | None
    served_under: list[Held]


class OperatorLink(msgspec.Struct, frozen=True, kw_only=True):
    """The operator of an account, or its MCN: from when to when and by which records it has it; and who answered for it then.

    Of an operator asked about itself: since it was registered. `answerable_person` is the id of `answerable`.
    """

    operator_id: str
    kind: str
    answerable_person: str
    answerable: Held
    held_from: InstantText
    until: InstantText | None = None
    record_id: str
    ended_record_id: str | None = None
    exited_at: InstantText | None


class MeasureLink(msgspec.Struct, frozen=True, kw_only=True):
    """A measure in force at the instant: its code and ends, by which record, and whether somebody was given reasons."""

    measure_id: str
    code: str
    scope: str | None
    imposed_as: str
    from_at: InstantText
    until: InstantText | None
    record_id: str
    notice_id: str | None


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """Platform, then operator and MCN, or owner, then admins, as they were at `at`, and what was in force then.

    `code`: a group's public code (G5).
    """

    type: str
    id: str
    at: InstantText
    registered_at: InstantText
    code: str | None = None
    ended_at: InstantText | None = None
    platform: Held | None
    operator: OperatorLink | None = None
    mcn: OperatorLink | None = None
    owner: Held | None = None
    admins: list[AdminLink] = []
    measures: list[MeasureLink] = []


async def chain(db: Any, kind: str, subject_id: str, at: dt.datetime) -> Chain | None:
    """Return the chain at `at`; None where there is none: the subject was not registered yet, or has no chain."""
    if kind == "group":
        return await _of_group(db, subject_id, at)
    if kind in {"account", "operator"}:
        return await _of_operator(db, kind, subject_id, at)
    return None


async def _platform(db: Any, at: dt.datetime) -> Held | None:
    row = await sql.head_at(db, at=at)
    return None if row is None else _held("staff", row)


async def _of_group(db: Any, group_id: str, at: dt.datetime) -> Chain | None:
    group = await sql.group_since(db, group_id=group_id, at=at)
    if group is None:
        return None
    roles = await sql.offices_until(db, group_id=group_id, at=at)
    owners = [row for row in roles if row["rank"] == 3]
    held = [row for row in roles if row["until_at"] is None or row["until_at"] > at]
    return Chain(
        type="group",
        id=group_id,
        at=instant_text(at),
        registered_at=instant_text(group["created_at"]),
        code=group["code"],
        ended_at=_text(group["dissolved_at"]),
        platform=await _platform(db, at),
        owner=next((_held("person", row) for row in held if row["rank"] == 3), None),
        admins=[_admin(row, owners) for row in held if row["rank"] == 2],
    )


def _admin(row: Any, owners: list[Any]) -> AdminLink:
    return AdminLink(
        type="person",
        id=row["holder"],
        held_from=instant_text(row["from_at"]),
        until=_text(row["until_at"]),
        record_id=row["by_record"],
        ended_record_id=row["ended_record"],
        granted_by=row["granted_by"],
        served_under=[
            _held("person", one)
            for one in owners
            if one["until_at"] is None or one["until_at"] > row["from_at"]
        ],
    )


async def _of_operator(db: Any, kind: str, subject_id: str, at: dt.datetime) -> Chain | None:
    account = kind == "account"
    held = await (sql.account_since if account else sql.operator_since)(db, id=subject_id, at=at)
    if held is None:
        return None
    contract = await sql.contract_at(db, id=subject_id, at=at) if account else None
    return Chain(
        type=kind,
        id=subject_id,
        at=instant_text(at),
        registered_at=instant_text(held["created_at"]),
        ended_at=_text(held["ended_at"]),
        platform=await _platform(db, at),
        operator=await _operator(db, held, at),
        mcn=None if contract is None else await _operator(db, contract, at),
        measures=[_measure(one) for one in await sql.measures_at(db, type=kind, id=subject_id, at=at)],
    )


async def _operator(db: Any, held: Any, at: dt.datetime) -> OperatorLink:
    """The operator of an account, its MCN, or the operator itself, with who answered for it at the instant."""
    answering = await sql.answering_at(db, operator_id=held["operator_id"], at=at)
    return OperatorLink(
        operator_id=held["operator_id"],
        kind=answering["kind"],
        answerable_person=answering["holder"],
        answerable=_held("person", answering),
        held_from=instant_text(held["from_at"]),
        until=_text(held["until_at"]),
        record_id=held["by_record"],
        ended_record_id=held["ended_record"],
        exited_at=_text(answering["exited_at"]),
    )


def _measure(row: Any) -> MeasureLink:
    return MeasureLink(
        measure_id=row["measure_id"],
        code=row["code"],
        scope=row["scope"],
        imposed_as=row["imposed_as"],
        from_at=instant_text(row["from_at"]),
        until=_text(row["until"]),
        record_id=row["by_record"],
        notice_id=row["notice_id"],
    )


def _held(kind: str, row: Any) -> Held:
    return Held(
        type=kind,
        id=row["holder"],
        held_from=instant_text(row["from_at"]),
        until=_text(row["until_at"]),
        record_id=row["by_record"],
        ended_record_id=row["ended_record"],
    )


def _text(at: dt.datetime | None) -> str | None:
    return None if at is None else instant_text(at)
