"""Who follows an owner who is lost or asks to go, and groups that have none (S066-S071)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from service.action import Change, Effect, Id, Need, Note, Reason, Situation, Stand, Subject
from service.clock import instant_text, parse_instant
from service.domain import staff
from service.domain.groups.caps import creditworthy, level_of
from service.domain.groups.facts import OUTSIDE, Group, GroupAction, Role, rank_of
from service.domain.ownership.handover import (
    hand_over,
    heir_needs,
    leave_ownerless,
    unfit,
    unfit_anywhere,
    unfit_as_member,
)
from service.domain.people import Person
from service.domain.staff import Staff
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms

#: A person agrees to own an ownerless group by accepting the terms of this name with the group's id (person.accept_terms).
CONSENT = "group_owner:"


class NameSuccessors(GroupAction, frozen=True, kw_only=True, tag="group.name_successors"):
    """Say who follows, in order; the list replaces the old one and may be empty (S066, S072)."""

    successors: Annotated[
        list[Id], msgspec.Meta(max_length=10, description="Members who can own a group, first choice first.")
    ]

    def form(self, policy: Policy) -> None:
        if len(set(self.successors)) < len(self.successors):
            raise Refusal(Code.DUPLICATE_TARGET, pointer="/successors")

    def about(self, here: Situation) -> dict[str, Subject]:
        return _by_place(self.successors)

    def needs(self, caller: Caller) -> Sequence[Need]:
        named = [(Need(Role, (self.group_id, one)), Need(Person, (one,))) for one in self.successors]
        return [*super().needs(caller), *(need for pair in named for need in pair)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `self_target`, `not_eligible`, `not_in_group`; the pointer says which."""
        del terms
        group = self.group(here)
        for place, one in enumerate(self.successors):
            pointer = f"/successors/{place}"
            if one == group.owner_id:
                raise Refusal(Code.SELF_TARGET, pointer=pointer)
            why = unfit_anywhere(here.find(Person, one))
            if rank_of(here, self.group_id, one) != OUTSIDE and why is not None:
                raise Refusal(Code.NOT_ELIGIBLE, pointer=pointer, why=why)
        for place, one in enumerate(self.successors):
            if rank_of(here, self.group_id, one) == OUTSIDE:
                raise Refusal(Code.NOT_IN_GROUP, pointer=f"/successors/{place}")
        changed = group.with_(successors=self.successors)
        return Change(
            writes=[changed],
            before={"successors": len(group.successors)},
            after={"successors": len(self.successors)},
            result={"successors": self.successors, "version": changed.version},
        )


def lost(here: Situation, owner: Person) -> str | None:
    """Why time opens succession for this owner: closed, bot, unverified or absent; None: it does not (S067).

    What bars a person from owning is asked here too, and then there is no wait (S067, S073).
    """
    why = unfit_anywhere(owner)
    if why is None and owner.seen_at is not None:
        longest = dt.timedelta(days=here.policy.parameters.owner_absent_d)
        if here.at - owner.seen_at > longest:
            return "absent"
    return why


class _OfSuccession(GroupAction, frozen=True, kw_only=True):
    """Looks at the owner and at every successor: who of them can own is found now, not when they were named."""

    def more(self, here: Situation) -> Sequence[Need]:
        group = here.find(Group, self.group_id)
        if group is None:
            return ()
        needs = [need for one in group.successors for need in heir_needs(self.group_id, one)]
        if group.owner_id is not None:
            needs += [
                Need(Role, (self.group_id, group.owner_id)),
                Need(Person, (group.owner_id,), write=True),
            ]
        return needs


class OpenSuccession(_OfSuccession, frozen=True, kw_only=True, tag="group.open_succession"):
    """Let the group go to a successor: the owner asks, or is lost; it waits `succession_wait_d` days (S066, S067).

    A closed owner has no wait, also when a wait has begun before he closed.
    """

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`, `already_in_state`, and to the owner `successor_missing`."""
        del terms
        group = self.group(here)
        if group.owner_id is None:
            raise Refusal(Code.NOT_IN_STATE, state="ownerless")
        owner = here.get(Person, group.owner_id)
        closed = owner.closed_at is not None
        due = group.succession_due_at
        if due is not None and not (closed and due > here.at):
            raise Refusal(Code.ALREADY_IN_STATE, due_at=instant_text(due))
        why = "owner_asks" if here.caller.kind == "person" else lost(here, owner)
        if why is None:
            raise Refusal(Code.NOT_IN_STATE, state="owner_present")
        if why == "owner_asks" and all(unfit(here, self.group_id, one) for one in group.successors):
            raise Refusal(Code.SUCCESSOR_MISSING)
        wait = dt.timedelta(days=0 if closed else here.policy.parameters.succession_wait_d)
        due_at = here.at + wait
        changed = group.with_(succession_due_at=due_at, succession_record=here.record_id)
        return Change(
            writes=[changed],
            before={} if due is None else {"due_at": instant_text(due)},
            after={"succession": "open", "cause": why, "due_at": instant_text(due_at)},
            about={"owner": Subject("person", group.owner_id)},
            links=[] if group.succession_record is None else [group.succession_record],
            result={"due_at": instant_text(due_at), "version": changed.version},
            effects=[
                Effect(
                    "group.succession_opened",
                    {
                        "group_id": self.group_id,
                        "owner_id": group.owner_id,
                        "cause": why,
                        "due_at": instant_text(due_at),
                    },
                )
            ],
        )


class Reclaim(GroupAction, frozen=True, kw_only=True, tag="group.reclaim"):
    """The owner is back, before the succession is due: it is cancelled (S067).

    Who acts has been seen: `seen_at` becomes this instant. Who cannot own (bot, unverified) cannot reclaim either, or time
    would open the succession again at once.
    """

    def needs(self, caller: Caller) -> Sequence[Need]:
        person = [Need(Person, (caller.person_id,), write=True)] if caller.kind == "person" else []
        return [*super().needs(caller), *person]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_eligible`, `not_in_state`."""
        del terms
        group, owner = self.group(here), staff.acting(here)
        why = unfit_anywhere(owner)
        if why is not None:
            raise Refusal(Code.NOT_ELIGIBLE, why=why)
        due, opened = group.succession_due_at, group.succession_record
        if due is None or opened is None or due <= here.at:
            raise Refusal(Code.NOT_IN_STATE)
        changed = group.with_(succession_due_at=None, succession_record=None)
        return Change(
            writes=[changed, msgspec.structs.replace(owner, seen_at=here.at, version=owner.version + 1)],
            before={"succession": "open", "due_at": instant_text(due)},
            after={"succession": "cancelled"},
            coupled=[{"what": "seen_at", "of": "actor", "now": instant_text(here.at)}],
            links=[opened],
            result={"version": changed.version},
            effects=[Effect("group.succession_cancelled", {"group_id": self.group_id})],
        )


class _Due(_OfSuccession, frozen=True, kw_only=True):
    def due(self, here: Situation) -> Group:
        """The group, whose succession is due. Raises Refusal `not_in_state`."""
        group = self.group(here)
        if group.owner_id is None or group.succession_due_at is None or group.succession_due_at > here.at:
            raise Refusal(Code.NOT_IN_STATE)
        return group

    def passed_over(self, here: Situation, group: Group) -> tuple[str | None, list[dict[str, Any]]]:
        """The first successor who can own now, and those before him with why not (S068)."""
        over: list[dict[str, Any]] = []
        for place, one in enumerate(group.successors, 1):
            why = unfit(here, self.group_id, one)
            if why is None:
                return one, over
            over.append({"who": f"successor_{place}", "why": why})
        return None, over


class Succeed(_Due, frozen=True, kw_only=True, tag="group.succeed"):
    """The succession is due: the first successor who can own now becomes owner (S068)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`, `successor_missing`: then the group is orphaned."""
        del terms
        group = self.due(here)
        heir, over = self.passed_over(here, group)
        if heir is None:
            raise Refusal(Code.SUCCESSOR_MISSING)
        change = hand_over(here, group, heir)
        change.about |= _by_place(group.successors[: len(over)])
        if over:
            change.after["passed_over"] = over
        return change


class Orphan(_Due, frozen=True, kw_only=True, tag="group.orphan"):
    """The succession is due and nobody can follow: the group has no owner; joining stops at once (S069).

    When members lose speech follows from the instant (`silent_from`). The duty of a team to assign an owner joins here.
    """

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`, also while somebody can follow."""
        del terms
        group = self.due(here)
        heir, over = self.passed_over(here, group)
        if heir is not None:
            raise Refusal(Code.NOT_IN_STATE, state="successor_present")
        change = leave_ownerless(here, group)
        change.about |= _by_place(group.successors)
        if over:
            change.after["passed_over"] = over
        return change


class AssignOwner(GroupAction, frozen=True, kw_only=True, tag="group.assign_owner"):
    """Give an ownerless group an owner who agreed; what ownerlessness froze is free again (S071).

    He agreed when he stands on the list of successors that the last owner left, or accepted the terms
    `group_owner:<group_id>` since the group has no owner. Parties, who approve nothing here, are he himself, the other
    successors, and the caller where he has a role in the group.
    """

    person_id: Id
    reason: Reason | None = None
    note: Note | None = None

    def other(self) -> str:
        return self.person_id

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), *heir_needs(self.group_id, self.person_id)]

    def more(self, here: Situation) -> Sequence[Need]:
        me = self._caller_as_person(here)
        return () if me is None else [Need(Role, (self.group_id, me))]

    def stand(self, here: Situation) -> Stand:
        parties = {f"person:{self.person_id}", *(f"person:{one}" for one in self.group(here).successors)}
        me = self._caller_as_person(here)
        if me is not None and rank_of(here, self.group_id, me) != OUTSIDE:
            parties.add(f"person:{me}")
        stood = super().stand(here)
        if here.caller.kind == "person":
            return stood
        apart = staff.stand(here, parties=tuple(sorted(parties)))
        return stood._replace(relations=apart.relations, parties=apart.parties)

    def _caller_as_person(self, here: Situation) -> str | None:
        if here.caller.kind != "staff":
            return None
        someone = here.find(Staff, here.caller.staff_id)
        return None if someone is None else someone.person_id

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_eligible` (also at his cap of owned groups), `credit_too_low`, `not_in_state`, `consent_missing`."""
        del terms
        group = self.group(here)
        if unfit_as_member(here, self.group_id, self.person_id) is None:
            creditworthy(here.policy, level_of(here, self.person_id), group.tier)
        why = unfit(here, self.group_id, self.person_id)
        if why is not None:
            raise Refusal(Code.NOT_ELIGIBLE, why=why)
        if group.ownerless_since is None:
            raise Refusal(Code.NOT_IN_STATE)
        if self.person_id not in group.successors and not agreed(
            here.get(Person, self.person_id), group.group_id, group.ownerless_since
        ):
            raise Refusal(Code.CONSENT_MISSING)
        return hand_over(here, group, self.person_id)


def agreed(person: Person, group_id: str, since: dt.datetime) -> bool:
    """Whether a person accepted to own this group, since it has no owner."""
    return any(
        one.get("document") == f"{CONSENT}{group_id}" and parse_instant(one["at"]) >= since
        for one in person.terms_accepted
    )


def _by_place(successors: Sequence[str]) -> dict[str, Subject]:
    return {f"successor_{place}": Subject("person", one) for place, one in enumerate(successors, 1)}
