"""An account passes to another operator in two steps, checked as new, agreed to by the platform, and published (A1, S099, S100)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from service.action import Change, Effect, Id, Need, Situation, Stand, Subject
from service.clock import instant_text, later
from service.domain import staff
from service.domain.accounts.contracts import contract_ended, needs_of_contract
from service.domain.accounts.facts import Account, AccountAction, AccountOffer, require_class, weight_of
from service.domain.accounts.names import said_of
from service.domain.accounts.profile import freed, needs_of_pending
from service.domain.accounts.tiers import basis_said, crossing
from service.domain.allowances import level_need, require_credit, require_room
from service.domain.credentials import CredentialsOf
from service.domain.in_force import MeasuresOn
from service.domain.operators import Operator, require_identity
from service.domain.ownership.handover import freshly_verified
from service.domain.people import Person
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms


class SubjectChange(Row, frozen=True, kw_only=True):
    """A change of operator: public, only added (A1)."""

    table = "subject_change"
    key = ("account_id", "by_record")
    appended = True

    account_id: str
    by_record: str
    at: dt.datetime
    from_operator: str
    to_operator: str


def rested(here: Situation, account: Account) -> None:
    """Refuse `transfer_resting`, with the seconds left, too soon after the last transfer (`transfer_rest_d`)."""
    if account.transferred_at is None:
        return
    free_at = account.transferred_at + dt.timedelta(days=here.policy.parameters.transfer_rest_d)
    if here.at < free_at:
        raise Refusal(Code.TRANSFER_RESTING, seconds=int((free_at - here.at).total_seconds()))


def unblocked(here: Situation, account_id: str) -> None:
    """Refuse `transfer_blocked` (data: code, until) while a measure of rank 30 or above is in force on the account."""
    found = here.find(MeasuresOn, "account", account_id)
    heavy = None if found is None else found.blocking(here.policy, here.at)
    if heavy is not None:
        until = None if heavy.until is None else instant_text(heavy.until)
        raise Refusal(Code.TRANSFER_BLOCKED, measure=heavy.code, until=until)


class OfferAccountTransfer(AccountAction, frozen=True, kw_only=True, tag="account.offer_transfer"):
    """Offer the account to another operator, which has `account_transfer_offer_d` days; nothing changes yet (S099).

    A heavy measure in force blocks it; open cases and pending measures do here too once there are such.
    """

    operator_id: Id

    def about(self, here: Situation) -> dict[str, Subject]:
        """Both operators."""
        return {**super().about(here), "offered_to": Subject("operator", self.operator_id)}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also the operator that is to have it."""
        return [
            *super().needs(caller),
            Need(Operator, (self.operator_id,)),
            Need(MeasuresOn, ("account", self.account_id)),
        ]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `unknown`, `self_target`, `not_in_state` (waiting, or closing), `transfer_pending`, `transfer_blocked`,
        `transfer_resting`, `verification_stale`.
        """
        del terms
        account = self.accepted(here)
        here.get(Operator, self.operator_id)
        if self.operator_id == account.operator_id:
            raise Refusal(Code.SELF_TARGET, pointer="/operator_id")
        if account.closing_due_at is not None:
            raise Refusal(Code.NOT_IN_STATE, state="closing")
        before = account.offer
        if before is not None and before.open_at(here.at):
            raise Refusal(Code.TRANSFER_PENDING)
        unblocked(here, self.account_id)
        rested(here, account)
        freshly_verified(here, staff.acting(here))
        until = here.at + dt.timedelta(days=here.policy.parameters.account_transfer_offer_d)
        changed = account.with_(
            offer=AccountOffer(to=self.operator_id, until=until, by_record=here.record_id)
        )
        lapsed = before is not None and before.ended_how is None
        return Change(
            writes=[changed],
            before={"offer": "lapsed"} if lapsed else {},
            after={"offer": "open", "until": instant_text(until)},
            links=[account.by_record if before is None else before.by_record],
            result={"until": instant_text(until), "version": changed.version},
            effects=[
                Effect(
                    "account.transfer_offered",
                    {
                        "account_id": self.account_id,
                        "from": account.operator_id,
                        "to": self.operator_id,
                        "until": instant_text(until),
                    },
                )
            ],
        )


class _OfferAction(AccountAction, frozen=True, kw_only=True):
    """An act on the last offer; both operators are looked at."""

    def more(self, here: Situation) -> Sequence[Need]:
        account = here.find(Account, self.account_id)
        offer = None if account is None else account.offer
        other = (
            []
            if offer is None or account is None or offer.to == account.operator_id
            else [Need(Operator, (offer.to,), write=self.writes_operator)]
        )
        return [*super().more(here), *other]

    def about(self, here: Situation) -> dict[str, Subject]:
        account = here.find(Account, self.account_id)
        offer = None if account is None else account.offer
        return {
            **super().about(here),
            **({} if offer is None else {"offered_to": Subject("operator", offer.to)}),
        }

    def open_offer(self, here: Situation) -> AccountOffer:
        """The offer, still open. Raises Refusal `offer_lapsed`."""
        offer = self.account(here).offer
        if offer is None or not offer.open_at(here.at):
            raise Refusal(Code.OFFER_LAPSED)
        return offer


class _Answer(_OfferAction, frozen=True, kw_only=True):
    def stand(self, here: Situation) -> Stand:
        """The addressee stands as owner: who answers for the operator to which the account was offered last."""
        account, operator = self.account(here), self.operator(here)
        receiver = operator if account.offer is None else here.get(Operator, account.offer.to)
        answers = receiver.answerable_person
        stood = staff.stand(
            here,
            parties=(f"person:{operator.answerable_person}", f"person:{answers}"),
            own=here.caller.person_id == answers,
        )
        return stood._replace(
            tier=account.tier,
            klass=account.klass,
            jurisdiction=account.jurisdiction,
            version=account.version,
            gone=None if account.closed_at is None else Code.ACCOUNT_CLOSED,
        )


class AcceptAccountTransfer(_Answer, frozen=True, kw_only=True, tag="account.accept_transfer"):
    """Take the account over, checked as if new, with the platform's yes; all is looked at again then (S099, S115).

    The change of operator is public. Monetisation stays off for `subject_change_monetisation_months`, whatever the record of
    the new operator (S100); the account is due for a recheck at once, and its tier takes the new operator's credit. What the
    old operator asked for and agreed to ends: a change of profile that waits, the contract with an MCN.
    """

    demands_version: ClassVar[bool] = True
    writes_operator: ClassVar[bool] = True

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The caller locked: nobody who takes over closes meanwhile."""
        person = [Need(Person, (caller.person_id,), write=True)] if caller.kind == "person" else []
        return [*super().needs(caller), *person, Need(MeasuresOn, ("account", self.account_id))]

    def more(self, here: Situation) -> Sequence[Need]:
        """Also what is asked of whoever has an account, and what ends."""
        account = here.find(Account, self.account_id)
        if account is None:
            return ()
        offer = account.offer
        asked = [] if offer is None else [Need(CredentialsOf, (offer.to,)), level_need(offer.to)]
        return [*super().more(here), *asked, *needs_of_pending(account), *needs_of_contract(account)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `identity_unverified`, `credit_too_low`, `credential_missing`, `offer_lapsed`, `transfer_blocked`,
        `transfer_resting`, `verification_stale`, `cap_accounts`.

        A heavy measure in force blocks it; blacklists, open cases and pending measures do here too once there are such.
        """
        del terms
        account, giver = self.account(here), self.operator(here)
        offer = self.open_offer(here)
        receiver = here.get(Operator, offer.to)
        require_identity(here, receiver)
        require_credit(here, receiver, "account_credit_min")
        require_class(here, receiver, account.klass)
        unblocked(here, self.account_id)
        rested(here, account)
        freshly_verified(here, staff.acting(here))
        require_room(here, receiver)
        until = later(here.at, here.policy.parameters.subject_change_monetisation_months)
        eligible_at = max(until, account.monetisation_eligible_at or until)
        changed = msgspec.structs.replace(
            account,
            operator_id=receiver.operator_id,
            offer=msgspec.structs.replace(offer, ended_how="accepted"),
            transferred_at=here.at,
            monetisation_eligible_at=eligible_at,
            pending_profile=None,
            mcn_id=None,
            mcn_record=None,
            mcn_agreed=None,
        )
        ranked = changed.ranked(here, weight_of(here, receiver))
        ranked = msgspec.structs.replace(ranked, next_recheck_at=here.at)
        published = SubjectChange(
            account_id=self.account_id,
            by_record=here.record_id,
            at=here.at,
            from_operator=giver.operator_id,
            to_operator=receiver.operator_id,
        )
        counts = (
            ("operator", giver, giver.with_(account_count=giver.account_count - 1)),
            ("offered_to", receiver, receiver.with_(account_count=receiver.account_count + 1)),
        )
        ended, names = contract_ended(here, account), freed(here, account)
        return Change(
            writes=[
                *(after for _, _, after in counts),
                ranked,
                published,
                *names,
                *ended,
            ],
            before={"operator": "operator"},
            after={
                "operator": "offered_to",
                "published": True,
                "monetisation_eligible_at": instant_text(eligible_at),
                "next_recheck_at": instant_text(here.at),
                **({"pending": "dropped"} if account.pending_profile is not None else {}),
                **({"mcn": "ended"} if ended else {}),
                **said_of(names),
                **basis_said(ranked),
            },
            coupled=[
                {
                    "id": place,
                    "what": "accounts_counted",
                    "of": of,
                    "before": before.account_count,
                    "after": after.account_count,
                }
                for place, (of, before, after) in enumerate(counts, 1)
            ],
            links=[offer.by_record, *([] if account.mcn_record is None else [account.mcn_record])],
            result={
                "operator_id": receiver.operator_id,
                "monetisation_eligible_at": instant_text(eligible_at),
                "tier": ranked.tier,
                "version": ranked.version,
            },
            effects=[
                Effect(
                    "account.operator_changed",
                    {
                        "account_id": self.account_id,
                        "from": giver.operator_id,
                        "to": receiver.operator_id,
                        "monetisation_eligible_at": instant_text(eligible_at),
                    },
                )
            ],
            follows=crossing(here, account, ranked),
        )


class DeclineAccountTransfer(_Answer, frozen=True, kw_only=True, tag="account.decline_transfer"):
    """Say no to an offer."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `offer_lapsed`."""
        del terms
        return _offer_ended(self.account(here), self.open_offer(here), "declined")


class WithdrawAccountTransfer(_OfferAction, frozen=True, kw_only=True, tag="account.withdraw_transfer"):
    """Take an offer back while it is open; an acceptance that waits for approval then comes to nothing."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `offer_lapsed`."""
        del terms
        return _offer_ended(self.account(here), self.open_offer(here), "withdrawn")


class ExpireAccountTransfer(_OfferAction, frozen=True, kw_only=True, tag="account.expire_transfer"):
    """Nobody answered in time: the offer lapses (S015)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it was ended by hand or is not over (S016)."""
        del terms
        account = self.account(here)
        offer = account.offer
        if offer is None or offer.ended_how is not None or offer.open_at(here.at):
            raise Refusal(Code.NOT_IN_STATE)
        return _offer_ended(account, offer, "lapsed")


def _offer_ended(
    account: Account, offer: AccountOffer, how: Literal["declined", "withdrawn", "lapsed"]
) -> Change:
    """The change that ends an offer and names the act whose end it is."""
    changed = account.with_(offer=msgspec.structs.replace(offer, ended_how=how))
    payload: dict[str, Any] = {"account_id": account.account_id, "to": offer.to, "how": how}
    return Change(
        writes=[changed],
        before={"offer": "open", "until": instant_text(offer.until)},
        after={"offer": how},
        links=[offer.by_record],
        result={"offer": how, "version": changed.version},
        effects=[Effect("account.transfer_ended", payload)],
    )


__all__ = [
    "AcceptAccountTransfer",
    "DeclineAccountTransfer",
    "ExpireAccountTransfer",
    "OfferAccountTransfer",
    "SubjectChange",
    "WithdrawAccountTransfer",
]
