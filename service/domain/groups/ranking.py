"""The tier of a group: ranked on its facts, set by hand for a time, and ranked again (S076-S084)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import msgspec

from service.action import (
    Change,
    Effect,
    Follow,
    Id,
    Instant,
    Need,
    Note,
    Reason,
    Situation,
    Stand,
)
from service.clock import instant_text, truncated
from service.domain import reranking, staff, tiers
from service.domain.groups.facts import Group, GroupAction, Override
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms

G = TypeVar("G", bound=Group)


class Answering(Row, frozen=True, kw_only=True):
    """Who answers for a group now: its owner and admins. Looked at, never written; the group's row is the lock."""

    table = "role"
    key = ("group_id",)

    group_id: str
    people: tuple[str, ...] = ()

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read the open intervals of rank admin and owner."""
        del lock
        found = await db.fetch(
            "SELECT group_id, person_id FROM role"
            " WHERE group_id = ANY($1) AND until_at IS NULL AND rank >= 2 ORDER BY person_id",
            [key[0] for key in keys],
        )
        people: dict[tuple[str, ...], list[str]] = {key: [] for key in keys}
        for record in found:
            people[record["group_id"],].append(record["person_id"])
        return {key: cls(group_id=key[0], people=tuple(held)) for key, held in people.items()}

    def parties(self) -> tuple[str, ...]:
        """They as humans with a stake."""
        return tuple(f"person:{person}" for person in self.people)


def facts_of(group: Group) -> dict[str, tiers.Fact]:
    """What a group's tier is computed from, by the names of tiers.csv; no credit, no findings (S084)."""
    return {
        "nature": group.klass,
        "members": group.member_count,
        "messages_per_day": group.messages_per_day,
        "join_mode": group.join_mode,
        "discoverable": group.discoverable,
        "link_open": group.link_open,
        "capacity": group.capacity,
        "minors": group.minors,
    }


def basis_of(group: Group) -> tiers.Basis | None:
    """Why the group's tier is what it is; None where it was never ranked."""
    return msgspec.convert(group.tier_basis, tiers.Basis) if group.tier_basis else None


def ranked(here: Situation, group: G, *, first: bool = False, anew: bool = False) -> G:
    """The group with its tier computed on its present facts; an override stands over it, never below a floor (S080).

    `first`: it held no tier before, so nothing waits. The days to the next recheck begin again when the tier changes, or
    when the group was looked at `anew`.
    """
    before = basis_of(group)
    held = group.tier if before is None else before.tier
    basis = tiers.rank(
        here.policy,
        "group",
        facts_of(group),
        at=here.at,
        held=None if first else held,
        lower=None if before is None else before.waiting,
        record=here.record_id,
    )
    tier = tiers.in_force(basis, None if group.override is None else group.override.tier)
    due = group.next_recheck_at
    if first or anew or due is None or tier != group.tier:
        due = here.at + dt.timedelta(days=int(here.policy.tier_effect("group", "recheck_d", tier) or 0))
    return msgspec.structs.replace(group, tier=tier, tier_basis=tiers.told(basis), next_recheck_at=due)


def explained(group: Group) -> dict[str, Any]:
    """A group's tier as records and receipts explain it: each input's points, score, floor, and what waits (S076)."""
    basis = basis_of(group)
    if basis is None:
        return {"tier": group.tier}
    waiting = (
        {}
        if basis.waiting is None
        else {"waiting": {"tier": basis.waiting.tier, "since": instant_text(basis.waiting.since)}}
    )
    return {
        "tier": group.tier,
        "score": basis.score,
        "points": basis.points,
        "floor": basis.floor,
        **({} if basis.floors is msgspec.UNSET else {"floors": basis.floors}),
        "computed": basis.computed,
        **waiting,
    }


def due(group: Group) -> dict[str, Any]:
    """When a group's tier is looked at again, as records say it."""
    at = group.next_recheck_at
    return {} if at is None else {"next_recheck_at": instant_text(at)}


def tier_coupled(before: Group, after: Group) -> list[dict[str, Any]]:
    """What the record of an act lists when the group's tier changed by it."""
    if before.tier == after.tier:
        return []
    return [{"fact": "tier", "before": before.tier, "after": after.tier}]


def tier_effects(here: Situation, before: Group, after: Group) -> list[Effect]:
    """What the backend is told, and tells the owner, when a tier changed: the new one, and what it asks otherwise (S082)."""
    if before.tier == after.tier:
        return []
    return [
        Effect(
            "group.tier_changed",
            {
                "group_id": after.group_id,
                "owner_id": after.owner_id,
                "before": before.tier,
                "after": after.tier,
                **tiers.newly_asked(here.policy, "group", before.tier, after.tier),
            },
        )
    ]


def crossing(here: Situation, before: Group, after: Group) -> list[Follow]:
    """The act of its own by which other facts move a group's tier; none where it stays (S082)."""
    if before.tier == after.tier:
        return []
    return [
        tiers.crossed(
            here,
            "group",
            before,
            before={"tier": before.tier},
            after=_moved(here, before, after),
            effects=tier_effects(here, before, after),
        )
    ]


def _moved(here: Situation, before: Group, after: Group) -> dict[str, Any]:
    """What the record of a rank says afterwards: the explanation, the whole result, and what is asked otherwise."""
    asks = tiers.newly_asked(here.policy, "group", before.tier, after.tier)
    return {**explained(after), **due(after), **asks, "tier_basis": after.tier_basis}


class RankGroup(GroupAction, frozen=True, kw_only=True, tag="group.rank"):
    """Compute the tier again from the stored facts. The caller brings no tier: it comes from the table alone (S076).

    `plan`: the running plan of a bulk re-ranking, for time alone; then only what changes something is done.
    """

    reason: Reason | None = None
    note: Note | None = None
    plan: Id | None = None

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), *reranking.plan_needs(self.plan)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses of its own under a plan alone: `not_in_state`, `plan_stale`, `already_in_state`."""
        del terms
        plan = reranking.plan_of(here, self.plan, "group")
        before = self.group(here)
        after = ranked(here, before.with_(), anew=plan is None)
        basis = basis_of(after)
        if plan is not None and basis is not None and tiers.settled(basis_of(before), basis):
            raise Refusal(Code.ALREADY_IN_STATE)
        return Change(
            writes=[after, *([] if plan is None else [reranking.Ranked(plan_id=plan.plan_id)])],
            before={"tier": before.tier},
            after=_moved(here, before, after),
            links=[] if plan is None else [plan.run_record or plan.plan_id],
            result={**explained(after), "version": after.version},
            effects=tier_effects(here, before, after),
        )


class OverrideTier(GroupAction, frozen=True, kw_only=True, tag="group.override_tier"):
    """Set a tier by hand until an end, for a reason and with a second person; it replaces one that stands (S080, S081)."""

    tier: Annotated[int, msgspec.Meta(ge=1, le=4)]
    until: Instant
    reason: Reason | None = None
    note: Note | None = None

    def asked(self) -> dict[str, Any]:
        return {"tier": self.tier, "until": instant_text(self.until)}

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), Need(Answering, (self.group_id,))]

    def stand(self, here: Situation) -> Stand:
        """Whoever answers for the group has a stake in its tier, also under a staff standing."""
        return apart_from_those_answering(here, self.group_id, super().stand(here))

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `malformed` (an end that is past), `below_floor`, `duration_over_limit` (maximum in seconds)."""
        del terms
        before = self.group(here)
        if self.until <= here.at:
            raise Refusal(Code.MALFORMED, pointer="/until", why="in the past")
        override = Override(tier=self.tier, until=truncated(self.until), by_record=here.record_id)
        after = ranked(here, before.with_(override=override))
        basis = basis_of(after)
        if basis is not None and self.tier < basis.floor:
            raise Refusal(Code.BELOW_FLOOR, floor=basis.floor)
        longest = dt.timedelta(days=here.policy.parameters.override_max_d)
        if self.until - here.at > longest:
            raise Refusal(Code.DURATION_OVER_LIMIT, pointer="/until", maximum=int(longest.total_seconds()))
        old = before.override
        return Change(
            writes=[after],
            before={"tier": before.tier, **_override_text(old)},
            after={**_moved(here, before, after), **_override_text(override)},
            links=[] if old is None else [old.by_record],
            result={"tier": after.tier, "until": instant_text(self.until), "version": after.version},
            effects=tier_effects(here, before, after),
        )


class ExpireOverride(GroupAction, frozen=True, kw_only=True, tag="group.expire_override"):
    """An override is over: the computed tier returns (S081)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when there is none or it is not over (S016)."""
        del terms
        before = self.group(here)
        old = before.override
        if old is None or here.at <= old.until:
            raise Refusal(Code.NOT_IN_STATE)
        after = ranked(here, before.with_(override=None))
        return Change(
            writes=[after],
            before={"tier": before.tier, **_override_text(old)},
            after=_moved(here, before, after),
            links=[old.by_record],
            result={"tier": after.tier, "version": after.version},
            effects=tier_effects(here, before, after),
        )


def apart_from_those_answering(here: Situation, group_id: str, stood: Stand) -> Stand:
    """The same stand with everybody in office as a party: none of them is apart, none of them approves (S113)."""
    parties = tuple(dict.fromkeys((*stood.parties, *here.get(Answering, group_id).parties())))
    if here.caller.kind not in {"staff", "regulator"}:
        return stood._replace(parties=parties)
    again = staff.stand(here, parties=parties)
    return stood._replace(parties=parties, relations=again.relations)


def _override_text(override: Override | None) -> dict[str, Any]:
    if override is None:
        return {}
    return {"override": {"tier": override.tier, "until": instant_text(override.until)}}
