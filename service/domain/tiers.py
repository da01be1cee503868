"""Tiers: how heavy the duties of a subject are, computed from its facts by the edition's table (domain.md (g)). Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from service.action import Effect, Follow, Instant, Situation, follow_id
from service.decide import following

if TYPE_CHECKING:
    from service.policy import Policy, TierTable

Kind = Literal["group", "account"]
Fact = str | int | bool | None

_sorted = msgspec.json.Encoder(order="sorted").encode


class Edition(Protocol):
    """What computing takes of an edition: a whole policy, or what `service.policy.adopted_tiers` reads of an old one."""

    @property
    def edition(self) -> str:
        """Its digest."""
        ...

    @property
    def tiers(self) -> Mapping[str, TierTable]:
        """Its tables, by kind."""
        ...

    @property
    def tier_down_wait_d(self) -> int:
        """Days for which a lower result must hold before a tier falls."""
        ...


class Weighed(Protocol):
    """What has a tier: a group or an account."""

    @property
    def tier(self) -> int | None:
        """The tier that holds."""
        ...

    @property
    def klass(self) -> str:
        """Its class."""
        ...


class TierResult(msgspec.Struct, frozen=True):
    """What one look at the facts gives: score 0..100, the points of each input, the floors that hold, and the tier, 1..4."""

    score: int
    parts: dict[str, int]
    floors: dict[str, int]
    floor: int
    tier: int


class Lower(msgspec.Struct, frozen=True):
    """A lower result that waits: the heaviest one seen since counting began (S079)."""

    tier: int
    since: Instant


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """Why a tier is what it is. `edition`, `at`, `inputs`, `held` and `lower` are what went in; the rest came out (S076).

    `held` is the tier before (None: there was none), `lower` the lower result that already waited, `waiting` the one that
    waits now, `tier` what holds where no override stands over it. `record` is of the act that ranked. `floors`: by input,
    the tier it demands at least. Results stored before these two were kept lack them.
    """

    record: str | UnsetType = UNSET

    edition: str
    at: Instant
    inputs: dict[str, Fact]
    held: int | None
    lower: Lower | None
    points: dict[str, int]
    floors: dict[str, int] | UnsetType = UNSET
    score: int
    floor: int
    computed: int
    tier: int
    waiting: Lower | None


def compute(edition: Edition, kind: Kind, facts: Mapping[str, Fact]) -> TierResult:
    """The tier that these facts give, before any waiting or override (S076, S077, S080).

    `facts` by the names of tiers.csv. Of a group: nature, members, messages_per_day, join_mode, discoverable, link_open,
    capacity, minors; neither credit nor findings are among them (S084). Of an account: class, quality, followers,
    reads_per_post, operator_credit. KeyError for a fact that is missing.
    """
    table = edition.tiers[kind]
    parts = {name: scale.of(facts[name]) or 0 for name, scale in table.points.items()}
    floors = {name: tier for name, scale in table.floors.items() if (tier := scale.of(facts[name]))}
    floor = max(floors.values(), default=1)
    score = sum(parts.values())
    tier = next(band.value for band in table.thresholds if band.high is None or score <= band.high)
    return TierResult(score, parts, floors, floor, max(tier, floor))


def rank(
    edition: Edition,
    kind: Kind,
    facts: Mapping[str, Fact],
    *,
    at: dt.datetime,
    held: int | None,
    lower: Lower | None,
    record: str | UnsetType = UNSET,
) -> Basis:
    """Rank a subject that held tier `held`: a rise applies at once, a fall after `tier_down_wait_d` (S079)."""
    result = compute(edition, kind, facts)
    tier, waiting = result.tier, None
    if held is not None and tier < held:
        # What falls is what held all the while: the heaviest of the lower results, not the latest.
        waiting = (
            Lower(tier, at) if lower is None else msgspec.structs.replace(lower, tier=max(tier, lower.tier))
        )
        tier = held
        if at - waiting.since >= dt.timedelta(days=edition.tier_down_wait_d):
            tier = waiting.tier
            waiting = Lower(result.tier, at) if result.tier < tier else None
    return Basis(
        record=record,
        edition=edition.edition,
        at=at,
        inputs=dict(facts),
        held=held,
        lower=lower,
        points=result.parts,
        floors=result.floors,
        score=result.score,
        floor=result.floor,
        computed=result.tier,
        tier=tier,
        waiting=waiting,
    )


def rank_again(edition: Edition, kind: Kind, basis: Basis) -> Basis:
    """Rank once more from what was stored, years later, under the edition that `basis` names: the same result (S078)."""
    again = rank(
        edition, kind, basis.inputs, at=basis.at, held=basis.held, lower=basis.lower, record=basis.record
    )
    return msgspec.structs.replace(again, floors=UNSET) if basis.floors is UNSET else again


def basis_bytes(basis: Basis | Mapping[str, Any]) -> bytes:
    """A result as bytes that are the same wherever it is written: JSON with its members in order."""
    return _sorted(basis)


def in_force(basis: Basis, override: int | None) -> int:
    """The tier that holds: an override stands over the computed one, never below a floor (S080)."""
    return basis.tier if override is None else max(override, basis.floor)


def settled(old: Basis | None, new: Basis) -> bool:
    """Whether ranking again left everything that matters as it was: the tier, and what waits."""
    return old is not None and (old.tier, old.waiting) == (new.tier, new.waiting)


def told(basis: Basis) -> dict[str, Any]:
    """A result as it is stored, and as records and receipts hold it."""
    return msgspec.to_builtins(basis)


def obligations(policy: Policy, kind: Kind, before: int | None, after: int) -> dict[str, int | str | None]:
    """What the new tier asks otherwise than the old one, by the names of tiers.csv; all of it where there was none (S082)."""
    return {
        name: values[after - 1]
        for name, values in policy.tiers[kind].effects.items()
        if before is None or values[before - 1] != values[after - 1]
    }


def newly_asked(policy: Policy, kind: Kind, before: int | None, after: int | None) -> dict[str, Any]:
    """What records say of `obligations`: nothing where the tier stayed or there is none."""
    if after is None or before == after:
        return {}
    return {"obligations": obligations(policy, kind, before, after)}


def crossed(
    here: Situation,
    kind: Kind,
    subject: Weighed,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    effects: list[Effect],
) -> Follow:
    """The act of its own by which other facts move a subject, as it was, to another tier (S082). Raises Refusal."""
    act = f"{kind}.rank"
    verdict = following(here, act, subject.tier)
    return Follow(
        record_id=follow_id(here.record_id),
        act=act,
        rule=verdict.rule,
        basis=verdict.terms.basis,
        then={"tier": subject.tier, "class": subject.klass},
        before=before,
        after=after,
        effects=effects,
    )
