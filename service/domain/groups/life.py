"""The life of a group: registered, and its facts and profile kept (S045-S048, S075)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from service.action import (
    Action,
    Change,
    Effect,
    Id,
    Jurisdiction,
    Need,
    Situation,
    Stand,
    Subject,
)
from service.domain import staff
from service.domain.caps import Cap, over, tier_cap
from service.domain.credit import Credit
from service.domain.groups.caps import caps_needs, creditworthy, level_of, may_own_more
from service.domain.groups.facts import (
    OWNER,
    Group,
    GroupAction,
    GroupClass,
    JoinMode,
    Role,
)
from service.domain.groups.ranking import crossing, due, explained, ranked, tier_coupled
from service.domain.names import refuse_reserved, refuse_unseen
from service.domain.people import Known, Person
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, description="Name of the group.")]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Places = Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="How many members are asked for.")]


class NewGroup(Group, frozen=True, kw_only=True):
    """A group on the day it is registered: only ever added, so that an id in use is refused by its key, also in a race."""

    appended = True


def code_of(record_id: str) -> str:
    """The public identification code of the group that this record registers: 80 bits, in letters people can read out."""
    text = base64.b32encode(hashlib.sha256(f"group code\0{record_id}".encode()).digest()[:10]).decode()
    return "-".join(text[place : place + 4] for place in range(0, 16, 4))


def within_cap(policy: Policy, capacity: int) -> None:
    """Refuse `cap_members` for a capacity above what the heaviest tier allows; below it, floors fit the tier (S083, S085)."""
    highest = tier_cap(policy, "member_cap", 4)
    if highest is not None and capacity > highest.value:
        raise over(Code.CAP_MEMBERS, highest, capacity, policy, pointer="/capacity")


def weigh_founder(founder: Person) -> None:
    """Refuse whoever may not found or own a group: unverified (S045), a bot (P3)."""
    if founder.identity_status != "verified":
        raise Refusal(Code.IDENTITY_UNVERIFIED)
    if founder.bot:
        raise Refusal(Code.NOT_ELIGIBLE, why="bot")


class RegisterGroup(Action, frozen=True, kw_only=True, tag="group.register"):
    """Found a group: whoever founds it answers for it. The backend imports one that exists, with its owner and headcount.

    `owner_id` and `member_count` are for imports alone (S075).
    """

    created: ClassVar[bool] = True

    group_id: Id
    name: Name
    klass: GroupClass = msgspec.field(name="class")
    capacity: Places
    join_mode: JoinMode
    discoverable: bool = False
    link_open: bool = False
    minors: Known = "unknown"
    messages_per_day: Count = 0
    jurisdiction: Jurisdiction | None = None
    owner_id: Id | None = None
    member_count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (a name with control characters)."""
        refuse_unseen(self.name)

    def target(self, here: Situation) -> Subject:
        return Subject("group", self.group_id)

    def about(self, here: Situation) -> dict[str, Subject]:
        owner = self._owner(here.caller)
        return {} if owner is None else {"owner": Subject("person", owner)}

    def asked(self) -> dict[str, Any]:
        return {"class": self.klass, "capacity": self.capacity, "join_mode": self.join_mode}

    def needs(self, caller: Caller) -> Sequence[Need]:
        owner = self._owner(caller)
        founder = [] if owner is None else caps_needs(owner)
        return [*founder, Need(Group, (self.group_id,), write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        """A person founds for himself. The tier is the one the group will have: keys are scoped by it (S046)."""
        owner = self._owner(here.caller)
        if here.caller.kind == "person" and (self.owner_id is not None or self.member_count is not None):
            pointer = "/member_count" if self.owner_id is None else "/owner_id"
            raise Refusal(Code.MALFORMED, pointer=pointer, why="only an import names owner and headcount")
        if here.caller.kind == "backend" and owner is None:
            raise Refusal(Code.MALFORMED, pointer="/owner_id", why="an import names the owner")
        stood = staff.stand(here, myself=True)
        if owner is None:
            return stood
        founder = here.get(Person, owner)
        if founder.closed_at is not None:
            raise Refusal(Code.PERSON_CLOSED)
        return stood._replace(
            tier=self._group(here, founder).tier,
            klass=self.klass,
            jurisdiction=self.jurisdiction or founder.jurisdiction,
        )

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `identity_unverified`, `not_eligible`, `credit_too_low`, `already_exists`, `name_reserved`,
        `capacity_below_members`, `cap_members`, `cap_groups_owned`.

        An import is weighed like a founding (S046): nobody gets more groups by it than he may have.
        """
        del terms
        founder = here.get(Person, self._owner(here.caller) or "")
        weigh_founder(founder)
        group = self._group(here, founder)
        creditworthy(here.policy, level_of(here, founder.person_id), group.tier)
        if here.find(Group, self.group_id) is not None:
            raise Refusal(Code.ALREADY_EXISTS)
        if not group.imported:
            refuse_reserved(here.policy, self.name, "group")
        if group.member_count > group.capacity:
            raise Refusal(
                Code.CAPACITY_BELOW_MEMBERS,
                pointer="/capacity",
                capacity=group.capacity,
                count=group.member_count,
            )
        within_cap(here.policy, group.capacity)
        may_own_more(here, founder.person_id)
        owner = Role(
            by_record=here.record_id,
            person_id=founder.person_id,
            group_id=self.group_id,
            rank=OWNER,
            from_at=here.at,
        )
        imported = {"imported": True} if group.imported else {}
        return Change(
            writes=[group, owner],
            after={
                **_public(group),
                "jurisdiction": group.jurisdiction,
                "minors": group.minors,
                "messages_per_day": group.messages_per_day,
                "member_count": group.member_count,
                **explained(group),
                **due(group),
                "tier_basis": group.tier_basis,
                **imported,
            },
            personal={"name": self.name, "code": group.code},
            result={
                "group_id": self.group_id,
                "code": group.code,
                "owner_id": founder.person_id,
                **explained(group),
                "version": 1,
            },
            effects=[
                Effect(
                    "group.registered",
                    {
                        "group_id": self.group_id,
                        "code": group.code,
                        "owner_id": founder.person_id,
                        "tier": group.tier,
                    },
                )
            ],
        )

    def _owner(self, caller: Caller) -> str | None:
        return caller.person_id if caller.kind == "person" else self.owner_id

    def _group(self, here: Situation, founder: Person) -> NewGroup:
        group = NewGroup(
            group_id=self.group_id,
            code=code_of(here.record_id),
            name=self.name,
            klass=self.klass,
            jurisdiction=self.jurisdiction or founder.jurisdiction,
            created_at=here.at,
            owner_id=founder.person_id,
            capacity=self.capacity,
            member_count=self.member_count or 1,
            messages_per_day=self.messages_per_day,
            join_mode=self.join_mode,
            discoverable=self.discoverable,
            link_open=self.link_open,
            minors=self.minors,
            tier=1,
            tier_basis={},
            imported=here.caller.kind == "backend",
            by_record=here.record_id,
        )
        return ranked(here, group, first=True)


class UpdateGroupFacts(GroupAction, frozen=True, kw_only=True, tag="group.update_facts"):
    """What the backend counts: messages a day (28-day mean), members reconciled, whether minors are inside. Ranks anew."""

    messages_per_day: Count | None = None
    member_count: Count | None = None
    minors: Known | None = None

    def form(self, policy: Policy) -> None:
        if self.asked() == {}:
            raise Refusal(Code.MALFORMED, pointer="", why="no fact is named")
        most = policy.parameters.messages_per_day_max
        if (self.messages_per_day or 0) > most:
            raise Refusal(
                Code.MALFORMED, pointer="/messages_per_day", why="more than is possible", maximum=most
            )

    def asked(self) -> dict[str, Any]:
        facts = {
            "messages_per_day": self.messages_per_day,
            "member_count": self.member_count,
            "minors": self.minors,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `cap_members` for a headcount above capacity (G4) and `malformed` for one below those in office."""
        del terms
        before = self.group(here)
        if self.member_count is not None:
            office = before.admin_count + (before.owner_id is not None)
            if self.member_count < office:
                raise Refusal(Code.MALFORMED, pointer="/member_count", why="fewer than those in office")
            if self.member_count > before.capacity:
                cap = Cap(before.capacity, "group.capacity")
                raise over(Code.CAP_MEMBERS, cap, self.member_count, here.policy, pointer="/member_count")
        after = ranked(here, before.with_(**self.asked()))
        return changed(here, before, after)


class UpdateGroupProfile(GroupAction, frozen=True, kw_only=True, tag="group.update_profile"):
    """What owner and admins say about their group; what is left out stays. Capacity is for the owner alone. Ranks anew."""

    name: Name | None = None
    klass: GroupClass | None = msgspec.field(name="class", default=None)
    capacity: Places | None = None
    join_mode: JoinMode | None = None
    discoverable: bool | None = None
    link_open: bool | None = None

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (nothing named; a name with control characters)."""
        if self.name is None and self.asked() == {}:
            raise Refusal(Code.MALFORMED, pointer="", why="nothing is named")
        refuse_unseen(self.name)

    def asked(self) -> dict[str, Any]:
        facts = {
            "class": self.klass,
            "capacity": self.capacity,
            "join_mode": self.join_mode,
            "discoverable": self.discoverable,
            "link_open": self.link_open,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also the owner's credit, where he asks for another capacity."""
        asks = self.capacity is not None and caller.kind == "person"
        return [*super().needs(caller), *([Need(Credit, ("person", caller.person_id))] if asks else [])]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `name_reserved`, `refused` (capacity, by an admin), `credit_too_low` (a larger capacity, for the tier it gives, S046),
        `capacity_below_members`, `cap_members` (above the heaviest tier).
        """
        del terms
        before = self.group(here)
        if self.name is not None and self.name != before.name:
            refuse_reserved(here.policy, self.name, "group")
        if self.capacity is not None:
            if self.my_rank(here) < OWNER:
                raise Refusal(Code.REFUSED, pointer="/capacity", why="capacity is for the owner")
            if self.capacity > before.capacity:
                tier = ranked(here, self._asked_for(before)).tier
                found = level_of(here, here.caller.person_id)
                creditworthy(here.policy, found, tier, pointer="/capacity")
            if self.capacity < before.member_count:
                raise Refusal(
                    Code.CAPACITY_BELOW_MEMBERS,
                    pointer="/capacity",
                    capacity=self.capacity,
                    count=before.member_count,
                )
            within_cap(here.policy, self.capacity)
        after = ranked(here, self._asked_for(before))
        change = changed(here, before, after)
        if after.name != before.name:
            change.personal = {"name": after.name, "name_before": before.name}
            change.after = {**change.after, "name": "changed"}
        change.effects.append(
            Effect("group.profile_changed", {"group_id": self.group_id, "name": after.name, **_public(after)})
        )
        return change

    def _asked_for(self, group: Group) -> Group:
        facts = self.asked()
        if "class" in facts:
            facts["klass"] = facts.pop("class")
        if self.name is not None:
            facts["name"] = self.name
        return group.with_(**facts)


def changed(here: Situation, before: Group, after: Group) -> Change:
    """The change from one state of a group's facts to the next: what differs; a tier that moves has an act of its own."""
    was, now = _counted(before), _counted(after)
    differing = [name for name in was if was[name] != now[name]]
    # A tier that moves tells of its next recheck by itself.
    first_due = due(after) if before.next_recheck_at is None and before.tier == after.tier else {}
    return Change(
        writes=[after],
        before={name: was[name] for name in differing},
        after={name: now[name] for name in differing} | first_due | {"tier_basis": after.tier_basis},
        coupled=tier_coupled(before, after),
        result={**explained(after), "version": after.version},
        follows=crossing(here, before, after),
    )


def _public(group: Group) -> dict[str, Any]:
    return {
        "class": group.klass,
        "capacity": group.capacity,
        "join_mode": group.join_mode,
        "discoverable": group.discoverable,
        "link_open": group.link_open,
    }


def _counted(group: Group) -> dict[str, Any]:
    return {
        **_public(group),
        "messages_per_day": group.messages_per_day,
        "member_count": group.member_count,
        "minors": group.minors,
    }
