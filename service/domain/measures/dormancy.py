"""Dormancy: an account long unused is warned, then paused, then woken by whoever runs it; never ended but by a human (S102)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from service.action import Change, Effect, Need, Situation, Subject
from service.clock import instant_text
from service.domain.accounts.facts import Account, AccountAction
from service.domain.in_force import Measure, MeasuresOn, together
from service.domain.measures.ending import end
from service.domain.measures.imposing import Bound, Ground
from service.domain.notices import Notice, Said, listed, of_act
from service.domain.operators import Operator, require_identity
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms

PAUSE = "P_DORMANT_PAUSE"
BASIS = ["account-rules:art.10"]
TO_WAKE: Said = {
    "zh": "登录并使用账号即可；已暂停的账号，由运营主体责任人申请唤醒。",
    "en": "Using the account is enough; once it is paused, whoever answers for its operator wakes it.",
}
WOKEN: Said = {"zh": "账号已被唤醒，暂停解除。", "en": "The account was woken; the pause is lifted."}
PAPERS = ["verified_identity_of_operator"]


@subject
class DormancyWarning(Row, frozen=True, kw_only=True):
    """The last warning of an account. It counts while `unused_since` is still its last use: any use makes it void (S103)."""

    table = "dormancy_warning"
    key = ("account_id",)

    account_id: str
    unused_since: dt.datetime
    at: dt.datetime
    by_record: str


class Paused(Row, frozen=True, kw_only=True):
    """When the last pause of an account ended: its days unused begin anew then. Looked at, never written."""

    table = "measure"
    key = ("account_id",)

    account_id: str
    ended_at: dt.datetime | None = None

    @classmethod
    async def look(
        cls, db: object, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read it account by account; the account's row is the lock."""
        del lock
        rows = await db.fetch(  # type: ignore[attr-defined]
            "SELECT target_id, max(ended_at) AS ended_at FROM measure"
            " WHERE target_type = 'account' AND target_id = ANY($1) AND code = $2 GROUP BY 1",
            [key[0] for key in keys],
            PAUSE,
        )
        ended = {row["target_id"]: row["ended_at"] for row in rows}
        return {key: cls(account_id=key[0], ended_at=ended.get(key[0])) for key in keys}


def needs_of(account_id: str) -> list[Need]:
    """The rows by which an account's dormancy is known."""
    return [
        Need(DormancyWarning, (account_id,), write=True),
        Need(Paused, (account_id,)),
        Need(MeasuresOn, ("account", account_id)),
    ]


def unused_since(here: Situation, account: Account) -> dt.datetime:
    """Since when an accepted account is unused: its acceptance, its last use, or the end of its last pause."""
    paused = here.get(Paused, account.account_id).ended_at
    known = [at for at in (account.accepted_at, account.last_used_at, paused) if at is not None]
    return max(known)


def warning_of(here: Situation, account: Account) -> DormancyWarning | None:
    """The warning that counts: the one that speaks of the present stretch without use."""
    found = here.find(DormancyWarning, account.account_id)
    return found if found is not None and found.unused_since == unused_since(here, account) else None


def pause_due(policy: Policy, since: dt.datetime, warned_at: dt.datetime) -> dt.datetime:
    """When an account is paused: not before `dormancy_pause_d` without use, and after a warning as long as the parameters leave
    between the two, also where the warning came late.
    """
    values = policy.parameters
    left = dt.timedelta(days=values.dormancy_pause_d - values.dormancy_warn_d)
    return max(since + dt.timedelta(days=values.dormancy_pause_d), warned_at + left)


def require_living(account: Account) -> None:
    """Refuse `not_in_state` for an account that waits or is no more: nothing of it is unused."""
    if account.accepted_at is None or account.closed_at is not None:
        raise Refusal(Code.NOT_IN_STATE, state="waiting" if account.closed_at is None else "closed")


def ground_of_pause(here: Situation, account: Account) -> Ground:
    """What the sweep pauses a dormant account on. Raises Refusal `not_in_state` where it is not due (S016)."""
    require_living(account)
    warning = warning_of(here, account)
    if warning is None:
        raise Refusal(Code.NOT_IN_STATE, state="not_warned")
    since = unused_since(here, account)
    if here.at < pause_due(here.policy, since, warning.at):
        raise Refusal(Code.NOT_IN_STATE, state="warned")
    days = (here.at - since).days
    return Ground(
        ground="terms",
        basis=BASIS,
        facts={
            "unused_since": instant_text(since),
            "unused_days": days,
            "warned_at": instant_text(warning.at),
        },
        explanation={
            "zh": f"账号自{instant_text(since)}起连续{days}天未使用，经提醒仍未使用，按平台协议暂停。",
            "en": f"The account has not been used for {days} days, since {instant_text(since)}, also after a warning; "
            "under the platform's agreement it is paused.",
        },
        remedy=TO_WAKE,
        papers=PAPERS,
        links=[warning.by_record],
    )


# Acts


class _OfDormancy(AccountAction, frozen=True, kw_only=True):
    """An act on an account for having been unused; its record also names who answers for the operator, who is told."""

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), *needs_of(self.account_id)]

    def about(self, here: Situation) -> dict[str, Subject]:
        account = here.find(Account, self.account_id)
        operator = None if account is None else here.find(Operator, account.operator_id)
        answerable = {} if operator is None else {"answerable": Subject("person", operator.answerable_person)}
        return {**super().about(here), **answerable}


class WarnDormant(_OfDormancy, frozen=True, kw_only=True, tag="account.warn_dormant"):
    """Time warns of an account unused for `dormancy_warn_d` days: whoever answers for it is told when it would be paused (S102)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` where it is not unused so long, waits, is paused, or was warned of this stretch (S016)."""
        del terms
        account, operator = self.account(here), self.operator(here)
        require_living(account)
        since = unused_since(here, account)
        paused = here.get(MeasuresOn, "account", self.account_id).of(PAUSE)
        due = since + dt.timedelta(days=here.policy.parameters.dormancy_warn_d)
        if here.at < due or paused is not None or warning_of(here, account) is not None:
            raise Refusal(Code.NOT_IN_STATE)
        warning = DormancyWarning(
            account_id=self.account_id, unused_since=since, at=here.at, by_record=here.record_id
        )
        pauses_at = pause_due(here.policy, since, here.at)
        notice = _warned(here, account, operator, since, pauses_at)
        says = {"unused_since": instant_text(since), "pause_due_at": instant_text(pauses_at)}
        return Change(
            writes=[warning, notice],
            after=says,
            coupled=[listed()],
            basis=BASIS,
            links=[account.by_record],
            result=says,
            effects=[
                Effect("account.dormancy_warned", {"account_id": self.account_id, **says}),
                notice.effect(),
            ],
        )


def _warned(
    here: Situation, account: Account, operator: Operator, since: dt.datetime, pauses_at: dt.datetime
) -> Notice:
    days = (here.at - since).days
    return of_act(
        here,
        "warned",
        to=operator.answerable_person,
        about=Subject("account", account.account_id),
        jurisdiction=account.jurisdiction,
        until=pauses_at,
        facts={"unused_since": instant_text(since), "unused_days": days},
        basis=BASIS,
        explanation={
            "zh": f"账号已{days}天未使用；如继续不使用，将于{instant_text(pauses_at)}起暂停。",
            "en": f"The account has not been used for {days} days. Unless it is used, it is paused from "
            f"{instant_text(pauses_at)} on.",
        },
        remedy=TO_WAKE,
    )


class WakeAccount(_OfDormancy, frozen=True, kw_only=True, tag="account.wake"):
    """Whoever answers for the operator wakes a paused account; its days without use begin anew (P_DORMANT_PAUSE is lifted)."""

    def more(self, here: Situation) -> Sequence[Need]:
        """Also the pause and what came with it, locked."""
        return [
            *super().more(here),
            *(Need(Measure, (one.measure_id,), write=True) for one in self._pause(here)),
        ]

    def _pause(self, here: Situation) -> list[Measure]:
        found = here.get(MeasuresOn, "account", self.account_id)
        return [
            part
            for one in found.open
            if one.code == PAUSE and one.coupled_to is None
            for part in together(one, found.open)
        ]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `identity_unverified`, `not_in_state` (nothing pauses it)."""
        del terms
        account, operator = self.account(here), self.operator(here)
        require_identity(here, operator)
        pause = [here.get(Measure, one.measure_id) for one in self._pause(here)]
        pause = [one for one in pause if one.holds(here.at)]
        if not pause:
            raise Refusal(Code.NOT_IN_STATE)
        bound = Bound("account", self.account_id, account.jurisdiction, operator.answerable_person)
        ended = end(here, [(one, bound) for one in pause], "lifted", why=WOKEN)
        return Change(
            writes=ended.writes,
            before={"paused": True},
            after={"paused": False, "unused_since": instant_text(here.at)},
            coupled=ended.coupled,
            links=list(dict.fromkeys(one.by_record for one in pause)),
            result={"measure_id": pause[0].measure_id, "state": "lifted"},
            effects=[*ended.effects, Effect("account.woken", {"account_id": self.account_id})],
        )
