"""Which edition of the policy is in force: the adopted ones, compiled, by the instant from which they hold."""

from __future__ import annotations

import asyncio
import datetime as dt
from bisect import bisect_right
from collections.abc import Collection
from pathlib import Path
from typing import Self

from service.db import Db, queries
from service.policy import Policy

sql = queries(__file__)
_ALWAYS = dt.datetime.min.replace(tzinfo=dt.UTC)


class Editions:
    """The adopted editions in order. Before the first is adopted, the policy folder's is taken (`founding` is set)."""

    def __init__(self, db: Db, cache: Path, folder: Policy, known: Collection[str] | None) -> None:
        """Use `Editions.open`."""
        self._db = db
        self._cache = cache
        self._known = known
        self.folder = folder
        self._from: list[dt.datetime] = [_ALWAYS]
        self._policies: list[Policy] = [folder]
        self.founding = True

    @classmethod
    async def open(cls, db: Db, folder: Path, *, cache: Path) -> Self:
        """Read the folder and every adopted edition. Raises PolicyError where the folder is broken, and nothing is served."""
        known = None  # the nouns are not all built
        policy = await asyncio.to_thread(Policy.from_folder, folder, actions=known, cache=cache)
        editions = cls(db, cache, policy, known)
        await editions.refresh()
        return editions

    def at(self, instant: dt.datetime) -> Policy:
        """Return the edition in force at `instant`."""
        return self._policies[max(0, bisect_right(self._from, instant) - 1)]

    async def refresh(self) -> None:
        """Read editions adopted since; called on a timer, more often than editions may follow their adoption."""
        async with self._db.read() as db:
            rows = await sql.editions_since(db, effective_at=_ALWAYS if self.founding else self._from[-1])
        for row in rows:
            files = {name: text.encode() for name, text in row["files"].items()}
            policy = (
                self.folder
                if row["digest"] == self.folder.edition
                # An edition was checked against the actions of its time; today's may be more.
                else await asyncio.to_thread(Policy.from_files, files, cache=self._cache)
            )
            if self.founding:
                self._from, self._policies, self.founding = [], [], False
            self._from.append(row["effective_at"])
            self._policies.append(policy)
