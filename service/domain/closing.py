"""person.close: somebody goes for good, and every membership with him, at one instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from service.action import Change, Effect, Need, Situation, Subject
from service.caller import Caller
from service.clock import instant_text
from service.domain import credit
from service.domain.groups.facts import ADMIN, OWNER, Group, Role
from service.domain.operators import Operator
from service.domain.registering import PersonAction
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.policy import Terms

NAMED_AT_MOST = 60
"""Groups one record can name beside the person: a record holds 64 subjects (trail-format.md section 4)."""


class Belongings(Row, frozen=True, kw_only=True):
    """The living groups a person is in, and the operators the person answers for. Looked at, never written."""

    table = "role"
    key = ("person_id",)

    person_id: str
    groups: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read the ids only; the rows they name are locked next (`ClosePerson.more`)."""
        del lock
        people = [key[0] for key in keys]
        groups: dict[str, list[str]] = {person: [] for person in people}
        operators: dict[str, list[str]] = {person: [] for person in people}
        roles = await db.fetch(
            "SELECT r.person_id, r.group_id FROM role r JOIN groups g USING (group_id)"
            " WHERE r.person_id = ANY($1) AND r.until_at IS NULL AND g.dissolved_at IS NULL ORDER BY 1, 2",
            people,
        )
        for person, group in roles:
            groups[person].append(group)
        answering = await db.fetch(
            "SELECT answerable_person, operator_id FROM operator WHERE answerable_person = ANY($1) ORDER BY 1, 2",
            people,
        )
        for person, operator in answering:
            operators[person].append(operator)
        return {
            (person,): cls(person_id=person, groups=tuple(groups[person]), operators=tuple(operators[person]))
            for person in people
        }


class ClosePerson(PersonAction, frozen=True, kw_only=True, tag="person.close"):
    """Close a person for good (P4). Who owns a group or runs an account hands over first.

    Memberships end at the same instant and credit is frozen; mutes and bars stay, as after leaving (S026). The record names the first
    `NAMED_AT_MOST` groups and counts all; every role interval names the record that ended it.
    """

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [
            *super().needs(caller),
            Need(Belongings, (self.person_id,)),
            credit.ledger_needs("person", self.person_id),
        ]

    def more(self, here: Situation) -> Sequence[Need]:
        """Whatever the person is part of, locked, so that the headcounts stay right."""
        belongings = here.get(Belongings, self.person_id)
        return [
            *(Need(Group, (group,), write=True) for group in belongings.groups),
            *(Need(Role, (group, self.person_id), write=True) for group in belongings.groups),
            *(Need(Operator, (operator,), write=True) for operator in belongings.operators),
        ]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `owner_must_transfer` (data: how many groups and accounts are still the person's)."""
        person = self.person(here)
        roles, groups = self._memberships(here)
        owned = sum(role.rank == OWNER for role in roles)
        accounts = self._accounts(here)
        if owned or accounts:
            raise Refusal(Code.OWNER_MUST_TRANSFER, groups=owned, accounts=accounts)
        closed = msgspec.structs.replace(person, closed_at=here.at, version=person.version + 1)
        named = roles[:NAMED_AT_MOST]
        ledger = (
            credit.entered(here, "person", self.person_id, 0, "frozen")
            if here.find(credit.Credit, "person", self.person_id)
            else None
        )
        return Change(
            writes=[
                closed,
                *(role.ended(here) for role in roles),
                *groups,
                *([] if ledger is None else ledger.writes),
            ],
            before={"memberships": len(roles)},
            after={"closed_at": instant_text(here.at), "memberships": 0},
            coupled=[
                {"id": place, "what": "membership_ended", "group": f"group_{place}", "rank": role.rank}
                for place, role in enumerate(named, 1)
            ]
            + ([] if ledger is None else ledger.coupled()),
            about={f"group_{place}": Subject("group", role.group_id) for place, role in enumerate(named, 1)},
            result={"closed_at": instant_text(here.at), "version": closed.version},
            effects=[
                Effect(
                    "person.closed",
                    {"person_id": self.person_id, "left_groups": [role.group_id for role in roles]},
                ),
                # Told of each group too, for whoever asks for the effects of groups alone.
                *(
                    Effect("group.left", {"group_id": role.group_id, "person_id": self.person_id})
                    for role in roles
                ),
            ],
        )

    def _memberships(self, here: Situation) -> tuple[list[Role], list[Group]]:
        """The open roles in living groups as they stand under the locks, and those groups without the person."""
        roles: list[Role] = []
        groups: list[Group] = []
        for group_id in here.get(Belongings, self.person_id).groups:
            group, role = here.get(Group, group_id), here.find(Role, group_id, self.person_id)
            if role is None or group.dissolved_at is not None:
                continue
            roles.append(role)
            groups.append(
                group.with_(
                    member_count=group.member_count - 1,
                    admin_count=group.admin_count - (role.rank == ADMIN),
                )
            )
        return roles, groups

    def _accounts(self, here: Situation) -> int:
        operators = (
            here.get(Operator, operator) for operator in here.get(Belongings, self.person_id).operators
        )
        return sum(one.account_count for one in operators if one.answerable_person == self.person_id)
