"""The tier of an account: ranked on its facts, overridden for a time by two people, and ranked again (S077-S082)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from service.action import Change, Effect, Follow, Id, Instant, Need, Note, Reason, Situation
from service.clock import instant_text, truncated
from service.domain import reranking, tiers
from service.domain.accounts.facts import Account, AccountAction, TierOverride
from service.domain.operators import LevelMove
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms

Tier = Annotated[int, msgspec.Meta(ge=1, le=4)]
_DAY_S = 86_400


class RankAccount(AccountAction, frozen=True, kw_only=True, tag="account.rank"):
    """Compute the tier of an accepted account again from the stored facts. The caller brings no tier (S077).

    The day of the next recheck begins anew; an override stays over it until its end. `plan`: the running plan of a bulk
    re-ranking, for time alone; then only what changes something is done. By time alone, where the operator's level of credit
    moved since: that is not a recheck, and the record is linked to the one that moved it.
    """

    reason: Reason | None = None
    note: Note | None = None
    plan: Id | None = None

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), *reranking.plan_needs(self.plan)]

    def more(self, here: Situation) -> Sequence[Need]:
        """Also, for time, which record moved the operator's level."""
        found, account = super().more(here), here.find(Account, self.account_id)
        if account is None or here.caller.kind != "sweep" or self.plan is not None:
            return found
        return [*found, Need(LevelMove, (account.operator_id,))]

    def moved(self, here: Situation, account: Account, level: str) -> str | None:
        """The record that moved the operator's level, where time ranks an account that rests on another one; else None."""
        basis = account.tier_basis
        if (
            here.caller.kind != "sweep"
            or self.plan is not None
            or basis is None
            or basis.inputs.get("operator_credit") == level
        ):
            return None
        move = here.find(LevelMove, account.operator_id)
        return None if move is None else move.by_record

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (waiting; the plan is not running), `plan_stale`, to time `already_in_state` (nothing changes)."""
        del terms
        plan = reranking.plan_of(here, self.plan, "account")
        account, level = self.accepted(here), self.credit_level(here)
        moved = self.moved(here, account, level)
        ranked = account.ranked(here, level, anew=plan is None and moved is None)
        if here.caller.kind == "sweep" and moved is None and _settled(account, ranked):
            raise Refusal(Code.ALREADY_IN_STATE)
        if plan is None:
            return _tier_change(here, account, ranked, links=[moved or account.by_record])
        change = _tier_change(here, account, ranked, links=[plan.run_record or plan.plan_id])
        change.writes.append(reranking.Ranked(plan_id=plan.plan_id))
        return change


class OverrideAccountTier(AccountAction, frozen=True, kw_only=True, tag="account.override_tier"):
    """Put another tier over the ranked one for a time: a reason, two people, an end, never below the floor (S080, S081)."""

    tier: Tier
    until: Instant
    reason: Reason | None = None
    note: Note | None = None

    def asked(self) -> dict[str, object]:
        return {"tier": self.tier, "until": instant_text(self.until)}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `malformed` (over before it begins), `not_in_state` (waiting), `below_floor`, `duration_over_limit`."""
        del terms
        account = self.accepted(here)
        until = truncated(self.until)
        if until <= here.at:
            raise Refusal(Code.MALFORMED, pointer="/until", why="in the past")
        override = TierOverride(tier=self.tier, until=until, by_record=here.record_id)
        over = msgspec.structs.replace(account, override=override).ranked(here, self.credit_level(here))
        floor = 1 if over.tier_basis is None else over.tier_basis.floor
        if self.tier < floor:
            raise Refusal(Code.BELOW_FLOOR, pointer="/tier", floor=floor)
        longest = here.policy.parameters.override_max_d
        if until > here.at + dt.timedelta(days=longest):
            raise Refusal(Code.DURATION_OVER_LIMIT, pointer="/until", maximum=longest * _DAY_S)
        old = account.override
        links = [account.by_record if old is None else old.by_record]
        return _tier_change(here, account, over, links=links)


class ExpireAccountOverride(AccountAction, frozen=True, kw_only=True, tag="account.expire_override"):
    """An override is over, the instant after its end: the ranked tier returns (S015, S081)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` where none stands or it is not over (S016)."""
        del terms
        account = self.account(here)
        over = account.override
        if over is None or here.at <= over.until:
            raise Refusal(Code.NOT_IN_STATE)
        bare = msgspec.structs.replace(account, override=None)
        return _tier_change(here, account, bare.ranked(here, self.credit_level(here)), links=[over.by_record])


def crossing(here: Situation, before: Account, after: Account) -> list[Follow]:
    """The act of its own by which other facts move an account's tier; none where it stays (S082)."""
    if before.tier == after.tier:
        return []
    return [
        tiers.crossed(
            here,
            "account",
            before,
            before=tier_facts(before),
            after=_explained(here, before, after),
            effects=tier_effects(here, before, after),
        )
    ]


def tier_effects(here: Situation, before: Account, after: Account) -> list[Effect]:
    """What the backend is told when a tier changed: the new one, and what it asks otherwise (S082)."""
    if after.tier is None or before.tier == after.tier:
        return []
    return [
        Effect(
            "account.ranked",
            {
                "account_id": after.account_id,
                "operator_id": after.operator_id,
                "before": before.tier,
                "tier": after.tier,
                **tiers.newly_asked(here.policy, "account", before.tier, after.tier),
            },
        )
    ]


def tier_facts(account: Account) -> dict[str, Any]:
    """The tier, how long an override stands over it, and the day of the next recheck."""
    over, due = account.override, account.next_recheck_at
    return {
        "tier": account.tier,
        "override_until": None if over is None else instant_text(over.until),
        "next_recheck_at": None if due is None else instant_text(due),
    }


def _tier_change(here: Situation, account: Account, changed: Account, *, links: list[str]) -> Change:
    return Change(
        writes=[changed],
        before=tier_facts(account),
        after=_explained(here, account, changed),
        links=links,
        result={
            **tier_facts(changed),
            "floor": None if changed.tier_basis is None else changed.tier_basis.floor,
            "version": changed.version,
        },
        effects=tier_effects(here, account, changed),
    )


def _settled(account: Account, ranked: Account) -> bool:
    return ranked.tier_basis is not None and tiers.settled(account.tier_basis, ranked.tier_basis)


def _explained(here: Situation, before: Account, after: Account) -> dict[str, Any]:
    asks = tiers.newly_asked(here.policy, "account", before.tier, after.tier)
    return {**tier_facts(after), **asks, **basis_said(after)}


def basis_said(account: Account) -> dict[str, Any]:
    """Why the tier is what it is, as records say it."""
    return {} if account.tier_basis is None else {"tier_basis": tiers.told(account.tier_basis)}
