"""Who comes in and who goes: joins, requests, invitations, answers to them, and leaving (S026, S037, S048, S049, S066)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from service.action import Change, Effect, Id, Need, Note, Reason, Situation
from service.domain.caps import Cap, over, tier_cap
from service.domain.groups.bars import Bar
from service.domain.groups.caps import caps_needs, may_join_more
from service.domain.groups.facts import ADMIN, MEMBER, OUTSIDE, OWNER, Group, GroupAction, Role, rank_of
from service.domain.groups.mutes import Mute, sooner, text_of
from service.domain.groups.requests import JoinRequest
from service.domain.people import Person
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms


def waiting(here: Situation, group_id: str, person_id: str) -> JoinRequest | None:
    """The request or invitation that may still be answered at this instant, also where the sweep is late."""
    request = here.find(JoinRequest, group_id, person_id)
    return None if request is None or sooner(request.lapses_at(here.policy), here.at) else request


def living(here: Situation, person_id: str) -> None:
    """Refuse `unknown` and `person_closed`."""
    if here.get(Person, person_id).closed_at is not None:
        raise Refusal(Code.PERSON_CLOSED)


def unbarred(here: Situation, group_id: str, person_id: str) -> None:
    """Refuse `barred` while a bar holds (S037)."""
    bar = here.find(Bar, group_id, person_id)
    if bar is not None and not sooner(bar.until, here.at):
        raise Refusal(Code.BARRED, until=text_of(bar.until))


def members_cap(policy: Policy, group: Group) -> Cap:
    """How many may be inside: the capacity its owner asked for, or what the tier allows where that is less (G4)."""
    asked, allowed = Cap(group.capacity, "group.capacity"), tier_cap(policy, "member_cap", group.tier)
    return asked if allowed is None or asked.value <= allowed.value else allowed


def has_room(here: Situation, group: Group) -> None:
    """Refuse `cap_members` at capacity, or at what the tier allows where that is less: joining stops, nobody goes (S083)."""
    cap = members_cap(here.policy, group)
    if group.member_count >= cap.value:
        raise over(Code.CAP_MEMBERS, cap, group.member_count, here.policy)


class _OfJoiner(GroupAction, frozen=True, kw_only=True):
    """An act by which somebody outside comes nearer: looks at his bar, request and mute as well.

    `asks_cap`: whether the groups he is in already count against it (S085).
    """

    asks_cap: ClassVar[bool] = False

    def joiner(self, caller: Caller) -> str:
        """The person who is to come in."""
        raise NotImplementedError

    def needs(self, caller: Caller) -> Sequence[Need]:
        pair = (self.group_id, self.joiner(caller))
        return [
            *super().needs(caller),
            Need(Bar, pair),
            Need(JoinRequest, pair, write=True),
            Need(Mute, pair),
            # Locked: nobody joins while he is being closed, or joins elsewhere.
            *([Need(Person, (pair[1],), write=True)] if pair[1] else []),
            *(caps_needs(pair[1]) if pair[1] and self.asks_cap else []),
        ]


class _ByJoiner(_OfJoiner, frozen=True, kw_only=True):
    """An act of the person who wants to come in."""

    def joiner(self, caller: Caller) -> str:
        return caller.person_id

    def known(self, here: Situation) -> JoinRequest | None:
        """What waits for or from the caller. A private group is known only to whom it invited: else `unknown`."""
        request = waiting(here, self.group_id, here.caller.person_id)
        if self.group(here).surface() == "none" and (request is None or request.invited_by is None):
            raise Refusal(Code.UNKNOWN)
        return request


class _OnJoiner(_OfJoiner, frozen=True, kw_only=True):
    """An act on the person who is to come in."""

    person_id: Id

    def other(self) -> str:
        return self.person_id

    def joiner(self, caller: Caller) -> str:
        return self.person_id


class JoinGroup(_ByJoiner, frozen=True, kw_only=True, tag="group.join"):
    """Come in: where the door is open, by a link, or invited. An unexpired mute holds again (S026).

    `by_link`: the backend says that the person came by a link of the group that is valid. A freeze of joining stops it here.
    """

    asks_cap: ClassVar[bool] = True

    by_link: bool = False

    def asked(self) -> dict[str, Any]:
        return {"by_link": self.by_link}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `unknown`, `barred`, `already_in_state` (his request waits), `approval_needed`, `cap_members`,
        `cap_groups_joined`.
        """
        del terms
        group, person = self.group(here), here.caller.person_id
        request = self.known(here)
        unbarred(here, self.group_id, person)
        invited = request is not None and request.invited_by is not None
        if not (invited or group.join_mode == "open" or (self.by_link and group.link_open)):
            raise Refusal(Code.APPROVAL_NEEDED if request is None else Code.ALREADY_IN_STATE)
        return entered(here, group, person, request, "joined")


class RequestJoin(_ByJoiner, frozen=True, kw_only=True, tag="group.request_join"):
    """Ask to be let in where joining goes by approval."""

    writes_group: ClassVar[bool] = False
    asks_cap: ClassVar[bool] = True

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `unknown`, `barred`, `already_in_state` (one waits), `not_in_state` (nobody approves here), `cap_groups_joined`."""
        del terms
        person = here.caller.person_id
        request = self.known(here)
        unbarred(here, self.group_id, person)
        if request is not None:
            raise Refusal(Code.ALREADY_IN_STATE)
        if self.group(here).join_mode != "approval":
            raise Refusal(Code.NOT_IN_STATE, join_mode=self.group(here).join_mode)
        may_join_more(here, person)
        return opened(here, self.group_id, person, None)


class InvitePerson(_OnJoiner, frozen=True, kw_only=True, tag="group.invite"):
    """Ask somebody in; joining waits for that person. Where one joins by invitation only, members do not invite."""

    writes_group: ClassVar[bool] = False

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `refused`, `unknown`, `person_closed`, `barred`, `already_in_state`, `cap_members`."""
        del terms
        group = self.group(here)
        if group.join_mode == "invite" and self.my_rank(here) < ADMIN:
            raise Refusal(Code.REFUSED, why="members invite only where others may ask to join")
        living(here, self.person_id)
        unbarred(here, self.group_id, self.person_id)
        inside = rank_of(here, self.group_id, self.person_id) > OUTSIDE
        if inside or waiting(here, self.group_id, self.person_id) is not None:
            raise Refusal(Code.ALREADY_IN_STATE)
        has_room(here, group)
        return opened(here, self.group_id, self.person_id, here.caller.person_id)


class AdmitPerson(_OnJoiner, frozen=True, kw_only=True, tag="group.admit"):
    """Say yes to a request to join; a request is answered once (S049)."""

    asks_cap: ClassVar[bool] = True

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `person_closed`, `barred`, `request_handled` (also where none was made), `cap_members`,
        `cap_groups_joined`.
        """
        del terms
        living(here, self.person_id)
        unbarred(here, self.group_id, self.person_id)
        request = waiting(here, self.group_id, self.person_id)
        if request is None or request.invited_by is not None:
            raise Refusal(Code.REQUEST_HANDLED)
        return entered(here, self.group(here), self.person_id, request, "admitted")


class TurnAway(_OnJoiner, frozen=True, kw_only=True, tag="group.turn_away"):
    """Say no to a request to join, or take an invitation back (S049)."""

    writes_group: ClassVar[bool] = False

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `request_handled`."""
        del terms
        request = waiting(here, self.group_id, self.person_id)
        if request is None:
            raise Refusal(Code.REQUEST_HANDLED)
        return closed(here, request, "turned_away")


class ExpireRequest(_OnJoiner, frozen=True, kw_only=True, tag="group.expire_request"):
    """A request or invitation that nobody answered lapses."""

    writes_group: ClassVar[bool] = False

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it was answered or is not over (S016)."""
        del terms
        request = here.find(JoinRequest, self.group_id, self.person_id)
        if request is None or waiting(here, self.group_id, self.person_id) is not None:
            raise Refusal(Code.NOT_IN_STATE)
        return closed(here, request, "lapsed")


class LeaveGroup(GroupAction, frozen=True, kw_only=True, tag="group.leave"):
    """Go. Mutes and bars stay (S026); the owner goes only by transfer, dissolution or succession (S066)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `owner_must_transfer`."""
        del terms
        group, person = self.group(here), here.caller.person_id
        role = here.get(Role, self.group_id, person)
        if role.rank == OWNER:
            raise Refusal(Code.OWNER_MUST_TRANSFER)
        after = group.with_(
            member_count=max(0, group.member_count - 1),
            admin_count=group.admin_count - (role.rank == ADMIN),
        )
        return Change(
            writes=[after, role.ended(here)],
            before={"rank": role.rank, "member_count": group.member_count},
            after={"rank": OUTSIDE, "member_count": after.member_count},
            links=[role.by_record],
            result={"group_id": self.group_id, "member_count": after.member_count},
            effects=[Effect("group.left", {"group_id": self.group_id, "person_id": person})],
        )


def opened(here: Situation, group_id: str, person_id: str, invited_by: str | None) -> Change:
    """The change that opens a request or an invitation; one that has lapsed unswept is closed first."""
    lapsed = here.find(JoinRequest, group_id, person_id)
    request = JoinRequest(
        by_record=here.record_id, group_id=group_id, person_id=person_id, invited_by=invited_by, at=here.at
    )
    what = "invitation" if invited_by is not None else "request"
    until = text_of(request.lapses_at(here.policy))
    return Change(
        writes=[request] if lapsed is None else [lapsed.ended(here, "lapsed"), request],
        after={what: "open", "until": until},
        coupled=[] if lapsed is None else [{"ended": "lapsed request"}],
        links=[] if lapsed is None else [lapsed.by_record],
        result={"person_id": person_id, what: "open", "until": until},
        effects=[
            Effect(
                "group.invited" if invited_by is not None else "group.join_requested",
                {"group_id": group_id, "person_id": person_id, "until": until},
            )
        ],
    )


def closed(here: Situation, request: JoinRequest, how: Literal["turned_away", "lapsed"]) -> Change:
    """The change that ends a request or invitation without anybody coming in; it names the act whose end it is."""
    what = "invitation" if request.invited_by is not None else "request"
    return Change(
        writes=[request.ended(here, how)],
        before={what: "open"},
        after={what: how},
        links=[request.by_record],
        result={"person_id": request.person_id, what: how},
        effects=[
            Effect(
                "group.request_closed",
                {"group_id": request.group_id, "person_id": request.person_id, "what": what, "how": how},
            )
        ],
    )


def entered(
    here: Situation,
    group: Group,
    person_id: str,
    request: JoinRequest | None,
    how: Literal["joined", "admitted"],
) -> Change:
    """The change by which a person is inside: counted, his request ended, his unexpired mute in force (S026, S048)."""
    has_room(here, group)
    may_join_more(here, person_id)
    after = group.with_(member_count=group.member_count + 1)
    role = Role(
        by_record=here.record_id,
        person_id=person_id,
        group_id=group.group_id,
        rank=MEMBER,
        from_at=here.at,
    )
    mute = here.find(Mute, group.group_id, person_id)
    muted: dict[str, Any] = {}
    if mute is not None and not sooner(mute.until, here.at):
        muted = {"muted": True, "muted_until": text_of(mute.until)}
    ended = here.find(JoinRequest, group.group_id, person_id)
    writes: list[Any] = [after, role]
    if ended is not None:
        writes.append(ended.ended(here, how if ended is request else "lapsed"))
    late = {} if ended is request else {"request": "lapsed"}
    return Change(
        writes=writes,
        before={"rank": OUTSIDE, "member_count": group.member_count},
        after={"rank": MEMBER, "member_count": after.member_count, **muted, **late},
        links=[one.by_record for one in (ended, mute if muted else None) if one is not None],
        result={
            "group_id": group.group_id,
            "person_id": person_id,
            "member_count": after.member_count,
            **muted,
        },
        effects=[Effect("group.joined", {"group_id": group.group_id, "person_id": person_id, **muted})],
    )
