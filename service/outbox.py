"""Effects as rows: handed over after commit, in record order, each exactly once per reader, none skipped.

The place of an effect is drawn before its transaction commits, so a later place can be seen while an earlier one is
still on its way. An effect may be handed over only when no transaction can bring an earlier one: this is settled when
every transaction that was running while the newest place was seen has ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from service.db import Db, Reader, queries

if TYPE_CHECKING:
    from collections.abc import Sequence

sql = queries(__file__)
_PATIENCE_SECONDS = 0.25
_MARKS = 1_000


class Handed(NamedTuple):
    """One effect: its place, the instant and record of its act, what the backend must do or know."""

    place: int
    at: str
    record_id: str
    kind: str
    payload: msgspec.Raw


class _Mark(NamedTuple):
    """Places up to `place` are settled once every transaction below `xid` has ended."""

    place: int
    xid: int


class Outbox:
    """Reads effects in order. Remembers how far they are settled, so that one slow transaction holds up only what is after it."""

    def __init__(self, db: Db) -> None:
        """Nothing is known to be settled yet."""
        self._db = db
        self._marks: deque[_Mark] = deque(maxlen=_MARKS)
        self._settled = 0

    async def page(self, *, after: int, limit: int, families: Sequence[str] = ()) -> list[Handed]:
        """The settled effects with places above `after`, at most `limit`, of these families (the noun; none: all).

        Waits a quarter of a second at most for running transactions to end.
        """
        async with self._db.read() as reader:
            before = await self._settle(reader, after)
            if before <= after:
                return []
            rows = await sql.effects(reader, after=after, upto=before, families=list(families), limit=limit)
        return [
            Handed(row["id"], row["at"], row["rid"], row["kind"], msgspec.Raw(row["payload"].encode()))
            for row in rows
        ]

    async def drawn(self, place: int) -> bool:
        """Whether there ever was such a place here; what is purged counts. One beyond is of another database, or was restored away."""
        async with self._db.read() as reader:
            return place <= await sql.newest_place(reader)

    async def settled(self) -> int:
        """The place up to which everything is settled now."""
        async with self._db.read() as reader:
            return await self._settle(reader, self._settled)

    async def _settle(self, reader: Reader, after: int) -> int:
        """Note where the outbox ends now, and return up to where it is settled."""
        waited, pause = 0.0, 0.002
        place, ended, begun = await self._end(reader)
        if not self._marks or self._marks[-1].place < place:
            self._marks.append(_Mark(place, begun))
        while True:
            while self._marks and self._marks[0].xid <= ended:
                self._settled = max(self._settled, self._marks.popleft().place)
            # Wait only for what is new to this reader, and not for long.
            if self._settled >= place or self._settled > after or waited >= _PATIENCE_SECONDS:
                return self._settled
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(pause * 2, 0.05)
            _, ended, _ = await self._end(reader)

    async def _end(self, reader: Reader) -> tuple[int, int, int]:
        row = await sql.end_of_effects(reader)
        return row["place"], row["ended"], row["begun"]
