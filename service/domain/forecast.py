"""What ranking again would change: for one subject, or for all, under the edition in force or a new one. Changes nothing.

Subjects whose facts lie between the same bounds weigh the same under every edition that is compared; so all of them are
counted by the database, page by page, and only their profiles are ranked here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from service.clock import InstantText, instant_text
from service.db import Tx, queries
from service.db.pool import Reader
from service.domain import credit, tiers
from service.domain.accounts.facts import needs_credential
from service.domain.tiers import Basis, Fact, Kind, Lower

if TYPE_CHECKING:
    from service.policy import Policy

sql = queries(__file__)
SAMPLES = 20
"""Most ids that stand for a count."""
PAGE = 50_000
"""Subjects counted by one statement: a second of the database's work, far from the end of its patience."""
AT_ONCE, AFTER_WAIT = "at once", "after the wait"


class Seen(NamedTuple):
    """A subject, or a profile of many: its facts, what holds now, and how many it stands for."""

    facts: dict[str, Fact]
    tier: int | None
    held: int | None
    lower: Lower | None
    override: int | None
    admins: int
    number: int
    ids: tuple[str, ...]

    @property
    def later(self) -> int | None:
        """The tier that comes when what waits now has waited long enough; None where nothing waits."""
        return None if self.lower is None or self.override is not None else self.lower.tier


class Page(NamedTuple):
    """Subjects by id: those after one, up to and with another."""

    after: str
    last: str


class Outcome(NamedTuple):
    """What ranking again gives: the result, the tier at once, and the one after the wait where it is lower still."""

    basis: Basis
    tier: int
    later: int | None


class Move(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """So many subjects go from one tier to another, at once or after `tier_down_wait_d`; some of them by id."""

    from_: int | None
    to: int
    when: str
    count: int
    samples: list[str]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """So many subjects of a class are newly asked for something, or lose it; some of them by id."""

    what: str
    klass: str = msgspec.field(name="class")
    count: int
    samples: list[str]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What ranking all subjects of a kind under `edition` would change against what holds at `at` under `in_force`.

    `subjects` were looked at, `unchanged` of them keep their tier. `credentials`: accounts of classes that become a
    regulated field. `losses`: what operators and groups could do before and could not after.
    """

    kind: Kind
    in_force: str
    edition: str
    at: InstantText
    subjects: int
    unchanged: int
    moves: list[Move]
    credentials: list[Asked]
    losses: list[Asked]


def seen_of(policy: Policy, kind: Kind, row: Mapping[str, Any], *, at: dt.datetime) -> Seen:
    """A subject of `tier_subject`, or a profile of it, with its facts by the names of tiers.csv."""
    facts: dict[str, Fact]
    if kind == "account":
        facts = {name: row[name] for name in ("quality", "followers", "reads_per_post")}
        level = credit.weight(policy.parameters, row["operator_score"], verified=row["operator_verified"])
        facts |= {"class": row["klass"], "operator_credit": level}
    else:
        same = ("messages_per_day", "join_mode", "discoverable", "link_open", "capacity", "minors")
        facts = {name: row[name] for name in same}
        facts |= {"nature": row["klass"], "members": row["member_count"]}
    if "first" in row:
        held, waits, number, ids = row["held"], row["waits"], row["number"], (row["first"], row["last"])
        # Whether the wait is over is all that its first day decides.
        since = at - dt.timedelta(days=policy.tier_down_wait_d) if row["due"] else at
        lower = None if waits is None else Lower(waits, since)
    else:
        basis = msgspec.convert(row["tier_basis"], Basis) if row["tier_basis"] else None
        held, number, ids = None if basis is None else basis.tier, 1, (row["id"],)
        lower = None if basis is None else basis.waiting
    return Seen(
        facts,
        row["tier"],
        row["tier"] if held is None else held,
        lower,
        row["override_tier"],
        (row["admin_count"] or 0) if kind == "group" else 0,
        number,
        tuple(dict.fromkeys(ids)),
    )


def outcome(
    policy: Policy, kind: Kind, seen: Seen, *, at: dt.datetime, override: int | None = None
) -> Outcome:
    """Rank a subject under an edition as `group.rank` and `account.rank` would at `at`, with its own override or another."""
    basis = tiers.rank(policy, kind, seen.facts, at=at, held=seen.held, lower=seen.lower)
    over = seen.override if override is None else override
    tier = tiers.in_force(basis, over)
    later = None if basis.waiting is None or over is not None else basis.waiting.tier
    return Outcome(basis, tier, later)


def losses(old: Policy, new: Policy, kind: Kind, seen: Seen, tier: int) -> list[str]:
    """What a subject could do at its present tier and cannot at `tier` under the new edition."""
    if seen.tier is None:
        return []

    def able(policy: Policy, at_tier: int) -> dict[str, bool]:
        effects = {name: values[at_tier - 1] for name, values in policy.tiers[kind].effects.items()}
        if kind == "account":
            return {
                "manage_comments": str(seen.facts["operator_credit"]) <= str(effects["comment_credit_min"])
            }
        members, admins = effects["member_cap"], effects["admins_cap"]
        return {
            "capacity_asked_for": not isinstance(members, int) or int(seen.facts["capacity"] or 0) <= members,
            "admins_appointed": not isinstance(admins, int) or seen.admins <= admins,
        }

    before, after = able(old, seen.tier), able(new, tier)
    return [name for name, could in before.items() if could and not after[name]]


async def forecast(db: Reader, old: Policy, new: Policy, kind: Kind, *, at: dt.datetime) -> Forecast:
    """Count what ranking all subjects of a kind under `new` would change; little memory."""
    moves: dict[tuple[int | None, int, str], list[Any]] = {}
    credentials: dict[tuple[str, str], list[Any]] = {}
    lost: dict[tuple[str, str], list[Any]] = {}
    subjects = unchanged = 0
    async for seen, _ in profiles(db, old, new, kind, at=at):
        subjects += seen.number
        found = outcome(new, kind, seen, at=at)
        moved = found.tier != seen.tier
        if moved:
            _add(moves, (seen.tier, found.tier, AT_ONCE), seen)
        if found.later is not None and found.later not in (found.tier, seen.later):
            moved = True
            _add(moves, (found.tier, found.later, AFTER_WAIT), seen)
        unchanged += 0 if moved else seen.number
        klass = str(seen.facts["class" if kind == "account" else "nature"])
        if kind == "account" and needs_credential(new, klass) and not needs_credential(old, klass):
            _add(credentials, ("credential", klass), seen)
        for name in losses(old, new, kind, seen, found.tier):
            _add(lost, (name, klass), seen)
    return Forecast(
        kind=kind,
        in_force=old.edition,
        edition=new.edition,
        at=instant_text(at),
        subjects=subjects,
        unchanged=unchanged,
        moves=[
            Move(from_=before, to=after, when=when, count=count, samples=samples)
            for (before, after, when), (count, samples) in sorted(moves.items(), key=str)
        ],
        credentials=_asked(credentials),
        losses=_asked(lost),
    )


async def profiles(
    db: Reader, old: Policy, new: Policy, kind: Kind, *, at: dt.datetime
) -> AsyncIterator[tuple[Seen, Mapping[str, Any]]]:
    """Every profile of a kind, with the row of the database that stands for it; one may come again from each page."""
    after = ""
    while (page := await page_after(db, kind, after, PAGE)) is not None:
        for one in await profiles_of(db, old, new, kind, page, at=at):
            yield one
        after = page.last


async def profiles_of(
    db: Reader, old: Policy, new: Policy, kind: Kind, page: Page, *, at: dt.datetime, with_ids: bool = False
) -> list[tuple[Seen, Mapping[str, Any]]]:
    """The profiles of a page; `with_ids`: each row with the `ids` of all that it stands for."""
    due = at - dt.timedelta(days=new.tier_down_wait_d)
    statement = sql.account_profiles if kind == "account" else sql.group_profiles
    rows = await statement(
        db, due=due, after=page.after, last=page.last, with_ids=with_ids, **bounds(kind, old, new)
    )
    return [(seen_of(new, kind, row, at=at), row) for row in rows]


async def page_after(db: Reader, kind: Kind, after: str, most: int) -> Page | None:
    """The next `most` subjects by id, those that are gone included; None where there are none."""
    last = await (sql.account_end if kind == "account" else sql.group_end)(db, after=after, most=most)
    return None if last is None else Page(after, last)


def bounds(kind: Kind, *policies: Policy) -> dict[str, list[int]]:
    """The numbers at which some edition begins to weigh a fact otherwise, by the parameters of forecast.sql."""
    inputs = (
        {"followers": "followers", "reads_per_post": "reads_per_post", "quality": "quality"}
        if kind == "account"
        else {"members": "members", "messages_per_day": "messages_per_day", "capacity": "capacity"}
    )
    found: dict[str, set[int]] = {name: {0} for name in inputs.values()}
    found["credit" if kind == "account" else "admins"] = {0}
    for policy in policies:
        table = policy.tiers[kind]
        for name in inputs:
            for scales in (table.points, table.floors):
                if name in scales:
                    found[name] |= set(scales[name].bounds())
        if kind == "account":
            values = policy.parameters
            found["credit"] |= {values.credit_a_from, values.credit_b_from, values.credit_c_from}
        if kind == "group":
            for name, effect in (("capacity", "member_cap"), ("admins", "admins_cap")):
                found[name] |= {cap + 1 for cap in table.effects[effect] if isinstance(cap, int)}
    return {name: sorted(numbers) for name, numbers in found.items()}


async def keep(tx: Tx, made: Forecast, *, at: dt.datetime) -> None:
    """Keep a forecast of the edition in force for the act that plans."""
    await sql.keep_forecast(tx, kind=made.kind, edition=made.edition, at=at, counts=msgspec.to_builtins(made))


def _add(counted: dict[Any, list[Any]], key: Any, seen: Seen) -> None:
    held = counted.setdefault(key, [0, []])
    held[0] += seen.number
    held[1] += seen.ids[: max(0, SAMPLES - len(held[1]))]


def _asked(counted: Mapping[tuple[str, str], Iterable[Any]]) -> list[Asked]:
    return [
        Asked(what=what, klass=klass, count=count, samples=samples)
        for (what, klass), (count, samples) in sorted(counted.items())
    ]
