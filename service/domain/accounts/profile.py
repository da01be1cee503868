"""What an account is called and says of itself: a change waits for the same check as registration (S094); and its rechecks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from service.action import Change, Effect, Id, Need, Note, Reason, Situation, Subject
from service.clock import instant_text
from service.domain.accounts.facts import (
    Account,
    AccountAction,
    AccountClass,
    PendingProfile,
    require_class,
)
from service.domain.accounts.names import (
    AccountName,
    Compared,
    NamedAccount,
    name_check,
    needs_of_name,
    require_free,
    require_human,
    said_of,
    seen_beside,
    taken,
    told,
)
from service.domain.accounts.tiers import basis_said, crossing
from service.domain.credentials import NEEDED, CredentialsOf
from service.domain.identity import refuse_raw
from service.domain.names import name_key, refuse_unseen
from service.domain.notices import listed, reason_said
from service.domain.operators import require_identity
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms


class FormerProfile(Row, frozen=True, kw_only=True):
    """What an account was called and said of itself until a change was accepted; kept, only added (S094)."""

    table = "former_profile"
    key = ("account_id", "by_record")
    appended = True

    account_id: str
    by_record: str
    name: str
    klass: AccountClass
    profile: str
    until_at: dt.datetime


class UpdateProfile(AccountAction, frozen=True, kw_only=True, tag="account.update_profile"):
    """The operator asks for another name, class or profile; the old one is shown until a human has accepted it (S094).

    What is not named stays. Asking again replaces what waits. An open case on the account stops it here once there are cases.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] | None = None
    klass: AccountClass | None = msgspec.field(name="class", default=None)
    profile: Annotated[str, msgspec.Meta(max_length=1000)] | None = None

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (nothing named; a name without letter or digit, or with control characters), `raw_identity`."""
        del policy
        if {self.name, self.klass, self.profile} == {None}:
            raise Refusal(Code.MALFORMED, pointer="", why="names nothing")
        refuse_raw("/name", self.name)
        refuse_unseen(self.name)
        if self.name is not None and not name_key(self.name):
            raise Refusal(Code.MALFORMED, pointer="/name", why="holds no letter or digit")

    def asked(self) -> dict[str, str]:
        return {} if self.klass is None else {"class": self.klass}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also who has the name, and what looks like it."""
        names = [] if self.name is None else needs_of_name(name_key(self.name), write=True)
        return [*super().needs(caller), *names]

    def more(self, here: Situation) -> Sequence[Need]:
        """Also what the operator may show for the class, the present name, and the name asked for before."""
        account = here.find(Account, self.account_id)
        if account is None:
            return ()
        found = [*super().more(here), Need(CredentialsOf, (account.operator_id,))]
        if self.name is None:
            found += needs_of_name(account.name_key)
        return [*found, *needs_of_pending(account)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (waiting), `identity_unverified`, `credential_missing`, `already_in_state`, `name_reserved`."""
        del terms
        account, operator = self.accepted(here), self.operator(here)
        name = account.name if self.name is None else self.name
        klass = account.klass if self.klass is None else self.klass
        profile = account.profile if self.profile is None else self.profile
        require_identity(here, operator)
        require_class(here, operator, klass)
        if (name, klass, profile) == (account.name, account.klass, account.profile):
            raise Refusal(Code.ALREADY_IN_STATE)
        key = name_key(name)
        require_free(here, key, self.account_id)
        check = None
        if (key, klass) != (account.name_key, account.klass):
            check = name_check(here, self.account_id, name, klass)
        pending = PendingProfile(
            name=name,
            name_key=key,
            klass=klass,
            profile=profile,
            name_check=check,
            by_record=here.record_id,
        )
        before = account.pending_profile
        changed = account.with_(pending_profile=pending)
        names = [*freed(here, account, but=key), *taken(here, self.account_id, name)]
        return Change(
            writes=[changed, *names],
            before={} if before is None else {"pending": _differing(account, before)},
            after={"pending": _differing(account, pending), **told(check), **said_of(names)},
            about=seen_beside(check),
            links=[account.by_record if before is None else before.by_record],
            personal={
                field: value
                for field, value, old in (
                    ("name", name, account.name),
                    ("profile", profile, account.profile),
                )
                if value != old
            },
            result={
                "pending": _differing(account, pending),
                "version": changed.version,
                **({} if check is None else {"name_check": "human"}),
            },
            effects=[
                Effect(
                    "account.profile_waiting",
                    {"account_id": self.account_id, "pending": _differing(account, pending)},
                )
            ],
        )


class _AnswerProfile(AccountAction, frozen=True, kw_only=True):
    """`asked_record`: the record of the change that was looked at; another one that waits by now is another matter."""

    asked_record: Id
    reason: Reason | None = None
    note: Note | None = None

    def pending(self, here: Situation) -> PendingProfile:
        """The change that waits. Raises Refusal `not_in_state`, `facts_changed`."""
        pending = self.account(here).pending_profile
        if pending is None:
            raise Refusal(Code.NOT_IN_STATE)
        if pending.by_record != self.asked_record:
            raise Refusal(Code.FACTS_CHANGED, pointer="/asked_record")
        return pending


class AcceptProfile(_AnswerProfile, frozen=True, kw_only=True, tag="account.accept_profile"):
    """A classifier without a part in it accepts a change, checked as at registration; what was before is kept (S094).

    The old name is never given to another account (A5). Another class weighs otherwise: the tier is computed anew.
    """

    compared_with: Compared = []

    def more(self, here: Situation) -> Sequence[Need]:
        """Also what the operator may show for the class, and who else is called like that."""
        account = here.find(Account, self.account_id)
        if account is None:
            return ()
        shown = Need(CredentialsOf, (account.operator_id,))
        return [*super().more(here), shown, *needs_of_pending(account, alike=True)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `identity_unverified`, `credential_missing`, `human_needed`, `not_in_state`, `facts_changed`."""
        del terms
        account, operator = self.account(here), self.operator(here)
        pending = self.pending(here)
        require_identity(here, operator)
        require_class(here, operator, pending.klass)
        check = None
        if (pending.name_key, pending.klass) != (account.name_key, account.klass):
            check = name_check(here, self.account_id, pending.name, pending.klass)
        changed = msgspec.structs.replace(
            account,
            name=pending.name,
            name_key=pending.name_key,
            klass=pending.klass,
            profile=pending.profile,
            pending_profile=None,
        )
        if pending.klass == account.klass:
            changed = changed.with_()
        else:
            changed = changed.ranked(here, self.credit_level(here))
        by_tier = here.policy.tier_effect("account", "name_check", changed.tier or 4) == "human"
        require_human(here, check, self.compared_with, by_tier=by_tier and pending.name != account.name)
        former = FormerProfile(
            account_id=self.account_id,
            by_record=here.record_id,
            name=account.name,
            klass=account.klass,
            profile=account.profile,
            until_at=here.at,
        )
        differing = _differing(account, pending)
        return Change(
            writes=[changed, former],
            before={"class": account.klass, "pending": differing},
            after={
                "class": changed.klass,
                "changed": differing,
                **told(check),
                **({} if changed.klass == account.klass else basis_said(changed)),
            },
            about=seen_beside(check),
            links=[pending.by_record],
            personal={
                field: value
                for field, value in (
                    ("name", changed.name),
                    ("name_before", account.name),
                    ("profile", changed.profile),
                    ("profile_before", account.profile),
                )
                if value and field.partition("_")[0] in differing
            },
            result={"changed": differing, "tier": changed.tier, "version": changed.version},
            effects=[
                Effect("account.profile_changed", {"account_id": self.account_id, "changed": differing})
            ],
            follows=crossing(here, account, changed),
        )


class RefuseProfile(_AnswerProfile, frozen=True, kw_only=True, tag="account.refuse_profile"):
    """A classifier refuses a change, with a notice of reasons: the old profile stays, the name asked for is free."""

    def more(self, here: Situation) -> Sequence[Need]:
        """Also the name asked for."""
        account = here.find(Account, self.account_id)
        return [*super().more(here), *([] if account is None else needs_of_pending(account))]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`, `facts_changed`."""
        account, pending = self.account(here), self.pending(here)
        changed = account.with_(pending_profile=None)
        differing, why = _differing(account, pending), reason_said(here, self.reason)
        needed = NEEDED.get(pending.klass) if self.reason == "credential_missing" else None
        notice = self.refused_notice(
            here,
            asked="profile",
            facts={"changed": differing, "class": pending.klass, "reason": self.reason},
            basis=terms.basis,
            explanation={
                "zh": f"账号资料变更申请未通过审核，继续展示原资料。原因：{why['zh']}。",
                "en": f"The change of profile that was asked for is not accepted; the old profile is shown on. Reason: {why['en']}.",
            },
            remedy={
                "zh": "补正后可随时重新申请。",
                "en": "It may be asked for again at any time, with what was wrong put right.",
            },
            papers=[] if needed is None else [f"credential:{needed}"],
        )
        names = freed(here, account)
        return Change(
            writes=[changed, *names, notice],
            before={"pending": differing},
            after={"pending": "refused", **said_of(names)},
            coupled=[listed()],
            about={"answerable": Subject("person", self.operator(here).answerable_person)},
            links=[pending.by_record],
            result={"pending": "refused", "version": changed.version},
            effects=[
                Effect(
                    "account.profile_refused",
                    {
                        "account_id": self.account_id,
                        "pending": differing,
                        "reason": self.reason,
                    },
                ),
                notice.effect(),
            ],
        )


class Recheck(AccountAction, frozen=True, kw_only=True, tag="account.recheck"):
    """A classifier has looked at the account again, as its tier demands (`recheck_d`).

    What fits is due again after the days of its tier. What does not stays due: the duty to correct it, and what follows where
    that is missed, join here with duties (S095).
    """

    fits: bool
    reason: Reason | None = None
    note: Note | None = None

    def asked(self) -> dict[str, bool]:
        return {"fits": self.fits}

    def form(self, policy: Policy) -> None:
        """Refuses `reason_missing`: what does not fit is said with a reason."""
        del policy
        if not self.fits and self.reason is None:
            raise Refusal(Code.REASON_MISSING, pointer="/reason")

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (waiting)."""
        del terms
        account = self.accepted(here)
        changed = account.ranked(here, self.credit_level(here), anew=True)
        if not self.fits:
            changed = msgspec.structs.replace(changed, next_recheck_at=here.at)
        due, now_due = (
            None if one.next_recheck_at is None else instant_text(one.next_recheck_at)
            for one in (account, changed)
        )
        return Change(
            writes=[changed],
            before={"next_recheck_at": due},
            after={"fits": self.fits, "next_recheck_at": now_due, **basis_said(changed)},
            links=[account.by_record],
            result={"next_recheck_at": now_due, "tier": changed.tier, "version": changed.version},
            effects=[
                Effect(
                    "account.rechecked",
                    {"account_id": self.account_id, "fits": self.fits, "next_recheck_at": now_due},
                )
            ],
            follows=crossing(here, account, changed),
        )


def needs_of_pending(account: Account, *, alike: bool = False) -> list[Need]:
    """The rows of the name that an account asks for, if any; `alike`: also what looks like it."""
    pending = account.pending_profile
    if pending is None:
        return []
    return needs_of_name(pending.name_key) if alike else [Need(NamedAccount, (pending.name_key,), write=True)]


def freed(here: Situation, account: Account, *, but: str = "") -> list[AccountName]:
    """The row that sets free the name that was asked for and is given up; `but`: not where it is this one, or the account's own."""
    pending = account.pending_profile
    if pending is None or pending.name_key in {but, account.name_key}:
        return []
    held = here.find(NamedAccount, pending.name_key)
    own_before = held is not None and held.by_record != pending.by_record
    return [] if held is None or own_before else [held.freed(here)]


def _differing(account: Account, pending: PendingProfile) -> list[str]:
    """Which members of the profile a change is about."""
    pairs = (
        ("class", account.klass, pending.klass),
        ("name", account.name, pending.name),
        ("profile", account.profile, pending.profile),
    )
    return [field for field, old, new in pairs if old != new]
