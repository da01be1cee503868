"""What an account is: its row, its name, what it weighs, and what every act on an account looks at first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from service.action import Action, Id, Need, Situation, Stand, Subject
from service.caller import Caller
from service.domain import allowances, credit, staff, tiers
from service.domain.accounts.names import NameCheck
from service.domain.credentials import require_credential
from service.domain.notices import Notice, of_act
from service.domain.operators import Operator
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    pass

AccountClass = Literal[
    "news",
    "government",
    "finance",
    "education",
    "health",
    "law",
    "commerce",
    "culture",
    "entertainment",
    "science",
    "life",
    "other",
]


class TierOverride(msgspec.Struct, frozen=True, kw_only=True):
    """A tier set by hand over the ranked one, until an end (S081)."""

    tier: int
    until: dt.datetime
    by_record: str


class PendingProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The profile that the operator asked for and nobody has checked yet (S094), whole; by which record."""

    name: str
    name_key: str
    klass: AccountClass
    profile: str
    name_check: NameCheck | None
    by_record: str


class AccountOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer offered to another operator; open until `until`, or until it ended otherwise."""

    to: str
    until: dt.datetime
    by_record: str
    ended_how: Literal["accepted", "declined", "withdrawn", "lapsed"] | None = None

    def open_at(self, at: dt.datetime) -> bool:
        """Whether it can be answered; it holds at its end and lapses after it."""
        return self.ended_how is None and at <= self.until


class Agreed(msgspec.Struct, frozen=True, kw_only=True):
    """The MCN by which an account's operator agreed to be signed, and the record of that."""

    mcn_id: str
    by_record: str


@subject
class Account(Row, frozen=True, kw_only=True):
    """A public account: it addresses an unlimited public. Waiting until accepted or refused."""

    table = "account"
    key = ("account_id",)

    account_id: str
    name: str
    name_key: str
    klass: AccountClass
    operator_id: str
    profile: str
    jurisdiction: str
    created_at: dt.datetime
    version: int = 1
    accepted_at: dt.datetime | None = None
    refused_at: dt.datetime | None = None
    followers: int = 0
    reads_per_post: int = 0
    quality: int | None = None
    quality_source: str | None = None
    last_used_at: dt.datetime | None = None
    tier: int | None = None
    tier_basis: tiers.Basis | None = None
    override: TierOverride | None = None
    next_recheck_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    closed_how: Literal["owner", "measure", "refused"] | None = None
    by_record: str
    name_check: NameCheck | None = None
    pending_profile: PendingProfile | None = None
    offer: AccountOffer | None = None
    transferred_at: dt.datetime | None = None
    monetisation_eligible_at: dt.datetime | None = None
    closing_due_at: dt.datetime | None = None
    mcn_agreed: Agreed | None = None
    mcn_id: str | None = None
    mcn_record: str | None = None

    def with_(self, **facts: Any) -> Account:
        """The row with some facts changed and its version grown by one."""
        return msgspec.structs.replace(self, version=self.version + 1, **facts)

    def inputs(self, level: str) -> dict[str, tiers.Fact]:
        """What its tier is computed from, by the names of tiers.csv; `level`: the operator's credit (S077)."""
        return {
            "class": self.klass,
            "quality": self.quality,
            "followers": self.followers,
            "reads_per_post": self.reads_per_post,
            "operator_credit": level,
        }

    def ranked(self, here: Situation, level: str, *, first: bool = False, anew: bool = False) -> Account:
        """The row with its tier computed on its present facts; an override stands over it, never below a floor (S080).

        `first`: it held no tier before. The days to the next recheck begin again when the tier changes, or when the
        account was looked at `anew`.
        """
        old = self.tier_basis
        basis = tiers.rank(
            here.policy,
            "account",
            self.inputs(level),
            at=here.at,
            held=None if first else self.tier if old is None else old.tier,
            lower=None if old is None else old.waiting,
            record=here.record_id,
        )
        tier = tiers.in_force(basis, None if self.override is None else self.override.tier)
        next_recheck_at = self.next_recheck_at
        if anew or tier != self.tier or next_recheck_at is None:
            days = here.policy.tier_effect("account", "recheck_d", tier)
            next_recheck_at = here.at + dt.timedelta(days=int(days or 0))
        return self.with_(tier=tier, tier_basis=basis, next_recheck_at=next_recheck_at)


def needs_credential(policy: tiers.Edition, klass: str) -> bool:
    """Whether an edition holds a class to be a regulated field, one whose accounts need a credential (A3).

    It says so by putting a floor under the class in tiers.csv: news, finance, education, health and law, and government,
    where the kind of the operator stands for the credential.
    """
    return policy.tiers["account"].floors["class"].of(klass) is not None


def require_class(here: Situation, operator: Operator, klass: AccountClass) -> None:
    """Refuse `credential_missing` where the operator may not run an account of this class (A3).

    Government is for operators of that kind; news, finance, education, health and law need a credential that holds now.
    The act has asked for the operator's `CredentialsOf`.
    """
    if klass == "government" and operator.kind != "government":
        raise Refusal(Code.CREDENTIAL_MISSING, needs="operator_kind_government", kind=operator.kind)
    require_credential(here, operator.operator_id, klass)


def weight_of(here: Situation, operator: Operator) -> str:
    """The level of an operator's credit as tiers take it; the act has asked for `allowances.level_need` (S077, O2)."""
    ledger = here.find(credit.Credit, "operator", operator.operator_id)
    verified = operator.identity_status == "verified"
    return credit.weight(here.policy.parameters, None if ledger is None else ledger.score, verified=verified)


class AccountAction(Action, frozen=True, kw_only=True):
    """An act on one account; the answerable person of its operator stands as owner to it."""

    #: Whether the act may change the operator's row (its count of accounts).
    writes_operator: ClassVar[bool] = False

    account_id: Id

    def target(self, here: Situation) -> Subject:
        """The account; its operator stands beside it."""
        return Subject("account", self.account_id)

    def about(self, here: Situation) -> dict[str, Subject]:
        """The operator."""
        account = here.find(Account, self.account_id)
        return {} if account is None else {"operator": Subject("operator", account.operator_id)}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The account and the caller."""
        return [Need(Account, (self.account_id,), write=True), *staff.needs_of(caller)]

    def more(self, here: Situation) -> Sequence[Need]:
        """The operator, known by the account, and its credit."""
        account = here.find(Account, self.account_id)
        if account is None:
            return []
        operator_id = account.operator_id
        return [
            Need(Operator, (operator_id,), write=self.writes_operator),
            allowances.level_need(operator_id),
        ]

    def account(self, here: Situation) -> Account:
        """The account as it is now. Raises Refusal `unknown`."""
        return here.get(Account, self.account_id)

    def operator(self, here: Situation) -> Operator:
        """Its operator."""
        return here.get(Operator, self.account(here).operator_id)

    def credit_level(self, here: Situation) -> str:
        """The level of the operator's credit, which its accounts' tiers take (S077, O2)."""
        return weight_of(here, self.operator(here))

    def refused_notice(self, here: Situation, *, asked: str, number: int = 1, **said: Any) -> Notice:
        """The notice that something asked of the platform for the account is refused, to who answers for its operator."""
        account = self.account(here)
        facts = {"asked": asked, **said.pop("facts")}
        return of_act(
            here,
            "refused",
            to=self.operator(here).answerable_person,
            about=self.target(here),
            jurisdiction=account.jurisdiction,
            facts=facts,
            number=number,
            **said,
        )

    def accepted(self, here: Situation) -> Account:
        """The account, accepted. Raises Refusal `unknown`, `not_in_state`."""
        account = self.account(here)
        if account.accepted_at is None:
            raise Refusal(Code.NOT_IN_STATE, state="waiting")
        return account

    def stand(self, here: Situation) -> Stand:
        """Owner or stranger; whoever is the answerable person's human is not apart."""
        account, operator = self.account(here), self.operator(here)
        return staff.stand(
            here,
            parties=(f"person:{operator.answerable_person}",),
            own=here.caller.person_id == operator.answerable_person,
        )._replace(
            tier=account.tier,
            klass=account.klass,
            jurisdiction=account.jurisdiction,
            version=account.version,
            gone=None if account.closed_at is None else Code.ACCOUNT_CLOSED,
        )
