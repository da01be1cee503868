"""Contracts of accounts with MCNs: signed by both sides, kept as intervals, named on the card (S107)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from service.action import Action, Change, Effect, Id, Need, Situation, Stand, Subject
from service.domain import staff
from service.domain.accounts.facts import Account, Agreed
from service.domain.operators import Operator
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms


class Contract(Row, frozen=True, kw_only=True):
    """One contract of an account with an MCN; open while `until_at` is null."""

    table = "mcn_contract"
    key = ("account_id", "by_record")

    account_id: str
    by_record: str
    mcn_id: str
    from_at: dt.datetime
    until_at: dt.datetime | None = None
    ended_record: str | None = None


class OpenContract(Row, frozen=True, kw_only=True):
    """The contract of an account that runs. Looked at, never written."""

    table = "mcn_contract"
    key = ("account_id",)
    only = "t.until_at IS NULL"

    account_id: str
    by_record: str
    mcn_id: str
    from_at: dt.datetime


def needs_of_contract(account: Account) -> list[Need]:
    """The row of the contract that runs, if any."""
    return [] if account.mcn_id is None else [Need(OpenContract, (account.account_id,))]


def contract_ended(here: Situation, account: Account) -> list[Row]:
    """The contract that runs, ended now; none where there is none."""
    runs = None if account.mcn_id is None else here.find(OpenContract, account.account_id)
    if runs is None:
        return []
    return [Contract(**msgspec.structs.asdict(runs), until_at=here.at, ended_record=here.record_id)]


class _ContractAction(Action, frozen=True, kw_only=True):
    """An act between an MCN and the operator of an account: who answers for either stands as owner."""

    operator_id: Id
    account_id: Id

    def target(self, here: Situation) -> Subject:
        """The MCN; the account and its operator stand beside it."""
        del here
        return Subject("operator", self.operator_id)

    def about(self, here: Situation) -> dict[str, Subject]:
        """The account and its operator."""
        account = here.find(Account, self.account_id)
        known = {} if account is None else {"account_operator": Subject("operator", account.operator_id)}
        return {"account": Subject("account", self.account_id), **known}

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [
            Need(Operator, (self.operator_id,)),
            Need(Account, (self.account_id,), write=True),
            *staff.needs_of(caller),
        ]

    def more(self, here: Situation) -> Sequence[Need]:
        """The account's operator, and the contract that runs."""
        account = here.find(Account, self.account_id)
        return (
            [] if account is None else [Need(Operator, (account.operator_id,)), *needs_of_contract(account)]
        )

    def answers(self, here: Situation) -> tuple[str, str]:
        """Who answers for the MCN, and who for the account's operator. Raises Refusal `unknown`."""
        account = here.get(Account, self.account_id)
        mcn, operator = here.get(Operator, self.operator_id), here.get(Operator, account.operator_id)
        return mcn.answerable_person, operator.answerable_person

    def stand(self, here: Situation) -> Stand:
        answers = self.answers(here)
        account, mcn = here.get(Account, self.account_id), here.get(Operator, self.operator_id)
        return staff.stand(
            here,
            parties=tuple(f"person:{one}" for one in answers),
            own=here.caller.person_id in answers,
        )._replace(
            jurisdiction=mcn.jurisdiction,
            version=mcn.version,
            gone=None if account.closed_at is None else Code.ACCOUNT_CLOSED,
        )


class SignAccount(_ContractAction, frozen=True, kw_only=True, tag="operator.sign_account"):
    """Both sides sign: first who answers for the account's operator agrees, then who answers for the MCN (S107).

    The contract runs from the second signature, and the MCN stands on the account's card. Nobody signs for two sides at once:
    one person who answers for both signs twice.
    """

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_mcn`, `self_target`, `not_in_state` (the account waits), `already_in_state`, `consent_missing`."""
        del terms
        account, mcn = here.get(Account, self.account_id), here.get(Operator, self.operator_id)
        if not mcn.is_mcn:
            raise Refusal(Code.NOT_MCN)
        if mcn.operator_id == account.operator_id:
            raise Refusal(Code.SELF_TARGET)
        if account.accepted_at is None:
            raise Refusal(Code.NOT_IN_STATE, state="waiting")
        if account.mcn_id is not None:
            raise Refusal(Code.ALREADY_IN_STATE)
        of_mcn, of_account = self.answers(here)
        agreed = account.mcn_agreed
        consent = agreed is not None and agreed.mcn_id == self.operator_id
        if here.caller.person_id == of_mcn and consent and agreed is not None:
            return self._signed(here, account, agreed)
        if here.caller.person_id != of_account:
            raise Refusal(Code.CONSENT_MISSING)
        if consent:
            raise Refusal(Code.ALREADY_IN_STATE)
        changed = account.with_(mcn_agreed=Agreed(mcn_id=self.operator_id, by_record=here.record_id))
        return Change(
            writes=[changed],
            before={} if agreed is None else {"agreed": "another"},
            after={"agreed": "target"},
            links=[account.by_record if agreed is None else agreed.by_record],
            result={"mcn": "agreed", "account_version": changed.version},
            effects=[
                Effect("account.mcn_agreed", {"account_id": self.account_id, "mcn_id": self.operator_id})
            ],
        )

    def _signed(self, here: Situation, account: Account, agreed: Agreed) -> Change:
        contract = Contract(
            account_id=self.account_id,
            by_record=here.record_id,
            mcn_id=self.operator_id,
            from_at=here.at,
        )
        changed = account.with_(mcn_agreed=None, mcn_id=self.operator_id, mcn_record=here.record_id)
        return Change(
            writes=[changed, contract],
            before={"agreed": "target"},
            after={"signed": "account"},
            links=[agreed.by_record],
            result={"mcn": "signed", "account_version": changed.version},
            effects=[
                Effect("account.mcn_signed", {"account_id": self.account_id, "mcn_id": self.operator_id})
            ],
        )


class ReleaseAccount(_ContractAction, frozen=True, kw_only=True, tag="operator.release_account"):
    """Either side ends the contract, or takes back what it agreed to; a pending measure stops it here once there are measures."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (no contract and no agreement with this MCN)."""
        del terms
        account = here.get(Account, self.account_id)
        agreed = account.mcn_agreed
        if account.mcn_id == self.operator_id and account.mcn_record is not None:
            changed = account.with_(mcn_id=None, mcn_record=None)
            writes, before, link = contract_ended(here, account), "signed", account.mcn_record
        elif agreed is not None and agreed.mcn_id == self.operator_id:
            changed = account.with_(mcn_agreed=None)
            writes, before, link = [], "agreed", agreed.by_record
        else:
            raise Refusal(Code.NOT_IN_STATE)
        return Change(
            writes=[changed, *writes],
            before={"mcn": before},
            after={"mcn": "released"},
            links=[link],
            result={"mcn": "released", "account_version": changed.version},
            effects=[
                Effect("account.mcn_released", {"account_id": self.account_id, "mcn_id": self.operator_id})
            ],
        )
