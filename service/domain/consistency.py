"""Whether like is treated alike: subjects whose facts weigh the same and whose tier is another, and who overrode what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from service.clock import InstantText, instant_text
from service.db import queries
from service.db.pool import Reader
from service.domain import forecast, tiers
from service.domain.tiers import Kind

if TYPE_CHECKING:
    from service.policy import Policy

sql = queries(__file__)


class Odd(msgspec.Struct, frozen=True, kw_only=True):
    """A subject whose tier is not the one its facts give under the edition in force, and why.

    `why`: `override` (a hand set it), `waits` (a lower result has not held long enough), `edition` (ranked under another
    one), `unranked` (never computed), `unknown` (nothing explains it: see `mandate tiers recompute`).
    `record` ranked it last, `override_record` set what stands over it.
    """

    id: str
    klass: str = msgspec.field(name="class")
    jurisdiction: str
    tier: int | None
    computed: int
    why: str
    edition: str | None
    record: str | None
    override_record: str | None


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """So many subjects of one profile that hold one tier, where their facts give another, for one reason."""

    profile: str
    klass: str = msgspec.field(name="class")
    tier: int | None
    computed: int
    why: str
    count: int
    peers: int
    samples: list[str]


class Overridden(msgspec.Struct, frozen=True, kw_only=True):
    """One override of a tier that somebody proposed: who, of what, in which direction, with every record of it.

    `direction`: up, down, same, first (there was no tier before), or retired where the record's body is no more.
    """

    approval_id: str
    kind: Kind
    id: str
    staff_id: str
    klass: str = msgspec.field(name="class")
    direction: str
    before: int | None
    tier: int | None
    until: InstantText | None
    state: str
    at: InstantText
    records: list[str]


class OverrideCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often a member of staff proposed overrides of a class in one direction, and what came of them."""

    staff_id: str
    kind: Kind
    klass: str = msgspec.field(name="class")
    direction: str
    count: int
    granted: int
    records: list[str]


async def deviations(db: Reader, policy: Policy, kind: Kind, *, at: dt.datetime) -> list[Deviation]:
    """Where subjects of one profile hold another tier than their facts give: counted, the most numerous first.

    `peers`: subjects of the same profile in all.
    """
    found: list[tuple[str, str, int | None, int, str, int, list[str]]] = []
    peers: dict[str, int] = {}
    async for seen, row in forecast.profiles(db, policy, policy, kind, at=at):
        peers[row["profile"]] = peers.get(row["profile"], 0) + seen.number
        computed = tiers.compute(policy, kind, seen.facts).tier
        if seen.tier == computed:
            continue
        why = _why(override=seen.override, waits=row["waits"], edition=row["edition"], now=policy.edition)
        klass = str(seen.facts["class" if kind == "account" else "nature"])
        found.append((row["profile"], klass, seen.tier, computed, why, seen.number, list(seen.ids)))
    merged: dict[tuple[str, str, int | None, int, str], list[Any]] = {}
    for profile, klass, tier, computed, why, count, ids in found:
        held = merged.setdefault((profile, klass, tier, computed, why), [0, []])
        held[0] += count
        held[1] += ids
    return [
        Deviation(
            profile=profile,
            klass=klass,
            tier=tier,
            computed=computed,
            why=why,
            count=count,
            peers=peers[profile],
            samples=samples[: forecast.SAMPLES],
        )
        for (profile, klass, tier, computed, why), (count, samples) in sorted(
            merged.items(), key=lambda item: (-item[1][0], item[0][0])
        )
    ]


async def odd_ones(
    db: Reader, policy: Policy, kind: Kind, *, at: dt.datetime, after: str, most: int
) -> list[Odd]:
    """The subjects themselves, by id after `after`: each with the records that made its tier what it is."""
    found = await deviations(db, policy, kind, at=at)
    places = sorted({one.profile if one.tier is None else f"{one.profile}|{one.tier}" for one in found})
    if not places:
        return []
    statement = forecast.sql.accounts_of_profiles if kind == "account" else forecast.sql.groups_of_profiles
    rows = await statement(db, places=places, after=after, most=most, **forecast.bounds(kind, policy, policy))
    return [_odd(policy, kind, row, at) for row in rows]


async def overrides(db: Reader, *, kind: Kind | None, after: str, most: int) -> list[Overridden]:
    """Every override of a tier that was proposed, in the order of their proposals."""
    rows = await sql.overrides(db, kind=kind, after=after, most=most)
    return [_overridden(row) for row in rows]


def counted(listed: list[Overridden]) -> list[OverrideCount]:
    """The same by member of staff, kind, class and direction."""
    groups: dict[tuple[str, Kind, str, str], list[Overridden]] = {}
    for one in listed:
        groups.setdefault((one.staff_id, one.kind, one.klass, one.direction), []).append(one)
    return [
        OverrideCount(
            staff_id=staff_id,
            kind=kind,
            klass=klass,
            direction=direction,
            count=len(held),
            granted=sum(one.state == "granted" for one in held),
            records=[one.approval_id for one in held],
        )
        for (staff_id, kind, klass, direction), held in sorted(groups.items())
    ]


def _why(*, override: int | None, waits: int | None, edition: str | None, now: str) -> str:
    if override is not None:
        return "override"
    if waits is not None:
        return "waits"
    if edition is None:
        return "unranked"
    return "edition" if edition != now else "unknown"


def _odd(policy: Policy, kind: Kind, row: Mapping[str, Any], at: dt.datetime) -> Odd:
    basis = msgspec.convert(row["tier_basis"], tiers.Basis) if row["tier_basis"] else None
    waits = None if basis is None or basis.waiting is None else basis.waiting.tier
    return Odd(
        id=row["id"],
        klass=row["klass"],
        jurisdiction=row["jurisdiction"],
        tier=row["tier"],
        computed=tiers.compute(policy, kind, forecast.seen_of(policy, kind, row, at=at).facts).tier,
        why=_why(
            override=row["override_tier"],
            waits=waits,
            edition=None if basis is None else basis.edition,
            now=policy.edition,
        ),
        edition=None if basis is None else basis.edition,
        record=None if basis is None or basis.record is msgspec.UNSET else basis.record,
        override_record=row["override_record"],
    )


def _overridden(row: Mapping[str, Any]) -> Overridden:
    body = {"p": {}} if row["body"] is None else msgspec.json.decode(row["body"])
    said, then = body["p"].get("asked", {}), body["p"].get("then", {})
    before, tier = then.get("tier"), said.get("tier")
    records = [row["approval_id"], *(one["record"] for one in row["granted_by"])]
    if row["ended_record"] is not None:
        records.append(row["ended_record"])
    return Overridden(
        approval_id=row["approval_id"],
        kind=row["target_type"],
        id=row["target_id"],
        staff_id=row["proposer"].get("staff_id", ""),
        klass=then.get("class", ""),
        direction=_direction(before, tier),
        before=before,
        tier=tier,
        until=said.get("until"),
        state=row["state"],
        at=instant_text(row["created_at"]),
        records=list(dict.fromkeys(records)),
    )


def _direction(before: int | None, tier: int | None) -> str:
    if tier is None:
        return "retired"
    if before is None:
        return "first"
    return "same" if tier == before else "up" if tier > before else "down"
