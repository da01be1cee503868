"""Mutes of one person and of the whole group (S022-S030, S040): facts that neither make nor end each other.

Only what the group itself imposed is a row here; what the platform imposes (S031, S039) is a measure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from service.action import Change, Effect, Id, Need, Note, Reason, Situation
from service.clock import instant_text
from service.domain.groups.facts import OUTSIDE, GroupAction, in_range, limit, rank_of, within
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms


@subject
class Mute(Row, frozen=True, kw_only=True):
    """A person silenced in one group; holds while `until` >= now (S022); `until` null: permanent (S024)."""

    table = "mute"
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
    ended_how: Literal["superseded", "unmuted", "lapsed", "dissolved", "owner"] | None = None
    ended_record: str | None = None

    def ended(
        self, here: Situation, how: Literal["superseded", "unmuted", "lapsed", "dissolved", "owner"]
    ) -> Mute:
        """The mute, ended by this act."""
        return msgspec.structs.replace(self, ended_at=here.at, ended_how=how, ended_record=here.record_id)


@subject
class WholeMute(Row, frozen=True, kw_only=True):
    """A whole group silenced by its owner or an admin, who themselves go on speaking (S029); `until` as in a mute."""

    table = "mute_all"
    key = ("by_record",)
    look_key = ("group_id",)
    only = "t.ended_at IS NULL"

    by_record: str
    group_id: str
    from_at: dt.datetime
    until: dt.datetime | None
    by_rank: int
    supersedes: str | None = None
    ended_at: dt.datetime | None = None
    ended_how: Literal["superseded", "unmuted", "lapsed", "dissolved"] | None = None
    ended_record: str | None = None

    def ended(
        self, here: Situation, how: Literal["superseded", "unmuted", "lapsed", "dissolved"]
    ) -> WholeMute:
        """The silence, ended by this act."""
        return msgspec.structs.replace(self, ended_at=here.at, ended_how=how, ended_record=here.record_id)


def until_of(here: Situation, seconds: int | None) -> dt.datetime | None:
    """The end of a term that starts now; None: permanent."""
    return None if seconds is None else here.at + dt.timedelta(seconds=seconds)


def text_of(until: dt.datetime | None) -> str | None:
    """An end as records and receipts write it."""
    return None if until is None else instant_text(until)


def sooner(one: dt.datetime | None, other: dt.datetime | None) -> bool:
    """Whether an end (None: never) comes before another."""
    return one is not None and (other is None or one < other)


class _OfMember(GroupAction, frozen=True, kw_only=True):
    """An act on one member that leaves the group's own row alone: acts on different members go together."""

    writes_group: ClassVar[bool] = False

    person_id: Id

    def other(self) -> str:
        return self.person_id

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), Need(Mute, (self.group_id, self.person_id), write=True)]


class MuteMember(_OfMember, frozen=True, kw_only=True, tag="group.mute"):
    """Silence a lower-ranked member for a time; replaces an open mute (S022-S028). `seconds` null: permanent."""

    seconds: int | None
    reason: Reason | None = None
    note: Note | None = None

    def form(self, policy: Policy) -> None:
        in_range(self.seconds, policy)

    def asked(self) -> dict[str, int | None]:
        return {"seconds": self.seconds}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_group`, `duration_over_limit`, `rank_not_lower` (a shorter re-mute of a higher rank's, S028)."""
        del terms
        rank = self.my_rank(here)
        if rank_of(here, self.group_id, self.person_id) == OUTSIDE:
            raise Refusal(Code.NOT_IN_GROUP)
        old = here.find(Mute, self.group_id, self.person_id)
        until = until_of(here, self.seconds)
        if old is not None and old.by_rank > rank and sooner(until, old.until):
            raise Refusal(Code.RANK_NOT_LOWER)
        within(self.seconds, limit(here.policy, self.group(here), "mute", rank))
        mute = Mute(
            by_record=here.record_id,
            group_id=self.group_id,
            person_id=self.person_id,
            from_at=here.at,
            until=until,
            by_rank=rank,
            supersedes=None if old is None else old.by_record,
        )
        return Change(
            writes=[mute] if old is None else [old.ended(here, "superseded"), mute],
            before={} if old is None else {"until": text_of(old.until)},
            after={"until": text_of(until)},
            links=[] if old is None else [old.by_record],
            result={"person_id": self.person_id, "until": text_of(until)},
            effects=[
                Effect(
                    "group.muted",
                    {"group_id": self.group_id, "person_id": self.person_id, "until": text_of(until)},
                )
            ],
        )


class UnmuteMember(_OfMember, frozen=True, kw_only=True, tag="group.unmute"):
    """End a mute early; one that a higher rank set stays (S040)."""

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`, `rank_not_lower`."""
        del terms
        old = here.find(Mute, self.group_id, self.person_id)
        if old is None or sooner(old.until, here.at):
            raise Refusal(Code.NOT_IN_STATE)
        if old.by_rank > self.my_rank(here):
            raise Refusal(Code.RANK_NOT_LOWER)
        return ending(here, old, "unmuted")


class ExpireMute(_OfMember, frozen=True, kw_only=True, tag="group.expire_mute"):
    """A mute ends by lapse, the instant after `until` (S015, S022)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it was ended by hand or is not over (S016)."""
        del terms
        old = here.find(Mute, self.group_id, self.person_id)
        if old is None or not sooner(old.until, here.at):
            raise Refusal(Code.NOT_IN_STATE)
        return ending(here, old, "lapsed")


def ending(here: Situation, old: Mute, how: Literal["unmuted", "lapsed"]) -> Change:
    """The change that ends one mute and names the act whose end it is."""
    return Change(
        writes=[old.ended(here, how)],
        before={"until": text_of(old.until)},
        after={"ended": how},
        links=[old.by_record],
        result={"person_id": old.person_id, "ended": how, "set_by": old.by_record},
        effects=[Effect("group.unmuted", {"group_id": old.group_id, "person_id": old.person_id, "how": how})],
    )


class _OfAll(GroupAction, frozen=True, kw_only=True):
    """An act on the silence of the whole group: neither the group's own row nor any person's mute changes (S030)."""

    writes_group: ClassVar[bool] = False

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), Need(WholeMute, (self.group_id,), write=True)]


class MuteAll(_OfAll, frozen=True, kw_only=True, tag="group.mute_all"):
    """Silence all members for a time; owner and admins still speak (S029). `seconds` null: permanent."""

    seconds: int | None
    reason: Reason | None = None
    note: Note | None = None

    def form(self, policy: Policy) -> None:
        in_range(self.seconds, policy)

    def asked(self) -> dict[str, int | None]:
        return {"seconds": self.seconds}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `duration_over_limit`, and `rank_not_lower` for an admin cutting the owner's short (as S028)."""
        del terms
        rank = self.my_rank(here)
        old = here.find(WholeMute, self.group_id)
        until = until_of(here, self.seconds)
        if old is not None and old.by_rank > rank and sooner(until, old.until):
            raise Refusal(Code.RANK_NOT_LOWER)
        within(self.seconds, limit(here.policy, self.group(here), "mute_all", rank))
        silence = WholeMute(
            by_record=here.record_id,
            group_id=self.group_id,
            from_at=here.at,
            until=until,
            by_rank=rank,
            supersedes=None if old is None else old.by_record,
        )
        return Change(
            writes=[silence] if old is None else [old.ended(here, "superseded"), silence],
            before={} if old is None else {"until": text_of(old.until)},
            after={"until": text_of(until)},
            links=[] if old is None else [old.by_record],
            result={"until": text_of(until)},
            effects=[Effect("group.muted_all", {"group_id": self.group_id, "until": text_of(until)})],
        )


class UnmuteAll(_OfAll, frozen=True, kw_only=True, tag="group.unmute_all"):
    """Let all members speak again; personal mutes stay (S030), and so does a silence that a higher rank set (S040)."""

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `rank_not_lower`, `not_in_state`."""
        del terms
        old = here.find(WholeMute, self.group_id)
        if old is None or sooner(old.until, here.at):
            raise Refusal(Code.NOT_IN_STATE)
        if old.by_rank > self.my_rank(here):
            raise Refusal(Code.RANK_NOT_LOWER)
        return ending_all(here, old, "unmuted")


class ExpireMuteAll(_OfAll, frozen=True, kw_only=True, tag="group.expire_mute_all"):
    """The silence of a whole group ends by lapse, the instant after `until` (S015)."""

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when it was ended by hand or is not over (S016)."""
        del terms
        old = here.find(WholeMute, self.group_id)
        if old is None or not sooner(old.until, here.at):
            raise Refusal(Code.NOT_IN_STATE)
        return ending_all(here, old, "lapsed")


def ending_all(here: Situation, old: WholeMute, how: Literal["unmuted", "lapsed"]) -> Change:
    """The change that ends the silence of a whole group and names the act whose end it is."""
    return Change(
        writes=[old.ended(here, how)],
        before={"until": text_of(old.until)},
        after={"ended": how},
        links=[old.by_record],
        result={"ended": how, "set_by": old.by_record},
        effects=[Effect("group.unmuted_all", {"group_id": old.group_id, "how": how})],
    )
