"""What is locked, in which order and at which instant, and that whoever turns out to touch more still gets his turn."""

import asyncio
from itertools import count
from typing import Any

import asyncpg
import httpx
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


def muting(house: House, group_id: str) -> asyncio.Task[httpx.Response]:
    """The owner of a group mutes its member, under the same key each time."""
    body = {"person_id": f"{group_id}m", "seconds": 3600, "reason": "spam"}
    asked = house.ask(f"{group_id}o", "POST", f"/v1/groups/{group_id}/mutes", body, key=f"key-{group_id}")
    return asyncio.create_task(asked)


async def groups(house: House, number: int = 8) -> list[str]:
    names = [f"g{place}" for place in range(number)]
    for name in names:
        await house.has_group(name, f"{name}o", (), (f"{name}m",))
    return names


async def test_a_locked_group_holds_up_no_other(house: House, database: Database) -> None:
    """S001: who asks for a row that somebody keeps locked is told to ask again; all others of his set are answered meanwhile."""
    names = await groups(house)
    holder = await asyncpg.connect(database.service_dsn)
    try:
        async with holder.transaction():
            await holder.fetchval("SELECT 1 FROM groups WHERE group_id = 'g3' FOR UPDATE")
            answers = await asyncio.gather(*(muting(house, name) for name in names))
    finally:
        await holder.close()
    assert [answer.status_code for answer in answers] == [503 if name == "g3" else 200 for name in names]
    assert answers[3].json()["code"] == "trail_unavailable"
    assert answers[3].headers["retry-after"]
    assert (await muting(house, "g3")).status_code == 200
    assert len(await house.records("group.mute")) == len(names)


async def test_a_locked_table_is_told_to_all_at_once(house: House, database: Database) -> None:
    """S001: where no act can be recorded each is told so while the lock lasts; not one waits for all the others' locks in turn."""
    names = await groups(house, 20)
    owner = await asyncpg.connect(database.owner_dsn)
    tried = 0
    run = house.app.state.door._sets.run

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal tried
        tried += 1
        return await run(*given, **named)

    house.app.state.door._sets.run = counted
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE record IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(*(muting(house, name) for name in names))
            assert {answer.status_code for answer in answers} == {503}
            # Two sets at most, the first may be a small one, and three alone of each.
            assert tried <= 8
    finally:
        await owner.close()
    assert {(await muting(house, name)).status_code for name in names} == {200}


async def test_an_act_is_answered_though_nobody_can_be_told_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S001: what fails in telling logs and metrics of an act ends neither its answer nor the acts that follow."""
    await house.has_group("g0", "g0o", (), ("g0m",))

    def broken(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as failing:
        failing.setattr(house.app.state.watch, "acted", broken)
        assert (await muting(house, "g0")).status_code == 200
        assert (await house.ask("g0o", "DELETE", "/v1/groups/g0/mutes/g0m", {})).status_code == 200
    assert (await house.client.get("/health/ready")).status_code == 200
    assert (await muting(house, "g0")).status_code == 200
    assert len(await house.records("group.mute")) == 1
