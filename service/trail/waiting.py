"""Measures how long records wait for their entries, beside whoever makes them: who sequences may be away, cut off or nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg
import structlog

from service.clock import Clock
from service.db import DatabaseUnavailable, Db
from service.trail.sequencer import sql

_log = structlog.get_logger("mandate.waiting")
_MEASURE_SECONDS: Final = 10.0


class Waiting:
    """The age of the oldest record without an entry, against what the log promises."""

    def __init__(self, db: Db, clock: Clock, tell: Callable[[float], None], *, mmd_us: int) -> None:
        """`tell` takes each age, seconds. `mmd_us`: how long a record may wait, as entry 0 of the log says, microseconds."""
        self._db = db
        self._clock = clock
        self._tell = tell
        self._promised = mmd_us / 1_000_000
        self._late = False
        # A record that nobody saw may have come right after the last look.
        self._since = clock.now()
        self._working: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Measure now and every ten seconds."""
        self._working = asyncio.create_task(self._repeat(), name="waiting")

    async def close(self) -> None:
        """End."""
        if self._working is not None:
            self._working.cancel()
            with suppress(asyncio.CancelledError):
                await self._working

    async def measure(self) -> float:
        """Tell the age, seconds, and say once when it passes the promise and once when it no longer does; return it.

        While the database is out of reach, or answers with an error, it is the age that a record may have: since the oldest that was seen waiting, or
        since the look that saw none.
        """
        lost = ""
        seen = self._clock.now()
        try:
            async with self._db.read() as reader:
                oldest = await sql.oldest_waiting(reader)
            self._since = seen if oldest is None else oldest
        except (DatabaseUnavailable, asyncpg.PostgresError) as gone:
            # What the database says of an error may quote a row.
            lost = str(gone) if isinstance(gone, DatabaseUnavailable) else type(gone).__name__
            seen = self._clock.now()
        seconds = max(0.0, (seen - self._since).total_seconds())
        self._tell(seconds)
        if (seconds > self._promised) is not self._late:
            self._late = not self._late
            self._say(seconds, lost)
        return seconds

    def _say(self, seconds: float, lost: str) -> None:
        numbers = {"seconds": round(seconds), "promised_seconds": self._promised}
        if not self._late:
            _log.warning("log.in_time", **numbers)
            return
        _log.critical(
            "log.late",
            **numbers,
            **({"lost": lost} if lost else {}),
            do="see that the database can be reached and that a sequencer runs: `mandate serve` with sequence_seconds above 0, or "
            "`mandate work sequencer`; where one runs, its line sequencer.refused says why the log may not go on",
        )

    async def _repeat(self) -> None:
        while True:
            try:
                await self.measure()
            except Exception as error:  # noqa: BLE001 - it must be measured again
                _log.error("waiting", exc_info=error)
            await asyncio.sleep(_MEASURE_SECONDS)
