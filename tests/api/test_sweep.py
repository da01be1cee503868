"""What time does, under its own name, once, and only where nobody was quicker."""

import asyncio
import datetime as dt
from typing import Any

import asyncpg
import pytest

from service.caller import Caller
from service.db import DatabaseUnavailable, Embedded
from service.domain.groups.mutes import ExpireMute
from service.sweep import DUE, Sweep
from tests.conftest import Database
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

MUTES = "/v1/groups/g/mutes"


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben is admin, dan and eve are members."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    return house


async def mute(house: House, whom: str, seconds: int) -> dict[str, Any]:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud"}
    return await house.do("ben", "POST", MUTES, body)


async def muted(house: House, whom: str) -> bool:
    async with house.db.read() as db:
        return await db.fetchval(
            "SELECT EXISTS (SELECT 1 FROM mute WHERE person_id = $1 AND ended_at IS NULL"
            " AND (until IS NULL OR until >= $2))",
            whom,
            house.clock.now(),
        )


async def expiries(house: House) -> list[dict[str, Any]]:
    return await house.records("group.expire_mute")


async def until_expired(house: House) -> None:
    """Wait for the background, seconds at most; a connection that was cut may still be in the pool."""
    for _ in range(250):
        try:
            if await expiries(house):
                return
        except DatabaseUnavailable:
            pass
        await asyncio.sleep(0.02)
    raise AssertionError("time did not act")


async def test_a_mute_holds_at_its_end_and_is_gone_a_millisecond_later(group: House) -> None:
    """S022, S015: rows 16 to 21 of the day: at `until` dan is muted; then time ends it and names the act that set it."""
    group.clock.set(MORNING + dt.timedelta(hours=1, minutes=5))
    receipt = await mute(group, "dan", 3600)
    assert receipt["result"]["until"] == "2026-11-02T10:05:00.000Z"
    group.clock.set(MORNING + dt.timedelta(hours=2, minutes=5))
    assert await group.sweep() == 0
    assert await muted(group, "dan")
    assert await expiries(group) == []
    group.clock.advance(0.001)
    assert await group.sweep() == 1
    assert not await muted(group, "dan")
    (record,) = await expiries(group)
    assert record["by"] == {"kind": "system", "standing": "system.sweep", "tag": None}
    assert (record["out"], record["links"]) == ("done", [receipt["record_id"]])
    assert record["ts_us"] == (MORNING + dt.timedelta(hours=2, minutes=5, milliseconds=1)).timestamp() * 1e6
    assert {"group_id": "g", "person_id": "dan", "how": "lapsed"} in await group.effects("group.unmuted")


async def test_time_never_acts_twice(group: House) -> None:
    """S015, S016: two sweeps at once, and one more, leave one record."""
    await mute(group, "dan", 60)
    group.clock.advance(61)
    other = Sweep(group.db, group.app.state.door, group.clock, group.app.state.editions)
    done = await asyncio.gather(group.sweep(), other.once(), group.sweep())
    assert sum(done) == 1
    assert await group.sweep() == 0
    assert len(await expiries(group)) == 1


async def test_what_ended_by_hand_is_left_alone(group: House) -> None:
    """S016: an expiry that comes after the unmute does nothing and writes nothing, not even a refusal."""
    await mute(group, "dan", 60)
    await group.do("ann", "DELETE", f"{MUTES}/dan")
    group.clock.advance(61)
    answer = await group.app.state.door.act(ExpireMute(group_id="g", person_id="dan"), caller=Caller.sweep())
    assert (answer.code, answer.record_id) == ("not_in_state", "")
    assert await group.sweep() == 0
    assert await expiries(group) == []


async def test_a_permanent_or_replaced_mute_is_not_expired(group: House) -> None:
    """S024, S027: time ends only what has an end, and of two mutes only the one that stands."""
    await mute(group, "dan", 60)
    await mute(group, "dan", 7200)
    await group.do("ann", "POST", MUTES, {"person_id": "eve", "seconds": None, "reason": "fraud"})
    group.clock.advance(61)
    assert await group.sweep() == 0
    assert await muted(group, "dan")
    assert await muted(group, "eve")


async def test_nobody_but_time_ends_by_lapse(group: House) -> None:
    """S016, S005: the acts of time pass the same policy: for anyone else no rule allows them."""
    await mute(group, "dan", 60)
    group.clock.advance(61)
    for caller in (
        Caller(kind="person", key_id="im", person_id="ann"),
        Caller(kind="backend", key_id="im"),
        Caller(kind="staff", key_id="mo", staff_id="mo"),
    ):
        answer = await group.app.state.door.act(ExpireMute(group_id="g", person_id="dan"), caller=caller)
        assert (answer.code, answer.rule) == ("refused", "none")


async def test_more_than_one_batch_ends_in_one_turn(group: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """S015: a long queue is taken batch by batch, and what cannot be ended does not stand in the way of the rest."""
    monkeypatch.setattr("service.sweep.BATCH", 3)
    people = [f"m{number:02}" for number in range(10)]
    await group.has_group("h", "hal", (), tuple(people))
    for seconds, person in enumerate(people, 60):
        body = {"person_id": person, "seconds": seconds, "reason": "fraud"}
        await group.do("hal", "POST", "/v1/groups/h/mutes", body)
    async with group.db.transaction() as tx:
        await tx.execute(
            "UPDATE mute SET group_id = 'nowhere' WHERE person_id IN ('m00', 'm01', 'm02', 'm05')"
        )
    group.clock.advance(3600)
    assert await group.sweep() == 6
    assert not await muted(group, "m09")


async def test_owners_are_looked_at_some_each_turn(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """S067: groups are walked through in pieces, round and round: every lost owner is found."""
    monkeypatch.setattr("service.sweep.WALK", 2)
    for number in range(5):
        await house.has_group(f"g{number}", f"owner{number}", (), (f"heir{number}",))
    await house.has_people("owner3", bot=True)
    assert [await house.sweep() for _ in range(4)] == [0, 1, 0, 0]
    await house.has_people("owner0", bot=True)
    assert sum([await house.sweep() for _ in range(3)]) == 1


async def test_every_act_of_the_table_is_one_of_times_own(house: House) -> None:
    """S016: what the sweep asks for is allowed to it, and to it alone, by the policy."""
    policy = house.app.state.editions.at(MORNING)
    sweep_only = {line.action for line in policy.lines if line.standing == "sweep"}
    names = {
        "mutes_due": "group.expire_mute",
        "offers_due": "group.expire_transfer",
        "approvals_due": "approval.expire",
        "successions_due": "group.succeed",
    }
    assert {names[due.query] for due in DUE if due.query in names} <= sweep_only


async def test_time_goes_on_when_the_database_comes_back(
    group: House, database: Database, postgres: Embedded
) -> None:
    """S015: a sweep without database fails and is told of; the next one ends what fell due meanwhile."""
    await mute(group, "dan", 60)
    group.clock.advance(61)
    admin = await asyncpg.connect(postgres.admin_dsn)
    background = Sweep(group.db, group.app.state.door, group.clock, group.app.state.editions)
    try:
        await admin.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database.name
        )
        with pytest.raises(DatabaseUnavailable):
            await group.sweep()
        background.open(0.01)
        await asyncio.sleep(0.1)
        await admin.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
        await until_expired(group)
    finally:
        await admin.close()
        await background.close()
    assert len(await expiries(group)) == 1


async def test_the_service_sweeps_by_itself(database: Database, tmp_path: Any) -> None:
    """S015: nobody needs to ask: what falls due ends within a turn of the running service."""
    async with House.open(database.service_dsn, tmp_path, sweep_seconds=0.02) as house:
        await house.has_group("g", "ann", ("ben",), ("dan",))
        await mute(house, "dan", 60)
        house.clock.advance(61)
        await until_expired(house)
