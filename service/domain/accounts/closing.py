"""An account ends by its operator's will: asked for, cooled down by the number of followers, withdrawn or carried out (S104)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from service.action import Change, Effect, Need, Situation
from service.clock import instant_text
from service.domain.accounts.contracts import contract_ended, needs_of_contract
from service.domain.accounts.facts import Account, AccountAction
from service.domain.accounts.names import said_of
from service.domain.accounts.profile import freed, needs_of_pending
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Policy, Terms


def cooling_days(policy: Policy, followers: int) -> int:
    """How many days a closing that was asked for waits, by `close_cooling_*`: the more follow, the longer."""
    values = policy.parameters
    if followers <= values.close_cooling_small_followers:
        return values.close_cooling_small_d
    if followers <= values.close_cooling_middle_followers:
        return values.close_cooling_middle_d
    return values.close_cooling_large_d


class RequestClose(AccountAction, frozen=True, kw_only=True, tag="account.request_close"):
    """Ask that the account be closed; it lives on until it has cooled down. An open case stops it here once there are cases."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (waiting), `already_in_state`, `transfer_pending`."""
        del terms
        account = self.accepted(here)
        if account.closing_due_at is not None:
            raise Refusal(Code.ALREADY_IN_STATE, due_at=instant_text(account.closing_due_at))
        if account.offer is not None and account.offer.open_at(here.at):
            raise Refusal(Code.TRANSFER_PENDING)
        days = cooling_days(here.policy, account.followers)
        due_at = here.at + dt.timedelta(days=days)
        changed = account.with_(closing_due_at=due_at)
        return Change(
            writes=[changed],
            after={
                "closing_due_at": instant_text(due_at),
                "followers": account.followers,
                "cooling_days": days,
            },
            links=[account.by_record],
            result={"closing_due_at": instant_text(due_at), "version": changed.version},
            effects=[
                Effect(
                    "account.closing", {"account_id": self.account_id, "closing_due_at": instant_text(due_at)}
                )
            ],
        )


class WithdrawClose(AccountAction, frozen=True, kw_only=True, tag="account.withdraw_close"):
    """Keep the account after all, before the closing is due."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (none asked for, or due)."""
        del terms
        account = self.account(here)
        due_at = account.closing_due_at
        if due_at is None or due_at <= here.at:
            raise Refusal(Code.NOT_IN_STATE)
        changed = account.with_(closing_due_at=None)
        return Change(
            writes=[changed],
            before={"closing_due_at": instant_text(due_at)},
            after={"closing_due_at": None},
            links=[account.by_record],
            result={"closing_due_at": None, "version": changed.version},
            effects=[Effect("account.closing_withdrawn", {"account_id": self.account_id})],
        )


class CloseAccount(AccountAction, frozen=True, kw_only=True, tag="account.close"):
    """The closing is due: the account ends for good, its names stay reserved, its place is free (A5, S015).

    An open case stops it here once there are cases.
    """

    writes_operator: ClassVar[bool] = True

    def more(self, here: Situation) -> Sequence[Need]:
        """Also what ends with it."""
        account = here.find(Account, self.account_id)
        ends = [] if account is None else [*needs_of_pending(account), *needs_of_contract(account)]
        return [*super().more(here), *ends]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` where it was withdrawn or is not due (S016)."""
        del terms
        account, operator = self.account(here), self.operator(here)
        due_at = account.closing_due_at
        if due_at is None or here.at < due_at:
            raise Refusal(Code.NOT_IN_STATE)
        closed = msgspec.structs.replace(
            account,
            closed_at=here.at,
            closed_how="owner",
            closing_due_at=None,
            pending_profile=None,
            mcn_id=None,
            mcn_record=None,
            mcn_agreed=None,
        ).with_()
        counted = operator.with_(account_count=operator.account_count - 1)
        ended, names = contract_ended(here, account), freed(here, account)
        return Change(
            writes=[counted, closed, *names, *ended],
            before={"state": "accepted", "closing_due_at": instant_text(due_at)},
            after={
                "state": "closed",
                "closed_how": "owner",
                **({"pending": "dropped"} if account.pending_profile is not None else {}),
                **({"mcn": "ended"} if ended else {}),
                **said_of(names),
            },
            coupled=[
                {
                    "id": 1,
                    "what": "accounts_counted",
                    "of": "operator",
                    "before": operator.account_count,
                    "after": counted.account_count,
                }
            ],
            links=[account.by_record, *([] if account.mcn_record is None else [account.mcn_record])],
            result={"state": "closed", "version": closed.version},
            effects=[Effect("account.closed", {"account_id": self.account_id, "how": "owner"})],
        )
