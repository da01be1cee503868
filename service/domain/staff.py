"""Staff: who holds which standing or post, by intervals (S211, S212), and what a caller is where no group gives a rank."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import msgspec

from service.action import (
    Action,
    Change,
    Id,
    Jurisdiction,
    Need,
    Note,
    Reason,
    Situation,
    Stand,
    Subject,
    action_name,
)
from service.caller import Caller, Relation, Standing
from service.db import queries
from service.domain.people import Person
from service.errors import Code, Refusal
from service.rows import Gated, Row, subject

if TYPE_CHECKING:
    from service.policy import Terms

sql = queries(__file__)
#: Relations that hold for machines: they have no stake; the policy limits them by standing alone.
_MACHINE = frozenset(
    {Relation.ANY, Relation.HERE, Relation.SELF, Relation.OWN, Relation.APART, Relation.IN_SCOPE}
)


@subject
class Staff(Row, frozen=True, kw_only=True):
    """A member of staff or an authority's reader. `person_id` where the same human is also an IM user."""

    table = "staff"
    key = ("staff_id",)
    reading = "read"

    staff_id: str
    person_id: str | None = None
    jurisdiction: str = "CN"
    created_at: dt.datetime
    version: int = 1


class StaffRole(Row, frozen=True, kw_only=True):
    """One standing or post held from `from_at` until `until_at` (null: still), by the record that appointed."""

    table = "staff_role"
    key = ("by_record", "staff_id")

    by_record: str
    staff_id: str
    standing: str
    from_at: dt.datetime
    until_at: dt.datetime | None = None
    ended_record: str | None = None


class OpenRoles(Row, frozen=True, kw_only=True):
    """What one member of staff holds now. Looked at, never written: its rows are `StaffRole`."""

    table = "staff_role"
    key = ("staff_id",)

    staff_id: str
    roles: tuple[StaffRole, ...] = ()

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read the open intervals of each staff member; the staff row is the lock."""
        del lock
        columns = ", ".join(StaffRole.__struct_fields__)
        found = await db.fetch(
            f"SELECT {columns} FROM staff_role WHERE staff_id = ANY($1) AND until_at IS NULL ORDER BY from_at, by_record",
            [key[0] for key in keys],
        )
        held: dict[tuple[str, ...], list[StaffRole]] = {key: [] for key in keys}
        for record in found:
            role = StaffRole.from_record(record)
            held[role.staff_id,].append(role)
        return {key: cls(staff_id=key[0], roles=tuple(roles)) for key, roles in held.items()}

    def standings(self, kind: str) -> tuple[Standing, ...]:
        """The standings that a key of this kind lends its holder: a regulator's that one alone, no other ever that one (S190)."""
        held = _standings(role.standing for role in self.roles)
        return tuple(one for one in held if (one == Standing.REGULATOR) == (kind == "regulator"))

    def fit(self, kind: str) -> bool:
        """Whether a key of this kind may be bound to who holds this; the post alone is enough for one of staff."""
        held = {role.standing for role in self.roles}
        return bool(held) and (Standing.REGULATOR.value in held) == (kind == "regulator")


class Held(msgspec.Struct, frozen=True):
    """One standing or post that somebody holds now."""

    staff_id: str
    person_id: str | None
    standing: str


class Roster(Gated, frozen=True, kw_only=True):
    """What everybody of staff holds now. Who would change something looks alone: the next waits for him. Never written."""

    gate = "staff"
    table = "staff_role"
    key = ()

    held: tuple[Held, ...] = ()

    @classmethod
    async def found(cls, db: Any, keys: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], Self]:
        """Everybody, under each of the keys."""
        held = tuple(Held(**row) for row in await sql.held(db))
        return dict.fromkeys(keys, cls(held=held))

    def without(self, staff_id: str, standing: str) -> list[tuple[Standing, ...]]:
        """What each human would hold, under all his ids, were this standing taken from this staff id."""
        left: dict[str, list[str]] = {}
        for one in self.held:
            if (one.staff_id, one.standing) != (staff_id, standing):
                human = f"staff:{one.staff_id}" if one.person_id is None else f"person:{one.person_id}"
                left.setdefault(human, []).append(one.standing)
        return [_standings(held) for held in left.values()]

    def of_human(self, staff_id: str, person_id: str | None) -> frozenset[str]:
        """What one human holds, under this staff id and under every other that is known to be the same person."""
        return frozenset(
            one.standing
            for one in self.held
            if one.staff_id == staff_id or (person_id is not None and one.person_id == person_id)
        )


def _standings(held: Iterable[str]) -> tuple[Standing, ...]:
    """The standings among what one holds; a post is none. Beside `regulator` nothing else counts (S190)."""
    known = {standing.value for standing in Standing}
    found = tuple(Standing(one) for one in held if one in known)
    return (Standing.REGULATOR,) if Standing.REGULATOR in found else found


def needs_of(caller: Caller) -> list[Need]:
    """The rows that say who the caller is, where no group or account does: his person row or his staff roles."""
    if caller.kind == "person":
        return [Need(Person, (caller.person_id,))]
    if caller.kind in {"staff", "regulator"}:
        return [Need(Staff, (caller.staff_id,)), Need(OpenRoles, (caller.staff_id,))]
    return []


def humans(here: Situation) -> frozenset[str]:
    """The caller as human, under every id he is known by; empty for machines."""
    caller = here.caller
    if caller.kind in {"staff", "regulator"}:
        staff = here.find(Staff, caller.staff_id)
        person = {f"person:{staff.person_id}"} if staff is not None and staff.person_id else set()
        return frozenset({f"staff:{caller.staff_id}", *person})
    return frozenset({caller.human}) if caller.human else frozenset()


def acting(here: Situation) -> Person:
    """The person acted for. Raises Refusal `unknown` or `person_closed`."""
    person = here.get(Person, here.caller.person_id)
    if person.closed_at is not None:
        raise Refusal(Code.PERSON_CLOSED)
    return person


def stand(
    here: Situation, *, parties: tuple[str, ...] = (), own: bool = False, myself: bool = False
) -> Stand:
    """Return the stand of a caller without rank: staff by their roles, machines as such, people as owner or stranger.

    `own`: the caller answers for this account, operator or matter; he then stands as `owner`. `myself`: he is the target.
    `parties`: humans with a stake, as `kind:id`; a caller among them is not `apart`.
    """
    caller = here.caller
    if caller.kind == "backend":
        return Stand((Standing.BACKEND,), _MACHINE, parties=parties)
    if caller.kind == "sweep":
        return Stand((Standing.SWEEP,), _MACHINE, parties=parties)
    relations = {Relation.ANY}
    if humans(here).isdisjoint(parties):
        relations |= {Relation.APART, Relation.UNINVOLVED}
    if own:
        relations.add(Relation.OWN)
    if myself:
        relations.add(Relation.SELF)
    if caller.kind == "founding":
        return Stand((), frozenset({Relation.ANY}), parties=parties)
    if caller.kind == "person":
        acting(here)
        return Stand((Standing.OWNER if own else Standing.STRANGER,), frozenset(relations), parties=parties)
    relations.add(Relation.IN_SCOPE)
    return Stand(
        here.get(OpenRoles, caller.staff_id).standings(caller.kind), frozenset(relations), parties=parties
    )


# Acts

HEAD = "head_of_content_safety"
_THREE = 3
_REGULATOR = Standing.REGULATOR.value
Office = Literal[
    "moderator", "classifier", "approver", "compliance", "auditor", "regulator", "head_of_content_safety"
]


class PostHolder(Row, frozen=True, kw_only=True):
    """Who holds a post now: the open interval of the whole house. Looked at, never written."""

    table = "staff_role"
    key = ("standing",)
    only = "t.until_at IS NULL AND t.standing = 'head_of_content_safety'"

    standing: str
    by_record: str
    staff_id: str
    from_at: dt.datetime


class _OfStaff(Action, frozen=True, kw_only=True):
    staff_id: Id

    def target(self, here: Situation) -> Subject:
        del here
        return Subject("staff", self.staff_id)

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [
            Need(Staff, (self.staff_id,), write=True),
            Need(OpenRoles, (self.staff_id,), write=True),
            *needs_of(caller),
        ]

    def stand(self, here: Situation) -> Stand:
        someone = here.find(Staff, self.staff_id)
        same = () if someone is None or someone.person_id is None else (f"person:{someone.person_id}",)
        stood = stand(here, parties=(f"staff:{self.staff_id}", *same))
        if someone is None:
            return stood
        return stood._replace(jurisdiction=someone.jurisdiction, version=someone.version)


class AppointStaff(_OfStaff, frozen=True, kw_only=True, tag="staff.appoint"):
    """Give a member of staff a standing, or the post of head of content safety, from now on (S211, S212).

    `regulator` stands alone: who reads for an authority never acts here, under any id of his (S190). The post is never
    empty: appointing another ends the holder's interval at the same instant.
    """

    created: ClassVar[bool] = True

    standing: Office
    person_id: Id | None = None
    jurisdiction: Jurisdiction | None = None
    reason: Reason | None = None
    note: Note | None = None

    def asked(self) -> dict[str, str]:
        return {"standing": self.standing}

    def needs(self, caller: Caller) -> Sequence[Need]:
        post = [Need(PostHolder, (HEAD,), write=True)] if self.standing == HEAD else []
        return [*super().needs(caller), *post, Need(Roster, (), write=True)]

    def stand(self, here: Situation) -> Stand:
        """Whoever is the same human as the one to be appointed has a part in the matter."""
        stood = super().stand(here)
        if self.person_id is None or f"person:{self.person_id}" in stood.parties:
            return stood
        again = stand(here, parties=(*stood.parties, f"person:{self.person_id}"))
        return stood._replace(relations=again.relations, parties=again.parties)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `already_in_state`, `already_assigned` (this staff id is known to be another human), `not_eligible`."""
        del terms
        held = here.get(OpenRoles, self.staff_id).roles
        if any(role.standing == self.standing for role in held):
            raise Refusal(Code.ALREADY_IN_STATE)
        someone = here.find(Staff, self.staff_id)
        known = None if someone is None else someone.person_id
        if known is not None and self.person_id not in {None, known}:
            raise Refusal(Code.ALREADY_ASSIGNED, pointer="/person_id")
        others = here.get(Roster).of_human(self.staff_id, known or self.person_id)
        if others and (self.standing == _REGULATOR) != (_REGULATOR in others):
            raise Refusal(Code.NOT_ELIGIBLE, pointer="/standing", why="regulator_stands_alone")
        if someone is None:
            row = Staff(
                staff_id=self.staff_id,
                person_id=self.person_id,
                jurisdiction=self.jurisdiction or "CN",
                created_at=here.at,
            )
        else:
            row = msgspec.structs.replace(
                someone,
                person_id=self.person_id or someone.person_id,
                jurisdiction=self.jurisdiction or someone.jurisdiction,
                version=someone.version + 1,
            )
        role = StaffRole(
            by_record=here.record_id, staff_id=self.staff_id, standing=self.standing, from_at=here.at
        )
        holder = here.find(PostHolder, HEAD) if self.standing == HEAD else None
        ended = (
            [] if holder is None else [_closed(here, holder.by_record, holder.staff_id, HEAD, holder.from_at)]
        )
        return Change(
            writes=[row, *ended, role],
            before={} if someone is None else {"jurisdiction": someone.jurisdiction},
            after={"standing": self.standing, "jurisdiction": row.jurisdiction},
            coupled=[] if holder is None else [{"ended": HEAD, "of": "predecessor"}],
            about={
                **({} if holder is None else {"predecessor": Subject("staff", holder.staff_id)}),
                **({} if self.person_id is None else {"same_human": Subject("person", self.person_id)}),
            },
            links=[] if holder is None else [holder.by_record],
            result={"standing": self.standing, "version": row.version},
        )


class DismissStaff(_OfStaff, frozen=True, kw_only=True, tag="staff.dismiss"):
    """Take a standing away; acts done under it stay as they were (S212). The post is passed on, never left empty (S211).

    As many stay as an appointment needs: one who asks, and others who agree. Else appoint a successor first.
    """

    standing: Office
    reason: Reason | None = None
    note: Note | None = None

    def asked(self) -> dict[str, str]:
        return {"standing": self.standing}

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), Need(Roster, (), write=True)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `unknown`, `not_in_state`, `successor_missing` (nobody could be appointed; the post ends by appointing another)."""
        del terms
        someone = here.get(Staff, self.staff_id)
        role = next(
            (one for one in here.get(OpenRoles, self.staff_id).roles if one.standing == self.standing), None
        )
        if role is None:
            raise Refusal(Code.NOT_IN_STATE)
        if self.standing == HEAD:
            raise Refusal(Code.SUCCESSOR_MISSING, why="appoint_a_successor_first")
        if (needed := _lacking(here, here.get(Roster).without(self.staff_id, self.standing))) is not None:
            raise Refusal(Code.SUCCESSOR_MISSING, needed=needed, why="appoint_a_successor_first")
        return Change(
            writes=[
                msgspec.structs.replace(someone, version=someone.version + 1),
                _closed(here, role.by_record, role.staff_id, role.standing, role.from_at),
            ],
            before={"standing": self.standing},
            links=[role.by_record],
            result={"ended": self.standing, "version": someone.version + 1},
        )


def _lacking(here: Situation, humans: Sequence[tuple[Standing, ...]]) -> int | None:
    """How many an appointment needs, where these could not appoint anybody under the policy in force; None: they could."""
    whoever = {Relation.APART, Relation.UNINVOLVED, Relation.IN_SCOPE}
    needed: list[int] = []
    for place, asking in enumerate(humans):
        asked = here.policy.decide(asking, action_name(AppointStaff), whoever, None)
        if not asked.allowed:
            continue
        agreeing = [
            held
            for other, held in enumerate(humans)
            if other != place and here.policy.decide(held, "approval.grant", whoever, None).allowed
        ]
        persons = asked.terms.persons
        if len(agreeing) >= persons - 1 and (persons < _THREE or _both(agreeing)):
            return None
        needed.append(persons)
    return min(needed, default=1)


def _both(agreeing: Sequence[tuple[Standing, ...]]) -> bool:
    """Whether one of these agrees as approver and another as compliance, as three do (S114)."""
    return any(
        Standing.APPROVER in one and Standing.COMPLIANCE in other
        for place, one in enumerate(agreeing)
        for another, other in enumerate(agreeing)
        if place != another
    )


def _closed(here: Situation, by_record: str, staff_id: str, standing: str, from_at: dt.datetime) -> StaffRole:
    return StaffRole(
        by_record=by_record,
        staff_id=staff_id,
        standing=standing,
        from_at=from_at,
        until_at=here.at,
        ended_record=here.record_id,
    )
