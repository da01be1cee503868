"""Looks that gather: one statement for many who ask meanwhile, and only the culprit fails."""

import asyncio
from collections.abc import Sequence

import pytest

from service.db import DatabaseUnavailable
from service.looking import Gather


def test_questions_asked_meanwhile_are_answered_together() -> None:
    """The first goes alone, those that come while it is worked out go in sets of the limit, each with its own answer."""
    sets: list[list[int]] = []

    async def work(asked: Sequence[int]) -> list[int]:
        sets.append(list(asked))
        await asyncio.sleep(0.01)
        return [2 * one for one in asked]

    async def ask() -> list[int]:
        gather: Gather[int, int] = Gather(work, 3)
        first = gather.ask(0)
        await asyncio.sleep(0.001)
        return [await first, *await asyncio.gather(*(gather.ask(n) for n in range(1, 6)))]

    assert asyncio.run(ask()) == [0, 2, 4, 6, 8, 10]
    assert sets == [[0], [1, 2, 3], [4, 5]]


def test_only_the_culprit_of_a_set_fails() -> None:
    """A question that breaks its set is answered with its own error; the others get their answers, and so do later ones."""

    async def work(asked: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        if 7 in asked:
            raise ValueError("seven")
        return list(asked)

    async def ask() -> list[object]:
        gather: Gather[int, int] = Gather(work, 10)
        told: list[object] = await asyncio.gather(*(gather.ask(n) for n in (5, 7, 9)), return_exceptions=True)
        return [*told, await gather.ask(11)]

    five, seven, nine, eleven = asyncio.run(ask())
    assert (five, nine, eleven) == (5, 9, 11)
    assert isinstance(seven, ValueError)


def test_a_lost_database_is_told_to_all_at_once() -> None:
    """While the database is away each who waits is told so by the one attempt, and who left meanwhile harms nobody."""
    attempts = 0

    async def work(asked: Sequence[int]) -> list[int]:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.001)
        raise DatabaseUnavailable("away")

    async def ask() -> None:
        gather: Gather[int, int] = Gather(work, 10)
        left, *others = [gather.ask(n) for n in range(4)]
        await asyncio.sleep(0)
        left.cancel()
        for one in others:
            with pytest.raises(DatabaseUnavailable):
                await one

    asyncio.run(ask())
    assert attempts == 1
