"""The office of admin: lent by the owner, taken back by him, laid down by its holder (S054-S057)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from service.action import Change, Effect, Id, Need, Note, Reason, Situation
from service.domain.caps import over, tier_cap
from service.domain.groups.facts import ADMIN, MEMBER, GroupAction, Role
from service.domain.groups.mutes import Mute, sooner
from service.domain.people import Person
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms


class AppointAdmin(GroupAction, frozen=True, kw_only=True, tag="group.appoint"):
    """Lend a member the powers of an admin, and with them part of the duty; the interval names who lent (S054-S056)."""

    person_id: Id
    reason: Reason | None = None
    note: Note | None = None

    def other(self) -> str:
        return self.person_id

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [
            *super().needs(caller),
            Need(Person, (self.person_id,), write=True),
            Need(Mute, (self.group_id, self.person_id)),
        ]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `self_target`, `not_in_group`, `identity_unverified`, `not_eligible`, `already_in_state`, `cap_admins`."""
        del terms
        if self.person_id == here.caller.person_id:
            raise Refusal(Code.SELF_TARGET)
        role = here.find(Role, self.group_id, self.person_id)
        # First of all: of somebody outside the owner may learn nothing, not even whether he is verified.
        if role is None:
            raise Refusal(Code.NOT_IN_GROUP)
        self.eligible(here)
        if role.rank == ADMIN:
            raise Refusal(Code.ALREADY_IN_STATE)
        group = self.group(here)
        cap = tier_cap(here.policy, "admins_cap", group.tier)
        if cap is not None and group.admin_count >= cap.value:
            raise over(Code.CAP_ADMINS, cap, group.admin_count, here.policy)
        after = group.with_(admin_count=group.admin_count + 1)
        office = Role(
            by_record=here.record_id,
            person_id=self.person_id,
            group_id=self.group_id,
            rank=ADMIN,
            from_at=here.at,
            granted_by=here.caller.person_id,
        )
        return Change(
            writes=[role.ended(here), office, after],
            before={"rank": role.rank},
            after={"rank": ADMIN, "admins": after.admin_count},
            links=[role.by_record],
            result={
                "person_id": self.person_id,
                "standing": "admin",
                "admin_count": after.admin_count,
                "version": after.version,
            },
            effects=[
                Effect(
                    "group.admin_appointed",
                    {
                        "group_id": self.group_id,
                        "person_id": self.person_id,
                        "granted_by": here.caller.person_id,
                    },
                )
            ],
        )

    def eligible(self, here: Situation) -> None:
        """Refuse who cannot hold the office now: unverified, a bot (P3), muted here. Measures (S074) and the powers that the owner himself holds (S055) join here."""
        person = here.get(Person, self.person_id)
        if person.identity_status != "verified":
            raise Refusal(Code.IDENTITY_UNVERIFIED)
        if person.bot:
            raise Refusal(Code.NOT_ELIGIBLE, why="bot")
        mute = here.find(Mute, self.group_id, self.person_id)
        if mute is not None and not sooner(mute.until, here.at):
            raise Refusal(Code.NOT_ELIGIBLE, why="muted")


class DismissAdmin(GroupAction, frozen=True, kw_only=True, tag="group.dismiss"):
    """Take the powers of an admin back; he stays a member (S056)."""

    person_id: Id
    reason: Reason | None = None
    note: Note | None = None

    def other(self) -> str:
        return self.person_id

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`."""
        del terms
        role = here.find(Role, self.group_id, self.person_id)
        if role is None or role.rank != ADMIN:
            raise Refusal(Code.NOT_IN_STATE)
        return ending_office(self, here, role, "dismissed")


class StepDown(GroupAction, frozen=True, kw_only=True, tag="group.step_down"):
    """Lay down the office of admin; an admin may always go, and stays a member."""

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses nothing of its own: who is no admin matches no rule."""
        del terms
        role = here.get(Role, self.group_id, here.caller.person_id)
        return ending_office(self, here, role, "stepped_down")


def ending_office(
    act: GroupAction, here: Situation, role: Role, how: Literal["dismissed", "stepped_down"]
) -> Change:
    """The change that closes an admin's interval and opens a member's at the same instant."""
    group = act.group(here)
    after = group.with_(admin_count=group.admin_count - 1)
    member = Role(
        by_record=here.record_id,
        person_id=role.person_id,
        group_id=role.group_id,
        rank=MEMBER,
        from_at=here.at,
    )
    return Change(
        writes=[role.ended(here), member, after],
        before={"rank": role.rank},
        after={"rank": MEMBER, "admins": after.admin_count},
        links=[role.by_record],
        result={
            "person_id": role.person_id,
            "standing": "member",
            "admin_count": after.admin_count,
            "version": after.version,
        },
        effects=[Effect(f"group.admin_{how}", {"group_id": role.group_id, "person_id": role.person_id})],
    )
