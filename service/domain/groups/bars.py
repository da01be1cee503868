"""Removing members, and keeping persons out for a time (S036-S040)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from service.action import Change, Effect, Id, Need, Note, Reason, Situation
from service.domain.groups.facts import ADMIN, OUTSIDE, OWNER, Group, GroupAction, Role
from service.domain.groups.mutes import sooner, text_of, until_of
from service.domain.groups.requests import JoinRequest
from service.domain.people import Person
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms

#: The longest bar that has an end, in days: a longer one is a permanent one, which is the owner's to set.
BAR_MAX_D = 3650
_DAY_S = 86_400


@subject
class Bar(Row, frozen=True, kw_only=True):
    """A person kept out of one group; holds while `until` >= now; `until` null: permanent."""

    table = "bar"
    key = ("by_record",)
    look_key = ("group_id", "person_id")
    only = "t.ended_at IS NULL"

    by_record: str
    group_id: str
    person_id: str
    from_at: dt.datetime
    until: dt.datetime | None
    by_rank: int
    supersedes: str | None = None
    ended_at: dt.datetime | None = None
    ended_how: Literal["superseded", "unbarred", "lapsed", "dissolved"] | None = None
    ended_record: str | None = None

    def holds(self, at: dt.datetime) -> bool:
        """Whether it keeps the person out at this instant: it may be over before the sweep says so."""
        return not sooner(self.until, at)

    def ended(self, here: Situation, how: Literal["superseded", "unbarred", "lapsed", "dissolved"]) -> Bar:
        """The bar, ended by this act."""
        return msgspec.structs.replace(self, ended_at=here.at, ended_how=how, ended_record=here.record_id)


def without(group: Group, role: Role) -> Group:
    """The group after the holder of this role is gone from it."""
    return group.with_(
        member_count=group.member_count - 1, admin_count=group.admin_count - int(role.rank == ADMIN)
    )


def removed(group_id: str, person_id: str, how: Literal["removed", "barred"]) -> Effect:
    """What the backend is told of a person who is no longer inside."""
    return Effect("group.member_removed", {"group_id": group_id, "person_id": person_id, "how": how})


class RemoveMember(GroupAction, frozen=True, kw_only=True, tag="group.remove_member"):
    """Put a lower-ranked person out of the group: what he held there ends at one instant; he may come again (S036-S038)."""

    person_id: Id
    reason: Reason | None = None
    note: Note | None = None

    def other(self) -> str:
        return self.person_id

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_group`."""
        del terms
        role = here.find(Role, self.group_id, self.person_id)
        if role is None:
            raise Refusal(Code.NOT_IN_GROUP)
        group = without(self.group(here), role)
        return Change(
            writes=[role.ended(here), group],
            before={"rank": role.rank},
            after={"rank": OUTSIDE},
            links=[role.by_record],
            result={
                "person_id": self.person_id,
                "member_count": group.member_count,
                "version": group.version,
            },
            effects=[removed(self.group_id, self.person_id, "removed")],
        )


class BarMember(GroupAction, frozen=True, kw_only=True, tag="group.bar_member"):
    """Keep a person of lower rank, or from outside, out for `days` (S037, S038); one who is inside is removed.

    Without `days` the published default holds; null, which only the owner may say, is permanent. Replaces an open bar.
    """

    person_id: Id
    days: Annotated[int, msgspec.Meta(ge=1, le=BAR_MAX_D)] | msgspec.UnsetType | None = msgspec.UNSET
    reason: Reason | None = None
    note: Note | None = None

    def other(self) -> str:
        return self.person_id

    def asked(self) -> dict[str, int | None]:
        return {} if self.days is msgspec.UNSET else {"days": self.days}

    def needs(self, caller: Caller) -> Sequence[Need]:
        pair = (self.group_id, self.person_id)
        return [
            *super().needs(caller),
            Need(Person, (self.person_id,)),
            Need(Bar, pair, write=True),
            Need(JoinRequest, pair, write=True),
        ]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `unknown`, `rank_not_lower` (a shorter bar over a higher rank's, as S028), `duration_over_limit`."""
        del terms
        here.get(Person, self.person_id)
        rank = self.my_rank(here)
        days = here.policy.parameters.bar_default_d if self.days is msgspec.UNSET else self.days
        until = until_of(here, None if days is None else days * _DAY_S)
        old = here.find(Bar, self.group_id, self.person_id)
        if old is not None and old.by_rank > rank and sooner(until, old.until):
            raise Refusal(Code.RANK_NOT_LOWER)
        if days is None and rank < OWNER:
            raise Refusal(Code.DURATION_OVER_LIMIT, pointer="/days", maximum=BAR_MAX_D)
        bar = Bar(
            by_record=here.record_id,
            group_id=self.group_id,
            person_id=self.person_id,
            from_at=here.at,
            until=until,
            by_rank=rank,
            supersedes=None if old is None else old.by_record,
        )
        change = Change(
            writes=[bar] if old is None else [old.ended(here, "superseded"), bar],
            before={} if old is None else {"until": text_of(old.until)},
            after={"until": text_of(until)},
            links=[] if old is None else [old.by_record],
            result={"person_id": self.person_id, "until": text_of(until)},
            effects=[
                Effect(
                    "group.member_barred",
                    {"group_id": self.group_id, "person_id": self.person_id, "until": text_of(until)},
                )
            ],
        )
        self._end_request(here, change)
        self._put_out(here, change)
        return change

    def _end_request(self, here: Situation, change: Change) -> None:
        """Nobody answers the request of a barred person any more."""
        request = here.find(JoinRequest, self.group_id, self.person_id)
        if request is None:
            return
        change.writes.append(request.ended(here, "barred"))
        change.links.append(request.by_record)
        change.coupled.append(_coupled(change, "group.request_ended", {"how": "barred"}))
        change.effects.append(
            Effect(
                "group.request_ended",
                {"group_id": self.group_id, "person_id": self.person_id, "how": "barred"},
            )
        )

    def _put_out(self, here: Situation, change: Change) -> None:
        """A bar of somebody inside removes him in the same act."""
        role = here.find(Role, self.group_id, self.person_id)
        if role is None:
            return
        group = without(self.group(here), role)
        change.writes += [role.ended(here), group]
        change.links.append(role.by_record)
        change.coupled.append(
            _coupled(
                change, "group.member_removed", {"before": {"rank": role.rank}, "after": {"rank": OUTSIDE}}
            )
        )
        change.result = {**change.result, "member_count": group.member_count, "version": group.version}
        change.effects.append(removed(self.group_id, self.person_id, "barred"))


def _coupled(change: Change, effect: str, facts: dict[str, Any]) -> dict[str, Any]:
    """One coupled effect on the person, with its own id inside the record (S002)."""
    return {"id": len(change.coupled) + 1, "effect": effect, "who": "person", **facts}


class _OfBar(GroupAction, frozen=True, kw_only=True):
    """An act on one open bar; the group's own row stays as it is."""

    writes_group: ClassVar[bool] = False

    person_id: Id

    def other(self) -> str:
        return self.person_id

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), Need(Bar, (self.group_id, self.person_id), write=True)]


class UnbarMember(_OfBar, frozen=True, kw_only=True, tag="group.unbar_member"):
    """Let a barred person come again; a bar that a higher rank set stays (S040)."""

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `rank_not_lower`, `not_in_state`."""
        del terms
        old = here.find(Bar, self.group_id, self.person_id)
        if old is None or not old.holds(here.at):
            raise Refusal(Code.NOT_IN_STATE)
        if old.by_rank > self.my_rank(here):
            raise Refusal(Code.RANK_NOT_LOWER)
        return ending_bar(here, old, "unbarred")


class ExpireBar(_OfBar, frozen=True, kw_only=True, tag="group.expire_bar"):
    """A bar ends by lapse, the instant after `until` (S015)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it was ended by hand or is not over (S016)."""
        del terms
        old = here.find(Bar, self.group_id, self.person_id)
        if old is None or old.holds(here.at):
            raise Refusal(Code.NOT_IN_STATE)
        return ending_bar(here, old, "lapsed")


def ending_bar(here: Situation, old: Bar, how: Literal["unbarred", "lapsed"]) -> Change:
    """The change that ends one bar and names the act whose end it is."""
    return Change(
        writes=[old.ended(here, how)],
        before={"until": text_of(old.until)},
        after={"ended": how},
        links=[old.by_record],
        result={"person_id": old.person_id, "ended": how, "set_by": old.by_record},
        effects=[
            Effect(
                "group.member_unbarred", {"group_id": old.group_id, "person_id": old.person_id, "how": how}
            )
        ],
    )
