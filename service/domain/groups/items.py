"""Items of a group that owner and admins hide from members or pin: where they are and the hash of what they say, no content."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from service.action import Change, Effect, Id, Need, Note, Reason, Situation, Subject
from service.caller import Standing
from service.domain.groups.facts import STANDING_OF, GroupAction, rank_of
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hex.")]


@subject
class HiddenItem(Row, frozen=True, kw_only=True):
    """An item hidden from members; locator and hash stay after it is shown again."""

    table = "hidden_item"
    key = ("by_record",)
    look_key = ("group_id", "locator")
    only = "t.ended_at IS NULL"

    by_record: str
    group_id: str
    locator: str
    item_sha256: str
    author_id: str
    by_rank: int
    at: dt.datetime
    ended_at: dt.datetime | None = None
    ended_record: str | None = None

    def effect(self, kind: str) -> Effect:
        """What the backend must do with it."""
        return Effect(
            kind, {"group_id": self.group_id, "locator": self.locator, "item_sha256": self.item_sha256}
        )


class PinnedNotice(Row, frozen=True, kw_only=True):
    """A notice that was pinned, and as what its pinner stood."""

    table = "pinned_notice"
    key = ("by_record",)
    appended = True

    by_record: str
    group_id: str
    locator: str
    by_standing: str
    at: dt.datetime


class _OfItem(GroupAction, frozen=True, kw_only=True):
    """An act on one item; the group's own row stays as it is."""

    writes_group: ClassVar[bool] = False

    locator: Id

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [*super().needs(caller), Need(HiddenItem, (self.group_id, self.locator), write=True)]


class HideItem(_OfItem, frozen=True, kw_only=True, tag="group.hide_item"):
    """Hide an item of a lower-ranked author, or an own one, from members; its hash is kept as evidence.

    Locator and hash lead to what a person said, so the record seals them under the author's key.
    """

    item_sha256: Sha256
    author_id: Id
    reason: Reason | None = None
    note: Note | None = None

    def other(self) -> str:
        return self.author_id

    def about(self, here: Situation) -> dict[str, Subject]:
        del here
        return {"author": Subject("person", self.author_id)}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `rank_not_lower`, `already_in_state`."""
        del terms
        rank = self.my_rank(here)
        if self.author_id != here.caller.person_id and rank_of(here, self.group_id, self.author_id) >= rank:
            raise Refusal(Code.RANK_NOT_LOWER)
        if here.find(HiddenItem, self.group_id, self.locator) is not None:
            raise Refusal(Code.ALREADY_IN_STATE)
        item = HiddenItem(
            by_record=here.record_id,
            group_id=self.group_id,
            locator=self.locator,
            item_sha256=self.item_sha256,
            author_id=self.author_id,
            by_rank=rank,
            at=here.at,
        )
        return Change(
            writes=[item],
            after={"hidden": True},
            personal={"locator": self.locator, "item_sha256": self.item_sha256},
            sealed_for=Subject("person", self.author_id),
            result={"locator": self.locator, "hidden": True},
            effects=[item.effect("group.item_hidden")],
        )


class RestoreItem(_OfItem, frozen=True, kw_only=True, tag="group.restore_item"):
    """Show a hidden item again; what a higher rank hid stays hidden (S040)."""

    reason: Reason | None = None
    note: Note | None = None

    def about(self, here: Situation) -> dict[str, Subject]:
        item = here.find(HiddenItem, self.group_id, self.locator)
        return {} if item is None else {"author": Subject("person", item.author_id)}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `rank_not_lower`, `not_in_state`."""
        del terms
        item = here.find(HiddenItem, self.group_id, self.locator)
        if item is None:
            raise Refusal(Code.NOT_IN_STATE)
        if item.by_rank > self.my_rank(here):
            raise Refusal(Code.RANK_NOT_LOWER)
        return Change(
            writes=[msgspec.structs.replace(item, ended_at=here.at, ended_record=here.record_id)],
            before={"hidden": True},
            after={"hidden": False},
            sealed_for=Subject("person", item.author_id),
            links=[item.by_record],
            result={"locator": self.locator, "hidden": False, "set_by": item.by_record},
            effects=[item.effect("group.item_restored")],
        )


class PinNotice(GroupAction, frozen=True, kw_only=True, tag="group.pin_notice"):
    """Pin a notice for all to see. The backend learns who pinned: an admin cannot take down a moderator's.

    A moderator pins a refutation or a warning; the case it comes from joins here as a member of the act.
    """

    writes_group: ClassVar[bool] = False

    locator: Id
    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses nothing of its own: each pinning is an act."""
        del terms
        as_what = (
            STANDING_OF[self.my_rank(here)] if here.caller.kind == "person" else Standing.MODERATOR
        ).value
        notice = PinnedNotice(
            by_record=here.record_id,
            group_id=self.group_id,
            locator=self.locator,
            by_standing=as_what,
            at=here.at,
        )
        return Change(
            writes=[notice],
            after={"pinned": True, "by": as_what},
            personal={"locator": self.locator},
            result={"locator": self.locator, "pinned": True},
            effects=[
                Effect(
                    "group.notice_pinned",
                    {"group_id": self.group_id, "locator": self.locator, "by": as_what},
                )
            ],
        )
