"""How an account comes to be: registered, then accepted or refused by a human who has no part in it; and its facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from service.action import (
    Change,
    Effect,
    Id,
    Instant,
    Jurisdiction,
    Need,
    Note,
    Reason,
    Situation,
    Stand,
    Subject,
)
from service.caller import Caller
from service.clock import instant_text, truncated
from service.domain import staff, tiers
from service.domain.accounts.facts import (
    Account,
    AccountAction,
    AccountClass,
    require_class,
)
from service.domain.accounts.names import (
    Compared,
    name_check,
    needs_of_name,
    require_free,
    require_human,
    seen_beside,
    taken,
    told,
)
from service.domain.accounts.tiers import crossing
from service.domain.allowances import level_need, require_credit, require_room
from service.domain.credentials import NEEDED, CredentialsOf
from service.domain.identity import refuse_raw
from service.domain.names import name_key, refuse_unseen
from service.domain.notices import listed, reason_said
from service.domain.operators import Operator, require_identity
from service.domain.people import Person
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Policy, Terms

Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class RegisterAccount(AccountAction, frozen=True, kw_only=True, tag="account.register"):
    """An operator asks for an account; it waits for a check and counts against the cap at once (A4, S098)."""

    created: ClassVar[bool] = True

    operator_id: Id
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    klass: AccountClass = msgspec.field(name="class")
    profile: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    jurisdiction: Jurisdiction

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (a name without letter or digit, or with control characters), `raw_identity`."""
        refuse_raw("/name", self.name)
        refuse_unseen(self.name)
        if not name_key(self.name):
            raise Refusal(Code.MALFORMED, pointer="/name", why="holds no letter or digit")

    def asked(self) -> dict[str, str]:
        return {"class": self.klass, "jurisdiction": self.jurisdiction}

    def about(self, here: Situation) -> dict[str, Subject]:
        """The operator, by what was asked."""
        return {"operator": Subject("operator", self.operator_id)}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also the operator, whose cap this may use up, and whoever has the name."""
        person = [Need(Person, (caller.person_id,), write=True)] if caller.kind == "person" else []
        return [
            *super().needs(caller),
            *person,
            Need(Operator, (self.operator_id,), write=True),
            level_need(self.operator_id),
            Need(CredentialsOf, (self.operator_id,)),
            *needs_of_name(name_key(self.name), write=True),
        ]

    def more(self, here: Situation) -> Sequence[Need]:
        """Who answers for the operator: closing that person waits, or finds the account."""
        operator = here.find(Operator, self.operator_id)
        return [] if operator is None else [Need(Person, (operator.answerable_person,), write=True)]

    def stand(self, here: Situation) -> Stand:
        operator = here.get(Operator, self.operator_id)
        return staff.stand(
            here,
            parties=(f"person:{operator.answerable_person}",),
            own=here.caller.person_id == operator.answerable_person,
        )._replace(jurisdiction=self.jurisdiction, klass=self.klass)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `person_closed`, `identity_unverified`, `credit_too_low`, `credential_missing`, `already_exists`, `name_reserved`,
        `cap_accounts`.
        """
        operator = here.get(Operator, self.operator_id)
        if here.get(Person, operator.answerable_person).closed_at is not None:
            raise Refusal(Code.PERSON_CLOSED)
        require_identity(here, operator)
        require_credit(here, operator, "account_credit_min")
        require_class(here, operator, self.klass)
        if here.find(Account, self.account_id) is not None:
            raise Refusal(Code.ALREADY_EXISTS)
        require_free(here, name_key(self.name), self.account_id)
        require_room(here, operator)
        account = Account(
            account_id=self.account_id,
            name=self.name,
            name_key=name_key(self.name),
            klass=self.klass,
            operator_id=self.operator_id,
            profile=self.profile,
            jurisdiction=self.jurisdiction,
            created_at=here.at,
            by_record=here.record_id,
            name_check=name_check(here, self.account_id, self.name, self.klass),
        )
        return Change(
            writes=[
                operator.with_(account_count=operator.account_count + 1),
                account,
                *taken(here, self.account_id, self.name),
            ],
            after={"class": account.klass, "state": "waiting", **told(account.name_check)},
            about=seen_beside(account.name_check),
            coupled=[
                {
                    "id": 1,
                    "what": "accounts_counted",
                    "of": "operator",
                    "before": operator.account_count,
                    "after": operator.account_count + 1,
                }
            ],
            personal={"name": account.name, **({"profile": account.profile} if account.profile else {})},
            result={
                "state": "waiting",
                "version": account.version,
                **({} if account.name_check is None else {"name_check": "human"}),
            },
            effects=[
                Effect("account.waiting", {"account_id": self.account_id, "operator_id": self.operator_id})
            ],
        )


class AcceptAccount(AccountAction, frozen=True, kw_only=True, tag="account.accept"):
    """A classifier without a part in it accepts the account (S092, S093: never automation). It is ranked on its facts.

    Where the name looks like others, `compared_with` says beside which it was seen: the accounts of `GET /v1/name-checks`.
    """

    compared_with: Compared = []
    reason: Reason | None = None
    note: Note | None = None

    def more(self, here: Situation) -> Sequence[Need]:
        """Also what the operator may show for the class, and who else is called like that."""
        account = here.find(Account, self.account_id)
        if account is None:
            return ()
        shown = Need(CredentialsOf, (account.operator_id,))
        return [*super().more(here), shown, *needs_of_name(account.name_key)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `identity_unverified`, `credential_missing`, `human_needed`, `already_in_state`."""
        del terms
        account, operator = self.account(here), self.operator(here)
        require_identity(here, operator)
        require_class(here, operator, account.klass)
        if account.accepted_at is not None:
            raise Refusal(Code.ALREADY_IN_STATE)
        ranked = account.ranked(here, self.credit_level(here), first=True)
        check = name_check(here, self.account_id, account.name, account.klass)
        by_tier = here.policy.tier_effect("account", "name_check", ranked.tier or 4) == "human"
        require_human(here, check, self.compared_with, by_tier=by_tier)
        accepted = msgspec.structs.replace(ranked, accepted_at=here.at, name_check=None)
        return Change(
            writes=[accepted],
            before={"state": "waiting"},
            after={
                "state": "accepted",
                "tier": accepted.tier,
                "tier_basis": msgspec.to_builtins(accepted.tier_basis),
                "next_recheck_at": _text(accepted),
                **told(check),
            },
            about=seen_beside(check),
            links=[account.by_record],
            result={
                "state": "accepted",
                "tier": accepted.tier,
                "next_recheck_at": _text(accepted),
                "version": accepted.version,
            },
            effects=[Effect("account.accepted", {"account_id": self.account_id, "tier": accepted.tier})],
        )


class RefuseAccount(AccountAction, frozen=True, kw_only=True, tag="account.refuse"):
    """A classifier refuses an account that waits, with a notice of reasons; its place is free again (S098), its name stays reserved
    (A5).
    """

    writes_operator: ClassVar[bool] = True

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (accepted already)."""
        account, operator = self.account(here), self.operator(here)
        if account.accepted_at is not None:
            raise Refusal(Code.NOT_IN_STATE, state="accepted")
        why = reason_said(here, self.reason)
        needed = NEEDED.get(account.klass) if self.reason == "credential_missing" else None
        notice = self.refused_notice(
            here,
            asked="registration",
            number=2,
            facts={"class": account.klass, "reason": self.reason},
            basis=terms.basis,
            explanation={
                "zh": f"账号注册申请未通过审核。原因：{why['zh']}。",
                "en": f"The account that was asked for is not accepted. Reason: {why['en']}.",
            },
            remedy={
                "zh": "补正后可用其他账号标识和名称重新申请；原名称保留，不再分配。",
                "en": "It may be asked for again under another id and name, with what was wrong put right; the name stays reserved.",
            },
            papers=[] if needed is None else [f"credential:{needed}"],
        )
        refused = account.with_(refused_at=here.at, closed_at=here.at, closed_how="refused")
        return Change(
            writes=[operator.with_(account_count=operator.account_count - 1), refused, notice],
            before={"state": "waiting"},
            after={"state": "refused"},
            coupled=[
                {
                    "id": 1,
                    "what": "accounts_counted",
                    "of": "operator",
                    "before": operator.account_count,
                    "after": operator.account_count - 1,
                },
                listed(2),
            ],
            about={"answerable": Subject("person", operator.answerable_person)},
            links=[account.by_record],
            result={"state": "refused", "version": refused.version},
            effects=[
                Effect("account.refused", {"account_id": self.account_id, "reason": self.reason}),
                notice.effect(),
            ],
        )


class UpdateAccountFacts(AccountAction, frozen=True, kw_only=True, tag="account.update_facts"):
    """Facts as the backend counts them; what is not named stays. A tier they move has a record of its own (S079, S082).

    `quality` null: unknown. `last_used_at` never goes back.
    """

    followers: Count | None = None
    reads_per_post: Count | None = None
    quality: Annotated[int, msgspec.Meta(ge=0, le=100)] | UnsetType | None = UNSET
    quality_source: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] | None = None
    last_used_at: Instant | None = None

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (no fact named; a count no platform has; a quality without source, or a source without)."""
        if (self.followers, self.reads_per_post, self.last_used_at) == (
            None,
            None,
            None,
        ) and self.quality is UNSET:
            raise Refusal(Code.MALFORMED, pointer="", why="names no fact")
        if isinstance(self.quality, int) != (self.quality_source is not None):
            raise Refusal(Code.MALFORMED, pointer="/quality_source", why="a quality has a source")
        for name in ("followers", "reads_per_post"):
            most, given = int(policy.parameter(f"{name}_max")), getattr(self, name)
            if given is not None and given > most:
                raise Refusal(Code.MALFORMED, pointer=f"/{name}", why="more than is possible", maximum=most)

    def asked(self) -> dict[str, int]:
        counts = {"followers": self.followers, "reads_per_post": self.reads_per_post}
        return {name: value for name, value in counts.items() if value is not None}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `malformed` (used in the future)."""
        account = self.account(here)
        facts: dict[str, Any] = {}
        if self.followers is not None:
            facts["followers"] = self.followers
        if self.reads_per_post is not None:
            facts["reads_per_post"] = self.reads_per_post
        if self.quality is not UNSET:
            facts |= {"quality": self.quality, "quality_source": self.quality_source}
        if self.last_used_at is not None:
            if self.last_used_at > here.at:
                raise Refusal(Code.MALFORMED, pointer="/last_used_at", why="in the future")
            used_at = truncated(self.last_used_at)
            facts["last_used_at"] = max(used_at, account.last_used_at or used_at)
        changed = msgspec.structs.replace(account, **facts)
        if account.accepted_at is None:
            changed = changed.with_()
        else:
            changed = changed.ranked(here, self.credit_level(here))
        coupled: list[dict[str, Any]] = []
        if changed.tier != account.tier:
            coupled.append(
                {"id": 1, "what": "ranked", "of": "target", "before": account.tier, "after": changed.tier}
            )
        basis = {} if changed.tier_basis is None else {"tier_basis": tiers.told(changed.tier_basis)}
        return Change(
            writes=[changed],
            before=_counted(account),
            after={**_counted(changed), **basis},
            coupled=coupled,
            personal={} if self.quality_source is None else {"quality_source": self.quality_source},
            result={"tier": changed.tier, "version": changed.version},
            follows=crossing(here, account, changed),
        )


def _counted(account: Account) -> dict[str, Any]:
    return {
        "followers": account.followers,
        "reads_per_post": account.reads_per_post,
        "quality": account.quality,
        "last_used_at": None if account.last_used_at is None else instant_text(account.last_used_at),
    }


def _text(account: Account) -> str | None:
    return None if account.next_recheck_at is None else instant_text(account.next_recheck_at)
