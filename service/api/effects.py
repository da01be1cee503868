"""What effects there are, and what each says: the contract with backends, who carry them out or show them.

A kind or a member may be added; what is there stays. So a reader passes over what it does not know. After each test every
effect in the outbox is held against these structs, to the member (`tests/kit.py`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType, field

from service.clock import InstantText
from service.domain.notices import Parts


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What an effect is about, by type and id."""

    type: str
    id: str


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What an effect of one of `kinds` says. The docstring of each subclass tells backends what to do."""

    kinds: ClassVar[tuple[str, ...]] = ()


class _OfMember(Payload, frozen=True, kw_only=True):
    group_id: str
    person_id: str


# Groups


class GroupRegistered(Payload, frozen=True, kw_only=True):
    """Let there be the group, under the code by which people find it."""

    kinds = ("group.registered",)
    group_id: str
    code: str
    owner_id: str | None
    tier: int


class GroupProfileChanged(Payload, frozen=True, kw_only=True):
    """Show the group so from now on, and let people in as `join_mode` says."""

    kinds = ("group.profile_changed",)
    group_id: str
    name: str
    klass: str = field(name="class")
    capacity: int
    join_mode: str
    discoverable: bool
    link_open: bool


class GroupTierChanged(Payload, frozen=True, kw_only=True):
    """Tell the owner: the group is in another tier. `obligations`: what it asks otherwise than the old one (S082)."""

    kinds = ("group.tier_changed",)
    group_id: str
    owner_id: str | None
    before: int
    after: int
    obligations: dict[str, Any]


class GroupDissolved(Payload, frozen=True, kw_only=True):
    """Close the group for all; nobody is in it any more."""

    kinds = ("group.dissolved",)
    group_id: str
    owner_id: str | None
    how: Literal["owner", "measure"]


class GroupJoined(_OfMember, frozen=True, kw_only=True):
    """Let the person in. `muted`: he is silent from before, until `muted_until`; null: for good."""

    kinds = ("group.joined",)
    muted: Literal[True] | UnsetType = UNSET
    muted_until: InstantText | UnsetType | None = UNSET


class GroupLeft(_OfMember, frozen=True, kw_only=True):
    """The person left by himself, or his account was closed."""

    kinds = ("group.left",)


class GroupMemberRemoved(_OfMember, frozen=True, kw_only=True):
    """Put the person out."""

    kinds = ("group.member_removed",)
    how: Literal["removed", "barred"]


class GroupMemberBarred(_OfMember, frozen=True, kw_only=True):
    """The person may not come in until then; null: for good. Whoever was inside has a `group.member_removed` too."""

    kinds = ("group.member_barred",)
    until: InstantText | None


class GroupMemberUnbarred(_OfMember, frozen=True, kw_only=True):
    """The person may come in again."""

    kinds = ("group.member_unbarred",)
    how: Literal["unbarred", "lapsed"]


class GroupAsked(_OfMember, frozen=True, kw_only=True):
    """Show owner and admins the request, or the person the invitation; it lapses then."""

    kinds = ("group.join_requested", "group.invited")
    until: InstantText


class GroupRequestClosed(_OfMember, frozen=True, kw_only=True):
    """The request or invitation is over, without the person having come in."""

    kinds = ("group.request_closed",)
    what: Literal["request", "invitation"]
    how: Literal["turned_away", "lapsed"]


class GroupRequestEnded(_OfMember, frozen=True, kw_only=True):
    """The request or invitation is over, for the person was barred."""

    kinds = ("group.request_ended",)
    how: Literal["barred"]


class GroupMuted(_OfMember, frozen=True, kw_only=True):
    """Let the person not speak in the group until then; null: for good. Takes the place of an earlier one."""

    kinds = ("group.muted",)
    until: InstantText | None


class GroupUnmuted(_OfMember, frozen=True, kw_only=True):
    """Let the person speak again: by hand, by lapse, or because he is the owner now."""

    kinds = ("group.unmuted",)
    how: Literal["unmuted", "lapsed", "owner"]


class GroupMutedAll(Payload, frozen=True, kw_only=True):
    """Let nobody but owner and admins speak until then; null: for good. Takes the place of an earlier one."""

    kinds = ("group.muted_all",)
    group_id: str
    until: InstantText | None


class GroupUnmutedAll(Payload, frozen=True, kw_only=True):
    """Let all speak again; who is muted himself stays so."""

    kinds = ("group.unmuted_all",)
    group_id: str
    how: Literal["unmuted", "lapsed"]


class GroupAdminAppointed(_OfMember, frozen=True, kw_only=True):
    """The person is an admin now."""

    kinds = ("group.admin_appointed",)
    granted_by: str


class GroupAdminEnded(_OfMember, frozen=True, kw_only=True):
    """The person is an admin no more, and still a member."""

    kinds = ("group.admin_dismissed", "group.admin_stepped_down")


class GroupTransferOffered(Payload, frozen=True, kw_only=True):
    """Show the person the offer to become the owner; it lapses then."""

    kinds = ("group.transfer_offered",)
    group_id: str
    to: str
    until: InstantText
    old_owner_becomes: Literal["admin", "member"]


class GroupTransferEnded(Payload, frozen=True, kw_only=True):
    """The offer is over; the owner stays."""

    kinds = ("group.transfer_ended",)
    group_id: str
    to: str
    how: Literal["declined", "withdrawn", "lapsed"]


class GroupOwnerChanged(Payload, frozen=True, kw_only=True):
    """The group has another owner. The old one, where there was one, is what `old_owner_becomes` says."""

    kinds = ("group.owner_changed",)
    group_id: str
    owner_id: str
    old_owner_id: str | None
    old_owner_becomes: str | None


class GroupOrphaned(Payload, frozen=True, kw_only=True):
    """The group has no owner, and nobody may join (S069)."""

    kinds = ("group.orphaned",)
    group_id: str
    old_owner_id: str


class GroupSuccessionOpened(Payload, frozen=True, kw_only=True):
    """Tell owner and successors: the first of them who can is the owner on that day, unless the owner reclaims the group."""

    kinds = ("group.succession_opened",)
    group_id: str
    owner_id: str
    cause: str
    due_at: InstantText


class GroupSuccessionCancelled(Payload, frozen=True, kw_only=True):
    """The owner is back."""

    kinds = ("group.succession_cancelled",)
    group_id: str


class GroupItem(Payload, frozen=True, kw_only=True):
    """Show the message no more, or again: the one at `locator`, if its SHA-256 is the one named."""

    kinds = ("group.item_hidden", "group.item_restored")
    group_id: str
    locator: str
    item_sha256: str


class GroupNoticePinned(Payload, frozen=True, kw_only=True):
    """Show the notice at the head of the group, and as whose it stands."""

    kinds = ("group.notice_pinned",)
    group_id: str
    locator: str
    by: str


# People, operators, approvals


class PersonClosed(Payload, frozen=True, kw_only=True):
    """The person is closed and in no group any more; each group has a `group.left` too."""

    kinds = ("person.closed",)
    person_id: str
    left_groups: list[str]


class OperatorCapRaised(Payload, frozen=True, kw_only=True):
    """The operator may have so many accounts until then (S090)."""

    kinds = ("operator.cap_raised",)
    operator_id: str
    accounts_cap: int
    until: InstantText


class ApprovalEnded(Payload, frozen=True, kw_only=True):
    """What waited for others is done, refused or lapsed. `target`: of groups, accounts, people and operators only."""

    kinds = ("approval.granted", "approval.refused", "approval.lapsed")
    approval_id: str
    action: str
    target: Subject | UnsetType = UNSET


class CreditLevelChanged(Payload, frozen=True, kw_only=True):
    """A person or an operator is on another level of credit, null: on none; `entitlements` is what that allows."""

    kinds = ("credit.level_changed",)
    person_id: str | UnsetType = UNSET
    operator_id: str | UnsetType = UNSET
    before: str | None
    after: str | None
    entitlements: dict[str, Any]


class CredentialChanged(Payload, frozen=True, kw_only=True):
    """A licence or expert proof of an operator waits, holds, was refused or is over.

    Accepted: of how many accounts it `lifted` the suspension, and for how many that is `ending` on the day from which it holds.
    Expired: whether another one has its field `covered`, and how many accounts are `suspended` for want of one.
    """

    kinds = ("credential.waiting", "credential.accepted", "credential.refused", "credential.expired")
    credential_id: str
    operator_id: str
    kind: str
    valid_until: InstantText
    reason: str | UnsetType = UNSET
    lifted: int | UnsetType = UNSET
    ending: int | UnsetType = UNSET
    covered: bool | UnsetType = UNSET
    suspended: int | UnsetType = UNSET


class NoticeSent(Payload, frozen=True, kw_only=True):
    """Deliver the notice to the person: his time to object runs from when he is informed, `window_months` calendar months."""

    kinds = ("notice.sent",)
    notice_id: str
    measure_id: str | None
    to: str
    about: Subject
    parts: Parts


# Measures


class MeasureImposed(Payload, frozen=True, kw_only=True):
    """Take away what `takes_away` lists from the target, within `scope`, until then; null: for good (S131)."""

    kinds = ("measure.imposed",)
    measure_id: str
    code: str
    target: Subject
    scope: str | None
    from_: InstantText = field(name="from")
    until: InstantText | None
    coupled_to: str | None
    takes_away: list[str]


class MeasureEnded(MeasureImposed, frozen=True, kw_only=True):
    """Give back what the measure took away, unless another one still does."""

    kinds = ("measure.lifted", "measure.expired")
    at: InstantText


# Accounts


class _OfAccount(Payload, frozen=True, kw_only=True):
    account_id: str


class AccountWaiting(_OfAccount, frozen=True, kw_only=True):
    """The account waits to be looked at by a classifier; nothing of it is shown."""

    kinds = ("account.waiting",)
    operator_id: str


class AccountAccepted(_OfAccount, frozen=True, kw_only=True):
    """Open the account."""

    kinds = ("account.accepted",)
    tier: int


class AccountRefused(_OfAccount, frozen=True, kw_only=True):
    """The account comes to nothing."""

    kinds = ("account.refused",)
    reason: str


class AccountRanked(_OfAccount, frozen=True, kw_only=True):
    """Tell the operator: the account is in another tier. `obligations`: what it asks otherwise than the old one (S082)."""

    kinds = ("account.ranked",)
    operator_id: str
    before: int | None
    tier: int
    obligations: dict[str, Any]


class AccountProfileWaiting(_OfAccount, frozen=True, kw_only=True):
    """A change of these waits to be looked at; show what there was."""

    kinds = ("account.profile_waiting",)
    pending: list[str]


class AccountProfileChanged(_OfAccount, frozen=True, kw_only=True):
    """These are changed: read the account."""

    kinds = ("account.profile_changed",)
    changed: list[str]


class AccountProfileRefused(_OfAccount, frozen=True, kw_only=True):
    """The change is refused; what there was stays."""

    kinds = ("account.profile_refused",)
    pending: list[str]
    reason: str


class AccountRechecked(_OfAccount, frozen=True, kw_only=True):
    """A classifier looked at the account again; `fits`: its class is right."""

    kinds = ("account.rechecked",)
    fits: bool
    next_recheck_at: InstantText | None


class AccountDormancyWarned(_OfAccount, frozen=True, kw_only=True):
    """Tell the operator: unused for so long, the account is paused on that day."""

    kinds = ("account.dormancy_warned",)
    unused_since: InstantText
    pause_due_at: InstantText


class AccountWoken(_OfAccount, frozen=True, kw_only=True):
    """The operator asked for the account again; the pause is over."""

    kinds = ("account.woken",)


class AccountClosing(_OfAccount, frozen=True, kw_only=True):
    """The operator closes the account; until that day he may take it back."""

    kinds = ("account.closing",)
    closing_due_at: InstantText


class AccountClosingWithdrawn(_OfAccount, frozen=True, kw_only=True):
    """The account stays."""

    kinds = ("account.closing_withdrawn",)


class AccountClosed(_OfAccount, frozen=True, kw_only=True):
    """Close the account."""

    kinds = ("account.closed",)
    how: Literal["owner", "measure"]


class AccountTransferOffered(_OfAccount, frozen=True, kw_only=True):
    """Show the operator `to` the offer; it lapses then."""

    kinds = ("account.transfer_offered",)
    from_: str = field(name="from")
    to: str
    until: InstantText


class AccountTransferEnded(_OfAccount, frozen=True, kw_only=True):
    """The offer is over; the operator stays."""

    kinds = ("account.transfer_ended",)
    to: str
    how: Literal["declined", "withdrawn", "lapsed"]


class AccountOperatorChanged(_OfAccount, frozen=True, kw_only=True):
    """Another operator runs the account, who may earn with it from that day."""

    kinds = ("account.operator_changed",)
    from_: str = field(name="from")
    to: str
    monetisation_eligible_at: InstantText


class AccountContract(_OfAccount, frozen=True, kw_only=True):
    """The operator agreed to the MCN, the MCN signed, or one of them ended the contract."""

    kinds = ("account.mcn_agreed", "account.mcn_signed", "account.mcn_released")
    mcn_id: str


def effects() -> dict[str, type[Payload]]:
    """What an effect says, by its kind."""
    found: dict[str, type[Payload]] = {}
    waiting = Payload.__subclasses__()
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        found |= dict.fromkeys(one.kinds, one)
    return dict(sorted(found.items()))
