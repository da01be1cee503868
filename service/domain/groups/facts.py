"""What a group is: its row, the roles in it, and what every act on a group looks at first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from service.action import Action, Id, Need, Situation, Stand, Subject
from service.caller import Caller, Relation, Standing
from service.domain import staff
from service.domain.people import Known, Person
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.policy import Policy

OWNER, ADMIN, MEMBER, OUTSIDE = 3, 2, 1, 0
STANDING_OF = {
    OWNER: Standing.OWNER,
    ADMIN: Standing.ADMIN,
    MEMBER: Standing.MEMBER,
    OUTSIDE: Standing.STRANGER,
}

GroupClass = Literal[
    "family",
    "work",
    "school",
    "interest",
    "community",
    "commerce",
    "fan",
    "current_affairs",
    "specialist",
    "public_service",
    "other",
]
JoinMode = Literal["invite", "approval", "open"]
Surface = Literal["none", "hosting", "online_platform"]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """An open transfer: to whom, until when, and what the old owner becomes (S058, S061)."""

    to: str
    until: dt.datetime
    old_owner_becomes: Literal["admin", "member"]
    by_record: str


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """A tier set by hand over the computed one, until an end (S081)."""

    tier: int
    until: dt.datetime
    by_record: str


@subject
class Group(Row, frozen=True, kw_only=True):
    """A conversation with members and one answerable owner. Its facts are independent of each other (G7)."""

    table = "groups"
    key = ("group_id",)

    group_id: str
    code: str
    name: str
    klass: GroupClass
    jurisdiction: str
    created_at: dt.datetime
    version: int = 1
    owner_id: str | None
    ownerless_since: dt.datetime | None = None
    capacity: int
    member_count: int = 1
    admin_count: int = 0
    messages_per_day: int = 0
    join_mode: JoinMode
    discoverable: bool = False
    link_open: bool = False
    minors: Known = "unknown"
    tier: int
    tier_basis: dict[str, Any]
    override: Override | None = None
    successors: list[str] = []
    succession_due_at: dt.datetime | None = None
    succession_record: str | None = None
    offer: Offer | None = None
    transferred_at: dt.datetime | None = None
    imported: bool = False
    by_record: str
    dissolved_at: dt.datetime | None = None
    dissolved_how: Literal["owner", "measure"] | None = None
    dissolved_record: str | None = None
    preserved: bool = False
    next_recheck_at: dt.datetime | None = None

    def surface(self) -> Surface:
        """How public the group is in the sense of the DSA (G9)."""
        if self.join_mode == "open" or (self.link_open and self.discoverable):
            return "online_platform"
        if self.join_mode == "invite" and not self.link_open:
            return "none"
        return "hosting"

    def with_(self, **facts: Any) -> Group:
        """The row with some facts changed and its version grown by one."""
        return msgspec.structs.replace(self, version=self.version + 1, **facts)


class Role(Row, frozen=True, kw_only=True):
    """A person's open role in a group. Roles are intervals; `by_record` gave it, `granted_by` lent an admin's power."""

    table = "role"
    key = ("by_record", "person_id")
    look_key = ("group_id", "person_id")
    only = "t.until_at IS NULL"

    by_record: str
    person_id: str
    group_id: str
    rank: int
    from_at: dt.datetime
    until_at: dt.datetime | None = None
    ended_record: str | None = None
    granted_by: str | None = None

    def ended(self, here: Situation) -> Role:
        """The interval, closed by this act. Write it before the one that follows it."""
        return msgspec.structs.replace(self, until_at=here.at, ended_record=here.record_id)


def rank_of(here: Situation, group_id: str, person_id: str) -> int:
    """Owner 3, admin 2, member 1, none 0."""
    role = here.find(Role, group_id, person_id)
    return OUTSIDE if role is None else role.rank


class GroupAction(Action, frozen=True, kw_only=True):
    """An act on one group: looks at the group, the caller's role in it and, if it names one, the other person's."""

    #: Whether the act may change the group's own row; else acts on different members go together.
    writes_group: ClassVar[bool] = True

    group_id: Id

    def other(self) -> str | None:
        """The person acted on, if any."""
        return None

    def target(self, here: Situation) -> Subject:
        """The group; the person acted on stands beside it."""
        del here
        return Subject("group", self.group_id)

    def about(self, here: Situation) -> dict[str, Subject]:
        """The person acted on."""
        del here
        person = self.other()
        return {} if person is None else {"person": Subject("person", person)}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The group, the caller and both roles."""
        needs = [Need(Group, (self.group_id,), write=self.writes_group), *staff.needs_of(caller)]
        people = {caller.person_id if caller.kind == "person" else None, self.other()} - {None}
        needs.extend(Need(Role, (self.group_id, str(person))) for person in people)
        return needs

    def own(self, here: Situation) -> bool:
        """Whether the caller is the addressee of what the act answers (an offer)."""
        del here
        return False

    def group(self, here: Situation) -> Group:
        """The group, as it is now."""
        return here.get(Group, self.group_id)

    def my_rank(self, here: Situation) -> int:
        """The caller's rank in the group; 0 for machines and staff. A bot is no admin, whatever it was before it was one (P3)."""
        if here.caller.kind != "person":
            return OUTSIDE
        rank = rank_of(here, self.group_id, here.caller.person_id)
        person = here.find(Person, here.caller.person_id)
        return MEMBER if rank == ADMIN and person is not None and person.bot else rank

    def stand(self, here: Situation) -> Stand:
        """Rank makes standing and relation; a private group is unknown to strangers."""
        group = self.group(here)
        parties = () if group.owner_id is None else (f"person:{group.owner_id}",)
        other = self.other()
        if here.caller.kind == "person":
            staff.acting(here)
            rank = self.my_rank(here)
            relations = {Relation.ANY}
            if rank > OUTSIDE:
                relations.add(Relation.HERE)
            if other is None or other == here.caller.person_id:
                relations.add(Relation.SELF)
            elif rank_of(here, self.group_id, other) < rank:
                relations.add(Relation.LOWER)
            if self.own(here):
                relations.add(Relation.OWN)
            stood = Stand((STANDING_OF[rank],), frozenset(relations), parties=parties)
        else:
            stood = staff.stand(here, parties=parties)
        return stood._replace(
            tier=group.tier,
            klass=group.klass,
            jurisdiction=group.jurisdiction,
            version=group.version,
            target_standing=None if other is None else STANDING_OF[rank_of(here, self.group_id, other)].value,
            private=group.surface() == "none",
            gone=Code.GROUP_DISSOLVED if group.dissolved_at is not None else None,
        )


def joins_frozen(group: Group) -> bool:
    """Whether nobody may join now, because the group has no owner (S069)."""
    return group.ownerless_since is not None


def silent_from(policy: Policy, group: Group) -> dt.datetime | None:
    """From when on members may not speak, because the group has no owner (S069); None: it has one.

    Derived, never stored: the silence begins `ownerless_mute_all_h` hours after ownership ended and ends with ownerlessness.
    """
    hours = policy.tier_effect("group", "ownerless_mute_all_h", group.tier)
    if group.ownerless_since is None or not isinstance(hours, int):
        return None
    return group.ownerless_since + dt.timedelta(hours=hours)


def limit(policy: Policy, group: Group, what: str, rank: int) -> int | None:
    """The longest `what` (`mute`, `mute_all`) in seconds for this rank in the group's tier; None: no limit."""
    who = "owner" if rank == OWNER else "admin"
    value = policy.tier_effect("group", f"{who}_{what}_max_s", group.tier)
    return value if isinstance(value, int) else None


def within(seconds: int | None, longest: int | None) -> None:
    """Refuse `duration_over_limit` when a duration (None: permanent) is longer than `longest` (None: no limit)."""
    if longest is not None and (seconds is None or seconds > longest):
        raise Refusal(Code.DURATION_OVER_LIMIT, pointer="/seconds", maximum=longest)


def in_range(seconds: int | None, policy: Policy) -> None:
    """Refuse durations that no tier allows: zero, negative, or above `mute_max_s` (S023)."""
    if seconds == 0:
        raise Refusal(Code.DURATION_ZERO, pointer="/seconds")
    if seconds is not None and not policy.parameters.mute_min_s <= seconds <= policy.parameters.mute_max_s:
        raise Refusal(
            Code.DURATION_OUT_OF_RANGE,
            pointer="/seconds",
            minimum=policy.parameters.mute_min_s,
            maximum=policy.parameters.mute_max_s,
        )


__all__ = [
    "ADMIN",
    "MEMBER",
    "OUTSIDE",
    "OWNER",
    "STANDING_OF",
    "Group",
    "GroupAction",
    "Offer",
    "Override",
    "Person",
    "Role",
]
