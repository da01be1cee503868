"""What a measure is: its row, when it holds, what it takes away, and what is in force on a target.

It stands below the nouns that measures bind, whose acts ask here. How measures begin and end is in measures/.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from service.rows import Row, subject

if TYPE_CHECKING:
    from service.policy import Policy

TargetType = Literal["group", "person", "office", "account", "operator", "reporter"]
EndedHow = Literal["lifted", "expired"]
Use = Literal[
    "publish", "monetise", "advertise", "recommended", "gain_followers", "interact", "manage_comments"
]

TAKES_AWAY: dict[str, tuple[Use, ...]] = {
    "P_INTERACT_OFF": ("interact",),
    "P_COMMENT_MGMT_OFF": ("manage_comments",),
    "P_DERANK": ("recommended",),
    "P_DORMANT_PAUSE": ("publish", "monetise", "recommended", "interact", "manage_comments"),
    "P_FANS_FREEZE": ("gain_followers",),
    "P_AD_STOP": ("advertise",),
    "P_MON_SUSPEND": ("monetise",),
    "P_FIELD_SUSPEND": ("publish",),
    "P_UPDATE_SUSPEND": ("publish",),
    "P_HOLD": ("publish", "monetise", "advertise", "recommended", "gain_followers", "interact"),
    "P_MON_TERMINATE": ("monetise",),
    "P_SUSPEND_RECTIFY": ("publish", "advertise", "interact", "manage_comments"),
}
"""What other services must not let an account do while a measure of the code is in force (S131)."""

OF_ONE_FIELD = "P_FIELD_SUSPEND"
"""It takes publishing in one field, its `scope`: nothing from an account that publishes in another (S096)."""

LEAST_BLOCKING_RANK = 30
"""A measure of this rank or above in force stands in the way of a transfer (S060, account.offer_transfer)."""


@subject
class Measure(Row, frozen=True, kw_only=True):
    """One measure. Holds from `from_at` while `until` >= now (null: no end by time) unless ended before, also where the sweep is late."""

    table = "measure"
    key = ("measure_id",)

    measure_id: str
    code: str
    target_type: TargetType
    target_id: str
    scope: str | None = None
    jurisdiction: str
    ground: Literal["illegal", "terms", "both"]
    basis: list[str]
    facts: dict[str, Any]
    imposed_as: Literal["platform", "automation", "authority"]
    from_at: dt.datetime
    until: dt.datetime | None = None
    dsa_surface: Literal["none", "hosting", "online_platform"]
    coupled_to: str | None = None
    notice_id: str | None = None
    by_record: str
    ended_at: dt.datetime | None = None
    ended_how: EndedHow | None = None
    ended_record: str | None = None
    lift_reason: str | None = None
    version: int = 1

    def holds(self, at: dt.datetime) -> bool:
        """Whether it is in force at an instant, past ones included (S128)."""
        over = self.ended_at is not None and self.ended_at <= at
        return self.from_at <= at and not over and (self.until is None or self.until >= at)

    def state(self, at: dt.datetime) -> str:
        """`in_force`, `lifted` or `expired`; past its end it is expired, also before the sweep says so."""
        return self.ended_how or ("in_force" if self.holds(at) else "expired")

    def takes_away(self, klass: str | None = None) -> tuple[Use, ...]:
        """What it takes while in force; of an account that publishes in the field `klass`, where that is known."""
        if self.code == OF_ONE_FIELD and None not in {klass, self.scope} and klass != self.scope:
            return ()
        return TAKES_AWAY.get(self.code, ())

    def with_(self, **facts: Any) -> Measure:
        """The row with some facts changed and its version grown by one."""
        return msgspec.structs.replace(self, version=self.version + 1, **facts)


class MeasuresOn(Row, frozen=True, kw_only=True):
    """The measures on one target that nothing has ended yet. Looked at, never written: its rows are `Measure`."""

    table = "measure"
    key = ("target_type", "target_id")

    target_type: str
    target_id: str
    open: tuple[Measure, ...] = ()

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read them target by target; whoever ends one locks its row next."""
        del lock
        columns = ", ".join(f"m.{name}" for name in Measure.__struct_fields__)
        rows = await db.fetch(
            f"SELECT {columns} FROM measure m JOIN unnest($1::text[], $2::text[]) AS k (type, id)"
            " ON (m.target_type, m.target_id) = (k.type, k.id) WHERE m.ended_at IS NULL ORDER BY m.measure_id",
            [key[0] for key in keys],
            [key[1] for key in keys],
        )
        found: dict[tuple[str, ...], list[Measure]] = {key: [] for key in keys}
        for row in rows:
            one = Measure.from_record(row)
            found[one.target_type, one.target_id].append(one)
        return {
            key: cls(target_type=key[0], target_id=key[1], open=tuple(ones)) for key, ones in found.items()
        }

    def of(self, code: str) -> Measure | None:
        """The open measure of a code that was imposed for itself, not coupled to another; over, it is still to be ended by time."""
        return next((one for one in self.open if one.code == code and one.coupled_to is None), None)

    def blocking(self, policy: Policy, at: dt.datetime) -> Measure | None:
        """The gravest measure in force that stands in the way of a transfer (S060, account.offer_transfer); None: none does."""
        ranks = {code: one.rank for code, one in policy.measures.items()}
        heavy = [one for one in self.open if one.holds(at) and ranks.get(one.code, 0) >= LEAST_BLOCKING_RANK]
        return max(heavy, key=lambda one: ranks[one.code], default=None)


def together(measure: Measure, open_ones: Iterable[Measure]) -> list[Measure]:
    """A measure and what was coupled to it (S124): what was imposed independently as well has a row of its own."""
    return [measure, *(one for one in open_ones if one.coupled_to == measure.measure_id)]
