"""What is locked, in which order and at which instant, and that whoever turns out to touch more still gets his turn."""

import asyncio
from itertools import count

import asyncpg
import pytest

from tests.api.test_accounts import asking, run
from tests.api.test_approvals import grant, offered, propose
from tests.api.test_mutes import waiting
from tests.conftest import Database
from tests.kit import House

__all__ = ["offered"]

pytestmark = pytest.mark.anyio

PATCHES = 200


async def test_a_yes_is_answered_however_busy_its_group_is(offered: House) -> None:
    """S115: clients that never leave the group in peace do not keep the second person's yes from being carried out."""
    approval_id = await propose(offered)
    done = count(1)
    patched = 0

    async def busy() -> None:
        nonlocal patched
        for _ in range(PATCHES):
            await offered.do("im", "PATCH", "/v1/groups/g", {"messages_per_day": next(done)})
            patched += 1

    working = [asyncio.create_task(busy()) for _ in range(3)]
    await asyncio.sleep(0)
    await grant(offered, "ap", approval_id)
    assert patched < PATCHES
    await asyncio.gather(*working)
    assert len(await offered.effects("group.owner_changed")) == 1


async def test_whom_an_act_leads_to_is_locked_in_the_one_order(house: House, database: Database) -> None:
    """S001: people come before operators, so an account asked for waits for the person who answers while it holds nothing."""
    await run(house, "o")
    holder = await asyncpg.connect(database.service_dsn)
    another = await asyncpg.connect(database.service_dsn)
    try:
        async with holder.transaction():
            await holder.fetchval("SELECT 1 FROM person WHERE person_id = 'ann' FOR UPDATE")
            asked = asyncio.create_task(house.ask("im", "POST", "/v1/accounts", asking("a")))
            await waiting(another, 1)
            async with another.transaction():
                await another.execute("SELECT FROM operator WHERE operator_id = 'o' FOR UPDATE NOWAIT")
        assert (await asked).status_code == 201
    finally:
        await holder.close()
        await another.close()


async def test_an_act_has_the_instant_at_which_it_held_its_locks(house: House, database: Database) -> None:
    """G8, S017: whoever waited for another's act on the group is on record after it, not before."""
    await house.has_group("g", "ann", ("ben",), ("dan",))
    holder = await asyncpg.connect(database.service_dsn)
    try:
        async with holder.transaction():
            await holder.fetchval("SELECT 1 FROM groups WHERE group_id = 'g' FOR UPDATE")
            body = {"person_id": "dan", "seconds": 3600, "reason": "spam"}
            muting = asyncio.create_task(house.ask("ben", "POST", "/v1/groups/g/mutes", body))
            await waiting(holder, 1)
            house.clock.advance(60)
        answer = await muting
    finally:
        await holder.close()
    assert answer.json()["at"] == "2026-11-02T08:01:00.000Z"
