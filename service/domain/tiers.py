"""Tiers: how heavy the duties of a subject are, computed from its facts by the edition's table (domain.md (g)). Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from service.policy import Policy

Fact = str | int | bool | None


class TierResult(msgspec.Struct, frozen=True):
    """What one look at the facts gives: score 0..100, the points of each input, the highest floor and the tier, 1..4."""

    score: int
    parts: dict[str, int]
    floor: int
    tier: int


class Lower(msgspec.Struct, frozen=True):
    """A lower result that waits: the heaviest one seen since counting began (S079)."""

    tier: int
    since: dt.datetime


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """Why a tier is what it is. `edition`, `at`, `inputs`, `held` and `lower` are what went in; the rest came out (S076).

    `held` is the tier before (None: there was none), `lower` the lower result that already waited, `waiting` the one that
    waits now, `tier` what holds where no override stands over it.
    """

    edition: str
    at: dt.datetime
    inputs: dict[str, Fact]
    held: int | None
    lower: Lower | None
    points: dict[str, int]
    score: int
    floor: int
    computed: int
    tier: int
    waiting: Lower | None


def group_tier(policy: Policy, facts: Mapping[str, Fact]) -> TierResult:
    """The tier that these facts of a group give, before any waiting or override (S076, S080).

    `facts` by the names of tiers.csv: nature, members, messages_per_day, join_mode, discoverable, link_open, capacity,
    minors. Neither credit nor findings are among them (S084). KeyError for a fact that is missing.
    """
    table = policy.tiers["group"]
    parts = {name: scale.of(facts[name]) or 0 for name, scale in table.points.items()}
    floor = max((scale.of(facts[name]) or 1 for name, scale in table.floors.items()), default=1)
    score = sum(parts.values())
    tier = next(band.value for band in table.thresholds if band.high is None or score <= band.high)
    return TierResult(score, parts, floor, max(tier, floor))


def rank_group(
    policy: Policy, facts: Mapping[str, Fact], *, at: dt.datetime, held: int | None, lower: Lower | None
) -> Basis:
    """Rank a group that held tier `held`: a rise applies at once, a fall after `tier_down_wait_d` (S079)."""
    result = group_tier(policy, facts)
    tier, waiting = result.tier, None
    if held is not None and tier < held:
        # What falls is what held all the while: the heaviest of the lower results, not the latest.
        waiting = (
            Lower(tier, at) if lower is None else msgspec.structs.replace(lower, tier=max(tier, lower.tier))
        )
        tier = held
        if at - waiting.since >= dt.timedelta(days=policy.parameters.tier_down_wait_d):
            tier = waiting.tier
            waiting = Lower(result.tier, at) if result.tier < tier else None
    return Basis(
        edition=policy.edition,
        at=at,
        inputs=dict(facts),
        held=held,
        lower=lower,
        points=result.parts,
        score=result.score,
        floor=result.floor,
        computed=result.tier,
        tier=tier,
        waiting=waiting,
    )


def rank_group_again(policy: Policy, basis: Basis) -> Basis:
    """Rank once more from what was stored, years later, under the edition that `basis` names: the same result (S078)."""
    return rank_group(policy, basis.inputs, at=basis.at, held=basis.held, lower=basis.lower)
