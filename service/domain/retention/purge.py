"""retention.purge: copies beside the record go when their term is over; the sweep does it, and says how many (S200, S205).

Two classes have a term now. First answers to repeated requests: `request_key_keep_d` days. Effects handed to backends:
`log_retention_months`, never less than the six months that `log_retention_floor_months` is bound to (S199). What is in the
log itself goes by record.retire and person.erase, for a bundle must name who ordered it. Evidence of measures joins here with
`evidence_after_appeal_months` once there are measures (S201).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from service.action import Action, Change, Instant, Need, Situation, Stand, Subject
from service.caller import Caller
from service.clock import instant_text, later, parse_instant
from service.db import Tx
from service.domain import staff
from service.domain.retention.facts import Gated, sql
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Terms

Class = Literal["first_answers", "effects"]
MOST = 5000
"""Rows that one act purges at most."""


class Overdue(Gated, frozen=True, kw_only=True):
    """The oldest rows of a class from before an instant, at most `MOST`, without those that a legal hold covers."""

    table = "outbox"
    key = ("klass", "before")

    klass: str
    before: str
    rows: list[Any]

    @classmethod
    async def found(cls, db: Any, keys: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], Self]:
        looked: dict[tuple[str, ...], Self] = {}
        for klass, before in keys:
            find = sql.old_answers if klass == "first_answers" else sql.old_effects
            rows = await find(db, before=parse_instant(before), most=MOST)
            looked[klass, before] = cls(klass=klass, before=before, rows=[row[0] for row in rows])
        return looked


class Purged(msgspec.Struct, frozen=True):
    """These rows of a class go."""

    klass: str
    rows: list[Any]

    @classmethod
    async def apply(cls, tx: Tx, writes: Sequence[Self]) -> None:
        """Delete them."""
        for one in writes:
            purge = sql.purge_answers if one.klass == "first_answers" else sql.purge_effects
            await purge(tx, rows=one.rows)


class Purge(Action, frozen=True, kw_only=True, tag="retention.purge"):
    """What has outlived its term goes. `before`: rows from before this instant."""

    klass: Class
    before: Instant

    def target(self, here: Situation) -> Subject:
        """The platform's whole territory."""
        return Subject("jurisdiction", "CN")

    def asked(self) -> dict[str, str]:
        return {"class": self.klass, "before": instant_text(self.before)}

    def _key(self) -> tuple[str, str]:
        return self.klass, instant_text(self.before)

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(Overdue, self._key(), write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        return staff.stand(here)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `retention_runs` (data: until when), `not_in_state` (nothing is that old, or all of it is held)."""
        parameters = here.policy.parameters
        if self.klass == "first_answers":
            until = self.before + dt.timedelta(days=parameters.request_key_keep_d)
        else:
            until = later(self.before, parameters.log_retention_months)
        if here.at < until:
            raise Refusal(Code.RETENTION_RUNS, until=instant_text(until))
        rows = here.get(Overdue, *self._key()).rows
        if not rows:
            raise Refusal(Code.NOT_IN_STATE)
        return Change(
            writes=[Purged(self.klass, rows)], after={"purged": len(rows)}, result={"purged": len(rows)}
        )
