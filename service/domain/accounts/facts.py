"""What an account is: its row, its name, what it weighs, and what every act on an account looks at first."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from service.action import Action, Id, Need, Situation, Stand, Subject
from service.caller import Caller
from service.domain import staff
from service.domain.credentials import require_credential
from service.domain.operators import Operator
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.policy import Policy

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


class TierBasis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tier rests on, enough to reckon it again from the same edition (S078).

    `tier` is the tier without any override; `how` says whether the floor gave it or somebody ranked it. `parts` are the
    points of each input (S077), `missing` the inputs that nothing measures yet: their points are not in the parts.
    """

    how: Literal["floor", "ranked"]
    tier: int
    floor: int
    inputs: dict[str, str | int | None]
    parts: dict[str, int]
    missing: list[str]
    edition: str


class Weighed(msgspec.Struct, frozen=True):
    """The inputs of an account's tier, the points of each, and the tier no account with these facts may be below."""

    inputs: dict[str, str | int | None]
    parts: dict[str, int]
    floor: int

    def basis(self, how: Literal["floor", "ranked"], tier: int, policy: Policy) -> TierBasis:
        """The basis of a tier, which the floor beats (S080)."""
        return TierBasis(
            how=how,
            tier=max(tier, self.floor),
            floor=self.floor,
            inputs=self.inputs,
            parts=self.parts,
            missing=sorted(set(policy.tiers["account"].points) - set(self.parts)),
            edition=policy.edition,
        )


def weigh(policy: Policy, inputs: dict[str, str | int | None]) -> Weighed:
    """Look up points and floors of `class`, `quality`, `followers` and `reads_per_post`.

    The score of domain.md (g) also takes the operator's credit. Until credit is kept there is no score: the floor is
    all that the tables give, and what stands above it is set by a human or the backend (`account.rank`).
    """
    table = policy.tiers["account"]
    parts = {name: table.points[name].of(value) or 0 for name, value in inputs.items()}
    floors = [table.floors[name].of(value) for name, value in inputs.items() if name in table.floors]
    return Weighed(inputs, parts, max((floor for floor in floors if floor is not None), default=1))


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
    tier_basis: TierBasis | None = None
    override: TierOverride | None = None
    next_recheck_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    closed_how: Literal["owner", "measure", "refused"] | None = None
    by_record: str

    def with_(self, **facts: Any) -> Account:
        """The row with some facts changed and its version grown by one."""
        return msgspec.structs.replace(self, version=self.version + 1, **facts)

    def weighed(self, policy: Policy) -> Weighed:
        """What the account's facts weigh under an edition."""
        return weigh(
            policy,
            {
                "class": self.klass,
                "quality": self.quality,
                "followers": self.followers,
                "reads_per_post": self.reads_per_post,
            },
        )

    def ranked(self, here: Situation, basis: TierBasis, *, anew: bool = False) -> Account:
        """The row on a new basis: its tier, under an override that no floor has overtaken.

        The days to the next recheck begin again when the tier changes, or when the account was looked at `anew`.
        """
        over = self.override
        tier = basis.tier if over is None else max(over.tier, basis.floor)
        recheck = here.policy.tier_effect("account", "recheck_d", tier)
        next_recheck_at = self.next_recheck_at
        if anew or tier != self.tier or next_recheck_at is None:
            next_recheck_at = here.at + dt.timedelta(days=int(recheck or 0))
        return msgspec.structs.replace(
            self, tier=tier, tier_basis=basis, next_recheck_at=next_recheck_at, version=self.version + 1
        )


class NamedAccount(Row, frozen=True, kw_only=True):
    """The account that has or had a name; names are never given again (A5). Looked at, never written."""

    table = "account"
    key = ("name_key",)

    name_key: str
    account_id: str


def name_key(name: str) -> str:
    """A name as far as it distinguishes: letters and digits of its compatible form, without case, space and signs."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(char for char in folded if unicodedata.category(char)[0] in "LNM")


def require_class(here: Situation, operator: Operator, klass: AccountClass) -> None:
    """Refuse `credential_missing` where the operator may not run an account of this class (A3).

    Government is for operators of that kind; news, finance, education, health and law need a credential that holds now.
    The act has asked for the operator's `CredentialsOf`.
    """
    if klass == "government" and operator.kind != "government":
        raise Refusal(Code.CREDENTIAL_MISSING, needs="operator_kind_government", kind=operator.kind)
    require_credential(here, operator.operator_id, klass)


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
        """The operator, known by the account."""
        account = here.find(Account, self.account_id)
        return [] if account is None else [Need(Operator, (account.operator_id,), write=self.writes_operator)]

    def account(self, here: Situation) -> Account:
        """The account as it is now. Raises Refusal `unknown`."""
        return here.get(Account, self.account_id)

    def operator(self, here: Situation) -> Operator:
        """Its operator."""
        return here.get(Operator, self.account(here).operator_id)

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
