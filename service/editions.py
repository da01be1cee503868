"""Which edition of the policy is in force: the adopted ones, compiled, by the instant from which they hold."""

from __future__ import annotations

import asyncio
import datetime as dt
from bisect import bisect_right
from collections.abc import Collection, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Self

import msgspec
import structlog

from service.action import actions
from service.clock import Clock
from service.db import DatabaseUnavailable, Db, queries
from service.policy import Policy, PolicyError

sql = queries(__file__)
_log = structlog.get_logger("mandate.editions")
REFRESH_SECONDS = 1.0
"""How often adopted editions are looked for; well under the time that passes between adoption and force."""
#: What to do about an adopted edition, which nobody can change.
_NOT_HERE = (
    "it is adopted: let the version that ran before adopt another, and start this one when that is in force"
)
_ALWAYS = dt.datetime.min.replace(tzinfo=dt.UTC)


class Editions:
    """The adopted editions in order. Before the first is adopted, the policy folder's is taken (`founding` is set)."""

    def __init__(self, db: Db, clock: Clock, cache: Path, folder: Policy, known: Collection[str]) -> None:
        """Use `Editions.open`."""
        self._db = db
        self._clock = clock
        self._cache = cache
        self._known = known
        self.folder = folder
        self._from: list[dt.datetime] = [_ALWAYS]
        self._policies: list[Policy] = [folder]
        self.founding = True
        self._reading = asyncio.Lock()

    @classmethod
    async def open(cls, db: Db, folder: Path, clock: Clock, *, cache: Path) -> Self:
        """Read the folder and every adopted edition. Raises PolicyError where one of them is broken, and nothing is served."""
        known = list(actions())
        policy = await asyncio.to_thread(Policy.from_folder, folder, actions=known, cache=cache)
        editions = cls(db, clock, cache, policy, known)
        await editions.refresh()
        return editions

    def at(self, instant: dt.datetime) -> Policy:
        """Return the edition in force at `instant`."""
        return self._policies[max(0, bisect_right(self._from, instant) - 1)]

    async def read(
        self, files: Mapping[str, bytes], *, adopted: bool = False, decides: bool = True
    ) -> Policy:
        """Check and compile an edition that somebody wants to adopt, off the event loop. Raises PolicyError.

        One that was `adopted` was checked against the actions of its time; today's may be more. One that no longer
        `decides` need not keep today's promises.
        """
        known = None if adopted else self._known
        return await asyncio.to_thread(
            Policy.from_files, files, actions=known, promises=decides, cache=self._cache
        )

    async def follow(self) -> None:
        """Read adopted editions again and again. A database out of reach is asked again; the present edition stays."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except DatabaseUnavailable:
                continue
            except PolicyError as error:
                _log.error("edition.unreadable", faults=[str(problem) for problem in error.problems])
            except Exception as error:  # noqa: BLE001 - a timer that dies would serve an old edition for ever
                _log.error("edition.unread", exc_info=error)

    async def refresh(self) -> None:
        """Read editions adopted since; called on a timer, more often than editions may follow their adoption."""
        async with self._reading:
            await self._refresh()

    async def _refresh(self) -> None:
        async with self._db.read() as db:
            rows = await sql.editions_since(db, effective_at=_ALWAYS if self.founding else self._from[-1])
        now = self._clock.now()
        for row, after in zip_longest(rows, rows[1:]):
            files = {name: text.encode() for name, text in row["files"].items()}
            decides = after is None or after["effective_at"] > now
            policy = (
                self.folder
                if row["digest"] == self.folder.edition
                else await self._adopted(row["digest"], files, decides=decides)
            )
            if self.founding:
                self._from, self._policies, self.founding = [], [], False
            self._from.append(row["effective_at"])
            self._policies.append(policy)

    async def _adopted(self, edition: str, files: Mapping[str, bytes], *, decides: bool) -> Policy:
        """Read an adopted edition; what is wrong with it is told under its name, for it is not the folder's."""
        try:
            return await self.read(files, adopted=True, decides=decides)
        except PolicyError as error:
            raise PolicyError(
                [
                    msgspec.structs.replace(
                        problem, file=f"{edition}/{problem.file}", cure=f"{problem.cure}; {_NOT_HERE}"
                    )
                    for problem in error.problems
                ]
            ) from error
