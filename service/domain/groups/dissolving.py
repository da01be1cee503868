"""The end of a group by its owner: what was open in it ends with it, what it was stays readable (S050-S053)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from service.action import Change, Effect, Need, Note, Reason, Situation, Stand
from service.clock import instant_text
from service.db import Tx, queries
from service.domain.groups.facts import Group, GroupAction
from service.domain.groups.ranking import Answering, apart_from_those_answering
from service.rows import Row

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms

sql = queries(__file__)


class OpenIn(Row, frozen=True, kw_only=True):
    """How many rows are open in one group. Looked at, never written; the group's row is the lock."""

    table = "groups"
    key = ("group_id",)

    group_id: str
    mutes: int
    whole_group_mutes: int
    bars: int
    join_requests: int
    hidden_items: int

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Count them, in one statement for all groups."""
        del lock
        found = await sql.open_in(db, group_ids=[key[0] for key in keys])
        return {(record["group_id"],): cls.from_record(record) for record in found}

    def counts(self) -> dict[str, int]:
        """What is open, by kind, without the kinds of which nothing is."""
        counted = msgspec.structs.asdict(self)
        return {kind: number for kind, number in counted.items() if kind != "group_id" and number}


class EndAllIn(msgspec.Struct, frozen=True):
    """Everything open in one group ends at one instant by one record. Roles stay as they were: they end with the group."""

    group_id: str
    at: dt.datetime
    record: str

    @classmethod
    async def apply(cls, tx: Tx, writes: Sequence[EndAllIn]) -> None:
        """End it, one statement per kind of row for all groups."""
        given = {
            "group_ids": [one.group_id for one in writes],
            "instants": [one.at for one in writes],
            "records": [one.record for one in writes],
        }
        await sql.end_mutes(tx, **given)
        await sql.end_whole_group_mutes(tx, **given)
        await sql.end_bars(tx, **given)
        await sql.end_join_requests(tx, **given)
        await sql.end_hidden_items(tx, **given)


class DissolveGroup(GroupAction, frozen=True, kw_only=True, tag="group.dissolve"):
    """The owner ends the group for good; in heavier tiers an approver agrees first, and until then it lives (S053).

    What is open in it ends in the same act. Id and code stay reserved (G3); roles, code and history stay readable (S052).
    An open case, appeal, order or hold does not stop it: `preserved` is set here once there are such (S052), and open
    duties are waived here.
    """

    demands_version: ClassVar[bool] = True

    reason: Reason | None = None
    note: Note | None = None

    def needs(self, caller: Caller) -> Sequence[Need]:
        group = (self.group_id,)
        return [*super().needs(caller), Need(Answering, group), Need(OpenIn, group)]

    def stand(self, here: Situation) -> Stand:
        """Those in office have a stake: none of them approves."""
        return apart_from_those_answering(here, self.group_id, super().stand(here))

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses nothing of its own: a group that is dissolved answers `group_dissolved` before."""
        del terms
        before = self.group(here)
        after = before.with_(
            dissolved_at=here.at,
            dissolved_how="owner",
            dissolved_record=here.record_id,
            offer=None,
            override=None,
            succession_due_at=None,
            succession_record=None,
        )
        coupled = [{"ended": kind, "count": number} for kind, number in _open_in(here, before).items()]
        at = instant_text(here.at)
        return Change(
            writes=[after, EndAllIn(self.group_id, here.at, here.record_id)],
            after={"dissolved_at": at, "how": "owner"},
            coupled=coupled,
            links=_begun_by(before),
            result={"dissolved_at": at, "version": after.version, "ended": coupled},
            effects=[
                Effect(
                    "group.dissolved",
                    {"group_id": self.group_id, "owner_id": before.owner_id, "how": "owner"},
                )
            ],
        )


def _open_in(here: Situation, group: Group) -> dict[str, int]:
    """What ends with the group, by kind."""
    single = {
        "offers": group.offer,
        "overrides": group.override,
        "successions": group.succession_due_at,
    }
    counted = here.get(OpenIn, group.group_id).counts()
    return {**counted, **{kind: 1 for kind, fact in single.items() if fact is not None}}


def _begun_by(group: Group) -> list[str]:
    """The records whose open offer, override or succession ends."""
    begun = (
        None if group.offer is None else group.offer.by_record,
        None if group.override is None else group.override.by_record,
        group.succession_record,
    )
    return [record for record in begun if record is not None]
