"""What an operator may have: so many accounts, by its kind and its credit, and for a time some more (A4, S085, S090)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from service.action import Change, Effect, Instant, Need, Note, Reason, Situation
from service.clock import instant_text, truncated
from service.domain import credit
from service.domain.caps import Cap, over
from service.domain.operators import ExtraAccounts, Operator, OperatorAction, require_identity
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms


def accounts_cap(policy: Policy, operator: Operator, at: dt.datetime) -> tuple[Cap, dict[str, Any]]:
    """How many accounts the operator may have at an instant, by its kind (A4), and what was added to that until when."""
    source = f"accounts_cap_{operator.kind}"
    cap, extra = int(policy.parameter(source)), operator.extra_accounts
    if extra is None or extra.until < at:
        return Cap(cap, source), {}
    raised = {
        "extra": extra.number,
        "extra_until": instant_text(extra.until),
        "extra_record": extra.by_record,
    }
    return Cap(cap + extra.number, source), raised


def level_of(here: Situation, operator: Operator) -> credit.Level | None:
    """The operator's level of credit now; the act has asked for `level_need`. An input of its accounts' tiers (S077)."""
    found = here.find(credit.Credit, "operator", operator.operator_id)
    return credit.level(here.policy.parameters, found, verified=operator.identity_status == "verified")


def level_need(operator_id: str) -> Need:
    """The row by which `level_of` answers."""
    return Need(credit.Credit, ("operator", operator_id))


def require_credit(
    here: Situation, operator: Operator, line: Literal["account_credit_min", "raise_cap_credit_min"]
) -> None:
    """Refuse `credit_too_low` below the points that a line of parameters.csv asks of an operator."""
    found = level_of(here, operator)
    least = int(here.policy.parameter(line))
    row = here.find(credit.Credit, "operator", operator.operator_id)
    score = here.policy.parameters.credit_start if row is None else row.score
    if found is None or score < least:
        raise credit.too_low(here.policy, found, credit.level_of(here.policy.parameters, least), line)


def require_room(here: Situation, operator: Operator) -> None:
    """Refuse `cap_accounts` where the operator has as many accounts as it may (A4)."""
    cap, raised = accounts_cap(here.policy, operator, here.at)
    if operator.account_count >= cap.value:
        raise over(Code.CAP_ACCOUNTS, cap, operator.account_count, here.policy, **raised)


class RaiseAccountsCap(OperatorAction, frozen=True, kw_only=True, tag="operator.raise_cap"):
    """Let an operator have more accounts than its kind allows, until an end: a reason, two people, enough credit (A4).

    It replaces what was allowed before. After its end the cap of the kind holds again; nothing is taken away, only no new
    account opens (S090).
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=1000, description="How many more.")]
    until: Instant
    reason: Reason | None = None
    note: Note | None = None

    def asked(self) -> dict[str, object]:
        return {"number": self.number, "until": instant_text(self.until)}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also its credit."""
        return [*super().needs(caller), level_need(self.operator_id)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `identity_unverified`, `credit_too_low`, `malformed` (over before it begins), `duration_over_limit`."""
        del terms
        operator = self.operator(here)
        require_identity(here, operator)
        require_credit(here, operator, "raise_cap_credit_min")
        if self.until <= here.at:
            raise Refusal(Code.MALFORMED, pointer="/until", why="in the past")
        longest = dt.timedelta(days=here.policy.parameters.raise_cap_max_d)
        if self.until - here.at > longest:
            raise Refusal(Code.DURATION_OVER_LIMIT, pointer="/until", maximum=int(longest.total_seconds()))
        before, _ = accounts_cap(here.policy, operator, here.at)
        extra = ExtraAccounts(number=self.number, until=truncated(self.until), by_record=here.record_id)
        raised = operator.with_(extra_accounts=extra)
        after, _ = accounts_cap(here.policy, raised, here.at)
        old = operator.extra_accounts
        return Change(
            writes=[raised],
            before={"accounts_cap": before.value},
            after={"accounts_cap": after.value, "until": instant_text(extra.until)},
            links=[operator.by_record if old is None else old.by_record],
            result={
                "accounts_cap": after.value,
                "until": instant_text(extra.until),
                "version": raised.version,
            },
            effects=[
                Effect(
                    "operator.cap_raised",
                    {
                        "operator_id": self.operator_id,
                        "accounts_cap": after.value,
                        "until": instant_text(extra.until),
                    },
                )
            ],
        )
