"""Looks for many at once: what several ask meanwhile is read by one statement.

Who asks alone is answered at once; while one set is worked out the next gathers, which is all the waiting there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from service.action import Need
from service.db import DatabaseUnavailable, Db
from service.rows import Row, Wanted, lock_place, look_at

Q = TypeVar("Q")
A = TypeVar("A")

Facts = dict[type[Any], dict[tuple[Any, ...], Any]]
"""Rows by kind and key, None where there is none. What was looked at for several is shared by them: nobody writes into it."""


Looked = tuple[type[Row], tuple[str, ...]]
"""A row by kind and key."""


class Gather(Generic[Q, A]):
    """Answers questions in sets; `work` answers each in the order asked. What fails with a set is asked again alone."""

    def __init__(self, work: Callable[[Sequence[Q]], Awaitable[Sequence[A]]], limit: int) -> None:
        """`limit`: the most questions of one set."""
        self._work = work
        self._limit = limit
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._working: asyncio.Task[None] | None = None

    def ask(self, question: Q) -> asyncio.Future[A]:
        """The answer, worked out after this call. Raises what `work` raises for this question."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_out(), name="gather")
        return answer

    async def _work_out(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            if asked := [one for one in taken if not one[1].done()]:
                await self._answer(asked)

    async def _answer(self, taken: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._work([question for question, _ in taken])
        except Exception as error:  # noqa: BLE001 - whoever asked is told, and the next are answered
            if len(taken) > 1 and not isinstance(error, DatabaseUnavailable):
                for one in taken:
                    await self._answer([one])
                return
            for _, answer in taken:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), found in zip(taken, answers, strict=True):
            if not answer.done():
                answer.set_result(found)


class Looks:
    """Reads rows without locking them, for all who ask meanwhile in one statement, which sees one instant."""

    def __init__(self, db: Db, limit: int) -> None:
        """`limit`: so many who ask are looked for at once."""
        self._db = db
        self._gather: Gather[Sequence[Need], Facts] = Gather(self._look, limit)

    async def find(self, needs: Sequence[Need]) -> Facts:
        """The rows, as they are now. Raises DatabaseUnavailable."""
        return await self._gather.ask(needs)

    async def _look(self, asked: Sequence[Sequence[Need]]) -> Sequence[Facts]:
        facts: Facts = {}
        async with self._db.read() as db:
            await look_for(db, [need for needs in asked for need in needs], facts, lock=False)
        return [facts] * len(asked)


async def look_for(db: Any, wanted: Sequence[Need], facts: Facts, *, lock: bool) -> set[Looked]:
    """Add to `facts` the rows that are not among them yet; with `lock` those kinds that lock are locked, in their order.

    Returns which rows came to be while others' locks were waited for, and so are not locked: an act that needs one must
    look again in another transaction. To lock it now, out of order, could make two wait for each other.
    """
    by_kind: dict[type[Row], dict[tuple[str, ...], bool]] = {}
    for need in wanted:
        if need.key not in facts.get(need.kind, ()):
            keys = by_kind.setdefault(need.kind, {})
            keys[need.key] = keys.get(need.key, False) or need.write
    kinds = sorted(by_kind, key=lock_place)
    wanted_of: dict[type[Row], Wanted] = {}
    for kind in kinds:
        keys = by_kind[kind]
        # One mode for the whole kind: a share and an exclusive lock in two statements could wait for each other.
        mode = "read" if not (lock and kind.locks) else "lock" if any(keys.values()) else kind.reading
        wanted_of[kind] = (kind, sorted(keys), mode)
    plain = [kind for kind in kinds if kind.look.__func__ is Row.look.__func__]
    # What is seen without a lock is seen as of the statement's beginning: so parts come after their subjects, and are read
    # again, now that these are locked, where something was committed meanwhile.
    parts = [kind for kind in plain if kind.only or not kind.locks]
    found: dict[type[Any], Any] = {}
    moved: set[Looked] = set()
    if plain:
        subjects = [kind for kind in plain if kind not in parts]
        found, same = await look_at(db, [wanted_of[kind] for kind in (*subjects, *parts)])
        if parts and not same:
            again = (await look_at(db, [(kind, wanted_of[kind][1], "read") for kind in parts]))[0]
            moved = {
                (kind, key)
                for kind in parts
                if wanted_of[kind][2] != "read"
                for key in by_kind[kind]
                if again[kind].get(key) != found[kind].get(key)
            }
            found |= again
    for kind in kinds:
        if kind not in found:
            _, keys, mode = wanted_of[kind]
            found[kind] = await kind.look(db, keys, lock=mode)
        looked = facts.setdefault(kind, {})
        for key in by_kind[kind]:
            looked[key] = found[kind].get(key)
    return moved
