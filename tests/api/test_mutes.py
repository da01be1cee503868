"""Mutes of one person: who may, for how long, and what ends them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx
import pytest

from service.app import create_app
from service.domain.groups.mutes import ExpireMute
from tests.conftest import Database
from tests.kit import House

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben and cai are admins, dan and eve members."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    return house


async def mute(
    house: House, who: str, whom: str, seconds: int | None, note: str | None = None, **more: Any
) -> Any:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud", "note": note}
    return await house.ask(who, "POST", "/v1/groups/g/mutes", body, **more)


async def test_mute_holds_until_the_instant_plus_its_seconds(group: House) -> None:
    """S022: a mute of n seconds holds until the act's instant plus n, and the backend is told."""
    receipt = (await mute(group, "ben", "dan", 3600)).json()
    assert receipt["result"]["until"] == "2026-11-02T09:00:00.000Z"
    assert await group.effects("group.muted") == [
        {"group_id": "g", "person_id": "dan", "until": "2026-11-02T09:00:00.000Z"}
    ]


@pytest.mark.parametrize(
    ("seconds", "status", "code"),
    [
        (0, 400, "duration_zero"),
        (-1, 400, "duration_out_of_range"),
        (2_592_001, 400, "duration_out_of_range"),
        (604_801, 422, "duration_over_limit"),
        (None, 422, "duration_over_limit"),
    ],
)
async def test_mute_refuses_terms_out_of_range(
    group: House, seconds: int | None, status: int, code: str
) -> None:
    """S023, S024, S025: each wrong term has its own code; only the one that the tier forbids names a maximum."""
    answer = await mute(group, "ben", "dan", seconds)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if status == 422:
        assert answer.json()["data"]["maximum"] == 604_800


async def test_mute_by_a_member_matches_no_rule(group: House) -> None:
    """S034: a member acting on anyone is refused with rule none, and the attempt is on record."""
    problem = await group.refused(
        "refused", "dan", "POST", "/v1/groups/g/mutes", {"person_id": "eve", "seconds": 60}
    )
    assert problem["rule"] == "none"
    assert [one["out"] for one in await group.records("group.mute")] == ["refused"]


async def test_the_same_request_key_gives_the_first_answer_again(group: House) -> None:
    """S010: same key and body give the same bytes and no second record; another body is refused."""
    first = await mute(group, "ben", "dan", 3600, key="k")
    again = await mute(group, "ben", "dan", 3600, key="k")
    other = await mute(group, "ben", "dan", 60, key="k")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (other.status_code, other.json()["code"]) == (422, "request_key_reused")
    assert len(await group.records("group.mute")) == 1


async def muted(house: House, whom: str = "dan", **query: str) -> Any:
    return await house.do("im", "GET", f"/v1/groups/g/mutes/{whom}?{urlencode(query)}")


async def open_mutes(house: House) -> list[Any]:
    async with house.db.read() as db:
        return await db.fetch("SELECT * FROM mute WHERE ended_at IS NULL")


@asynccontextmanager
async def second_process(house: House) -> AsyncIterator[House]:
    """Another process of the same service on the same database."""
    app = create_app(house.app.state.settings, clock=house.clock)
    async with app.lifespan():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://mandate") as client:
            second = House(app, client, house.clock, house.tokens)
            second._keys = count(1_000_000)
            yield second


async def test_until_is_inclusive_and_lapse_is_an_act_of_time(group: House) -> None:
    """S022, S015, S043: at the very end the person is muted, a millisecond later time ends it and names the act."""
    first = (await mute(group, "ben", "dan", 3600)).json()["record_id"]
    group.clock.advance(3600)
    assert (await muted(group))["holds"][0]["by_record"] == first
    assert await group.by_time(ExpireMute(group_id="g", person_id="dan")) == "not_in_state"
    group.clock.advance(0.001)
    assert (await muted(group))["muted"] is False
    assert await group.by_time(ExpireMute(group_id="g", person_id="dan")) == "done"
    record = (await group.records("group.expire_mute"))[-1]
    assert (record["by"]["standing"], record["links"], record["p"]["after"]) == (
        "system.sweep",
        [first],
        {"ended": "lapsed"},
    )
    assert (await group.effects("group.unmuted"))[0]["how"] == "lapsed"


async def test_the_sweep_writes_nothing_where_a_hand_was_first(group: House) -> None:
    """S016: what was ended by hand, or is not over, is left alone by time, without a record."""
    await mute(group, "ben", "dan", 60)
    assert await group.by_time(ExpireMute(group_id="g", person_id="dan")) == "not_in_state"
    await group.do("cai", "DELETE", "/v1/groups/g/mutes/dan", {})
    group.clock.advance(61)
    assert await group.by_time(ExpireMute(group_id="g", person_id="dan")) == "not_in_state"
    assert await group.records("group.expire_mute") == []


async def test_permanent_is_for_the_owner_of_a_light_group(house: House) -> None:
    """S024, S025: null is allowed where the tier's maximum for the rank is null; else the maximum is named."""
    for tier, maximum in ((1, None), (2, None), (3, 2_592_000), (4, 2_592_000)):
        await house.has_group(f"t{tier}", "ann", ("ben",), ("dan",), tier=tier)
        body = {"person_id": "dan", "seconds": None, "reason": "fraud", "note": "a note that is long enough"}
        answer = await house.ask("ann", "POST", f"/v1/groups/t{tier}/mutes", body)
        if maximum is None:
            assert answer.json()["result"]["until"] is None
        else:
            assert (answer.status_code, answer.json()["data"]["maximum"]) == (422, maximum)


@pytest.mark.parametrize(("tier", "maximum"), [(1, 604_800), (2, 604_800), (3, 259_200), (4, 86_400)])
async def test_an_admin_mutes_up_to_the_maximum_of_the_tier(house: House, tier: int, maximum: int) -> None:
    """S025: exactly the maximum is allowed, a second more is refused and on record."""
    await house.has_group("g", "ann", ("ben",), ("dan",), tier=tier)
    note = "a note that is long enough"
    over = await mute(house, "ben", "dan", maximum + 1, note=note)
    assert (over.json()["code"], over.json()["data"]["maximum"]) == ("duration_over_limit", maximum)
    assert (await mute(house, "ben", "dan", maximum, note=note)).status_code == 200
    assert [one["out"] for one in await house.records("group.mute")] == ["refused", "done"]


async def test_muting_the_muted_replaces_the_old_mute(group: House) -> None:
    """S027: the new mute names the old, times never add up, and one mute is open."""
    old = (await mute(group, "ben", "dan", 3600)).json()["record_id"]
    new = (await mute(group, "cai", "dan", 60)).json()
    assert new["result"]["until"] == "2026-11-02T08:01:00.000Z"
    record = (await group.records("group.mute"))[-1]
    assert (record["links"], record["p"]["before"]) == ([old], {"until": "2026-11-02T09:00:00.000Z"})
    (row,) = await open_mutes(group)
    assert (row["by_record"], row["supersedes"]) == (new["record_id"], old)


async def test_an_admin_does_not_shorten_what_the_owner_set(group: House) -> None:
    """S028: a shorter re-mute of the owner's mute is refused; a longer one replaces it; the owner may shorten his own."""
    await mute(group, "ann", "dan", 3600)
    assert (await mute(group, "ben", "dan", 3599)).json()["code"] == "rank_not_lower"
    assert (await mute(group, "ann", "dan", 1800)).status_code == 200
    assert (await mute(group, "ben", "dan", 3600)).status_code == 200
    await mute(group, "ann", "eve", None)
    assert (await mute(group, "ben", "eve", 604_800)).json()["code"] == "rank_not_lower"


async def test_only_own_rank_or_below_is_unmuted(group: House) -> None:
    """S040: what the owner imposed no admin ends; what an admin imposed another admin can, and the owner."""
    await mute(group, "ann", "dan", 3600)
    await group.refused("rank_not_lower", "ben", "DELETE", "/v1/groups/g/mutes/dan", {})
    await group.do("ann", "DELETE", "/v1/groups/g/mutes/dan", {"reason": "error_corrected"})
    by_ben = (await mute(group, "ben", "eve", 3600)).json()["record_id"]
    receipt = await group.do("cai", "DELETE", "/v1/groups/g/mutes/eve", {})
    assert receipt["result"] == {"person_id": "eve", "ended": "unmuted", "set_by": by_ben}
    assert (await group.records("group.unmute"))[-1]["links"] == [by_ben]
    await group.refused("not_in_state", "cai", "DELETE", "/v1/groups/g/mutes/eve", {})


async def test_a_lapsed_mute_is_nothing_to_end_by_hand(group: House) -> None:
    """S022: what is over is over, even before time has said so: unmuting it is refused."""
    await mute(group, "ben", "dan", 60)
    group.clock.advance(60.001)
    await group.refused("not_in_state", "ben", "DELETE", "/v1/groups/g/mutes/dan", {})


async def test_the_owner_and_equals_are_never_the_target(group: House) -> None:
    """S032, S033: an admin acting on the owner or on an admin is refused, and the attempt is on record."""
    for whom in ("ann", "cai"):
        problem = (await mute(group, "ben", whom, 60)).json()
        assert problem["code"] == "rank_not_lower"
        assert problem["record_id"] == (await group.records("group.mute"))[-1]["id"]


@pytest.mark.parametrize("who", ["ann", "ben"])
async def test_nobody_mutes_or_unmutes_oneself(group: House, who: str) -> None:
    """S035: acting on oneself is denied by a line that says so."""
    problem = (await mute(group, who, who, 60)).json()
    standing = "owner" if who == "ann" else "admin"
    assert (problem["code"], problem["rule"]) == ("self_target", f"group.mute-{standing}-self")
    problem = await group.refused("self_target", who, "DELETE", f"/v1/groups/g/mutes/{who}", {})
    assert problem["rule"] == f"group.unmute-{standing}-self"


async def test_somebody_outside_cannot_be_muted(group: House) -> None:
    """S022: a mute needs a member; who is outside is refused with not_in_group."""
    await group.has_people("zoe")
    assert (await mute(group, "ben", "zoe", 60)).json()["code"] == "not_in_group"


async def test_leaving_and_joining_again_ends_no_mute(house: House) -> None:
    """S026: who leaves an open group and joins it again is muted as before, by the same act and to the same end."""
    await house.has_group("g", "ann", ("ben",), ("dan",), join_mode="open")
    await mute(house, "ben", "dan", 3600)
    before = await muted(house)
    house.clock.advance(60)
    await house.do("dan", "POST", "/v1/groups/g/leaving", {})
    await house.do("dan", "POST", "/v1/groups/g/joining", {})
    after = await muted(house)
    assert (before["muted"], after["muted"], after["standing"]) == (True, True, "member")
    assert after["holds"] == before["holds"]


async def test_a_mute_survives_removal_and_a_change_of_tier(group: House) -> None:
    """S026, G7: removal leaves the mute in force, and so does another tier whose maximum is shorter."""
    await mute(group, "ben", "dan", 604_800)
    await group.do("ben", "POST", "/v1/groups/g/removals", {"person_id": "dan", "reason": "fraud"})
    async with group.db.transaction() as tx:
        await tx.execute("UPDATE groups SET tier = 4 WHERE group_id = 'g'")
    answer = await muted(group)
    assert (answer["muted"], answer["standing"], answer["until"]) == (
        True,
        "stranger",
        "2026-11-09T08:00:00.000Z",
    )


async def test_parallel_mutes_of_one_person_leave_one_open_mute(group: House) -> None:
    """S027: twenty parallel mutes of one person are twenty acts, each naming the one before; one mute is open."""
    answers = await asyncio.gather(*(mute(group, "ben", "dan", 60 + n) for n in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    links = [one["links"] for one in await group.records("group.mute")]
    ids = [[one["id"]] for one in await group.records("group.mute")]
    assert links == [[], *ids[:-1]]
    assert len(await open_mutes(group)) == 1


async def test_two_processes_muting_one_person_leave_one_open_mute(group: House) -> None:
    """S027, S001: mutes and unmutes that meet in two processes stay one story: one mute open, one end per mute."""
    async with second_process(group) as other:
        houses = (group, other)
        answers = await asyncio.gather(*(mute(houses[n % 2], "ben", "dan", 60 + n) for n in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(await open_mutes(group)) == 1
        async with group.db.read() as db:
            replaced = await db.fetch("SELECT supersedes FROM mute WHERE supersedes IS NOT NULL")
        assert len({row["supersedes"] for row in replaced}) == len(replaced) == 19
        ends = await asyncio.gather(
            *(houses[n % 2].ask("ben", "DELETE", "/v1/groups/g/mutes/dan", {}) for n in range(10))
        )
    assert sorted(answer.status_code for answer in ends) == [200] + [409] * 9
    assert len(await group.effects("group.unmuted")) == 1


async def test_who_waited_for_the_group_sees_what_was_done_to_it_meanwhile(
    group: House, database: Database
) -> None:
    """S001, S034: an admin's mute that waits in one process for his own dismissal in another is a plain member's."""
    holder = await asyncpg.connect(database.service_dsn)
    try:
        async with second_process(group) as other:
            held = holder.transaction()
            await held.start()
            await holder.fetchval("SELECT 1 FROM groups WHERE group_id = 'g' FOR UPDATE")
            dismissal = asyncio.create_task(other.ask("ann", "DELETE", "/v1/groups/g/admins/ben", {}))
            await waiting(holder, 1)
            muting = asyncio.create_task(mute(group, "ben", "dan", 3600))
            await waiting(holder, 2)
            await held.rollback()
            assert (await dismissal).status_code == 200
            refused = await muting
    finally:
        await holder.close()
    assert (refused.status_code, refused.json()["rule"]) == (403, "none")
    assert await open_mutes(group) == []


async def waiting(holder: asyncpg.Connection, number: int) -> None:
    """Until so many wait for a lock in this database."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(150):
        if (await holder.fetchval(asked) or 0) >= number:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{number} never waited for a lock at once")


async def test_a_hot_group_takes_many_mutes_at_once(house: House) -> None:
    """S001, S002: two hundred parallel mutes of different members of one group are all done, one record each."""
    members = tuple(f"m{n}" for n in range(200))
    await house.has_group("g", "ann", ("ben",), members, capacity=500, tier=2)
    answers = await asyncio.gather(*(mute(house, "ben", one, 60) for one in members))
    assert {answer.status_code for answer in answers} == {200}
    told = {answer.json()["record_id"] for answer in answers}
    assert told == {one["id"] for one in await house.records("group.mute")}
    assert len(told) == 200
