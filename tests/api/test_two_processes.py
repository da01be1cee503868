"""Two processes on one database at once: neither makes what the other makes, and they never wait for each other in a ring."""

import asyncio
import random
from itertools import count

import pytest

from tests.api.test_group_life import BODY
from tests.api.test_mutes import second_process
from tests.conftest import Database
from tests.kit import House

pytestmark = pytest.mark.anyio


async def test_an_id_is_given_once_also_by_two_processes(house: House) -> None:
    """S017: of many who register one new person at once one does; what he said stands, and is the only record of it."""
    before = await registered(house)
    async with second_process(house) as other:
        for number in range(12):
            places = [f"CN-{100000 + 1000 * turn}" for turn in range(8)]
            answers = await asyncio.gather(
                *(
                    (house, other)[turn % 2].ask(
                        "im", "PUT", f"/v1/people/new{number}", {"jurisdiction": place}
                    )
                    for turn, place in enumerate(places)
                )
            )
            codes = sorted(answer.status_code for answer in answers)
            assert codes == [201] + [409] * 7
            [made] = [
                place for place, answer in zip(places, answers, strict=True) if answer.status_code == 201
            ]
            person = await house.do("im", "GET", f"/v1/people/new{number}")
            assert person["jurisdiction"] == made
    assert await registered(house) == before + 12


async def registered(house: House) -> int:
    """How many records say that a person was registered."""
    return sum(one["out"] == "done" for one in await house.records("person.register"))


async def test_a_group_is_made_once_also_by_two_processes(house: House) -> None:
    """S017: the second is told `already_exists`, never that the service is ill."""
    people = [f"f{number}" for number in range(6)]
    await house.has_people(*people)
    async with second_process(house) as other:
        for number in range(8):
            body = BODY | {"group_id": f"n{number}"}
            answers = await asyncio.gather(
                *(
                    (house, other)[turn % 2].ask(person, "POST", "/v1/groups", body)
                    for turn, person in enumerate(people)
                )
            )
            assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
            [owner] = [
                person for person, answer in zip(people, answers, strict=True) if answer.status_code == 201
            ]
            roles = await house.do("im", "GET", f"/v1/groups/n{number}")
            assert roles["owner_id"] == owner


async def test_mutes_of_the_same_members_never_wait_in_a_ring(house: House, database: Database) -> None:
    """S001: replaced again and again by two processes in any order, each mute is done, and PostgreSQL breaks no deadlock."""
    members = tuple(f"m{number}" for number in range(6))
    await house.has_group("g", "ann", (), members)
    numbers = count(60)

    async def deadlocks() -> int:
        async with house.db.read() as db:
            return await db.fetchval(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            )

    before = await deadlocks()
    async with second_process(house) as other:

        async def mute(by: House) -> None:
            for _ in range(30):
                body = {"person_id": random.choice(members), "seconds": next(numbers), "reason": "fraud"}
                await by.do("ann", "POST", "/v1/groups/g/mutes", body)

        await asyncio.gather(*(mute(by) for by in (house, other) for _ in range(8)))
    assert await deadlocks() == before
    assert len(await house.records("group.mute")) == 480
