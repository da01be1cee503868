"""The tier of an account: ranked by hand above the floor, overridden for a time by two people (S078-S081)."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from service.action import Change, Effect, Instant, Note, Reason, Situation
from service.clock import instant_text, truncated
from service.domain.accounts.facts import Account, AccountAction, TierOverride
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Terms

Tier = Annotated[int, msgspec.Meta(ge=1, le=4)]
_DAY_S = 86_400


class RankAccount(AccountAction, frozen=True, kw_only=True, tag="account.rank"):
    """Set the tier of an accepted account, never below its floor; the day of the next recheck follows from it.

    The score of domain.md (g) takes the operator's credit; once that is kept, the tier is reckoned here from the
    stored facts and is no longer said by the caller. An override stays over it until its end.
    """

    tier: Tier
    reason: Reason | None = None
    note: Note | None = None

    def asked(self) -> dict[str, int]:
        return {"tier": self.tier}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (waiting), `below_floor` (data: the floor)."""
        account = self.accepted(here)
        weighed = account.weighed(here.policy)
        if self.tier < weighed.floor:
            raise Refusal(Code.BELOW_FLOOR, pointer="/tier", floor=weighed.floor)
        ranked = account.ranked(here, weighed.basis("ranked", self.tier, here.policy), anew=True)
        return _tier_change(account, ranked, links=[account.by_record])


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
        account = self.accepted(here)
        until = truncated(self.until)
        if until <= here.at:
            raise Refusal(Code.MALFORMED, pointer="/until", why="in the past")
        weighed = account.weighed(here.policy)
        if self.tier < weighed.floor:
            raise Refusal(Code.BELOW_FLOOR, pointer="/tier", floor=weighed.floor)
        longest = here.policy.parameters.override_max_d
        if until > here.at + dt.timedelta(days=longest):
            raise Refusal(Code.DURATION_OVER_LIMIT, pointer="/until", maximum=longest * _DAY_S)
        override = TierOverride(tier=self.tier, until=until, by_record=here.record_id)
        old = account.override
        return _tier_change(
            account,
            _under(here, account, override),
            links=[account.by_record if old is None else old.by_record],
        )


class ExpireAccountOverride(AccountAction, frozen=True, kw_only=True, tag="account.expire_override"):
    """An override is over, the instant after its end: the ranked tier returns (S015, S081)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` where none stands or it is not over (S016)."""
        account = self.account(here)
        over = account.override
        if over is None or here.at <= over.until:
            raise Refusal(Code.NOT_IN_STATE)
        return _tier_change(account, _under(here, account, None), links=[over.by_record])


def _under(here: Situation, account: Account, override: TierOverride | None) -> Account:
    """The account with (or without) an override over what it was ranked, as its facts weigh now."""
    changed = msgspec.structs.replace(account, override=override)
    weighed, old = changed.weighed(here.policy), account.tier_basis
    return changed.ranked(
        here,
        weighed.basis("floor", 1, here.policy)
        if old is None
        else weighed.basis(old.how, old.tier, here.policy),
    )


def _tier_change(account: Account, changed: Account, *, links: list[str]) -> Change:
    effects = []
    if changed.tier != account.tier:
        effects.append(Effect("account.ranked", {"account_id": account.account_id, "tier": changed.tier}))
    return Change(
        writes=[changed],
        before=_tier_facts(account),
        after={**_tier_facts(changed), "tier_basis": msgspec.to_builtins(changed.tier_basis)},
        links=links,
        result={
            **_tier_facts(changed),
            "floor": None if changed.tier_basis is None else changed.tier_basis.floor,
            "version": changed.version,
        },
        effects=effects,
    )


def _tier_facts(account: Account) -> dict[str, Any]:
    over, due = account.override, account.next_recheck_at
    return {
        "tier": account.tier,
        "override_until": None if over is None else instant_text(over.until),
        "next_recheck_at": None if due is None else instant_text(due),
    }
