"""Trails read page by page, while the log takes in what waits, a log ends and another begins, or rows are missing."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from service.commands.trail_keys import begin_anew
from service.trail import reading
from tests.api.test_new_log import NEXT, settings
from tests.conftest import Database
from tests.kit import House
from tests.taking import agreed

pytestmark = pytest.mark.anyio
TRAIL = "/v1/trails/group/g?purpose=case+17"


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben is admin, dan a member."""
    await house.has_group("g", "ann", ("ben",), ("dan",))
    return house


def decoded(cursor: str) -> list[Any]:
    return msgspec.msgpack.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))


def encoded(parts: list[Any]) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(parts)).rstrip(b"=").decode()


async def mutes(house: House, *seconds: int) -> list[str]:
    """Mute dan for so many seconds each; the ids of the records."""
    asked = [{"person_id": "dan", "seconds": one, "reason": "fraud"} for one in seconds]
    return [(await house.do("ben", "POST", "/v1/groups/g/mutes", one))["record_id"] for one in asked]


async def pages(
    house: House, query: str, between: Callable[[int], Awaitable[Any]], cursor: str = ""
) -> list[list[str]]:
    """The ids on all pages; `between` is done after each, told how many there were."""
    found: list[list[str]] = []
    while True:
        page = await house.do("au", "GET", f"{TRAIL}{query}{cursor}")
        found.append([one["record_id"] for one in page["items"]])
        await between(len(found))
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.mark.parametrize("logged", [0, 3, 40])
@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_pages_lose_and_repeat_nothing_while_the_log_takes_in_what_waits(
    group: House, logged: int, limit: int
) -> None:
    """S021: a record that was shown while it waited is not shown again where it stands in the log, and none is left out."""
    before = await mutes(group, *range(60, 60 + logged))
    await group.publish()
    before += await mutes(group, *range(200, 208))

    async def between(page: int) -> None:
        await mutes(group, 300 + page)
        # Every other time, so that pages also go on among records that still wait.
        if page % 2:
            await group.publish()

    found = await pages(group, f"&limit={limit}", between)
    assert [one for page in found for one in page] == before
    assert all(len(page) <= limit for page in found)


async def test_what_waits_is_filtered_like_what_is_logged(group: House) -> None:
    """S021: filters choose among logged and waiting records alike, and pages of a filter lose and repeat nothing."""
    wanted: list[str] = []
    for turn in range(3):
        await mutes(group, *range(60 + turn, 64 + turn))
        asked = {"reason": "error_corrected"}
        done = await group.do("ann", "DELETE", "/v1/groups/g/mutes/dan", asked)
        wanted.append(done["record_id"])
        if turn < 2:
            await group.publish()

    async def log(_page: int) -> None:
        await group.publish()

    assert await pages(group, "&action=group.unmute&limit=1", log) == [[one] for one in wanted]
    first = await pages(group, "&actor_type=person&actor_id=ann&limit=2", log)
    assert first == [wanted[:2], wanted[2:]]


async def test_a_filter_that_fits_few_gives_short_pages_that_go_on(
    group: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S021: so many records are looked through for one page; the cursor goes on behind them, in the log as among what waits."""
    monkeypatch.setattr(reading, "SCANNED", 10)
    await mutes(group, *range(60, 84))
    done = await group.do("ann", "DELETE", "/v1/groups/g/mutes/dan", {"reason": "error_corrected"})
    await group.publish()
    await mutes(group, 90)

    async def nothing(_page: int) -> None:
        pass

    found = await pages(group, "&action=group.unmute&limit=2", nothing)
    assert found == [[], [], [done["record_id"]]]


async def test_pages_go_on_from_an_ended_log_into_the_one_that_stands(
    group: House, database: Database
) -> None:
    """S021, O3: a trail is read through ended logs, the log that stands and what waits; a log may end between two pages."""
    ids = await mutes(group, *range(60, 100))
    await group.publish()
    ids += await mutes(group, 100, 101, 102)
    page = await group.do("au", "GET", f"{TRAIL}&limit=42")
    assert [one["record_id"] for one in page["items"]] == ids[:42]
    await asyncio.to_thread(begin_anew, settings(group, database, origin=NEXT))
    async with House.reopen(database.service_dsn, group.app.state.settings.data, origin=NEXT) as later:
        later.tokens, later._keys = group.tokens, group._keys
        later.clock.advance(60)

        async def log(_page: int) -> None:
            await later.publish()

        rest = await pages(later, "&limit=42", log, f"&cursor={page['next']}")
        assert [one for each in rest for one in each] == ids[42:]
        ids += await mutes(later, 110)
        await later.publish()
        ids += await mutes(later, 111)
        for limit in (1, 9, 41, 100):
            found = await pages(later, f"&action=group.mute&limit={limit}", log)
            assert [one for each in found for one in each] == ids, limit


async def test_a_retired_record_of_an_ended_log_still_tells_whom_it_concerned(
    group: House, database: Database
) -> None:
    """S205, O3: what its entry says of a record without body is found in whichever log it stands."""
    [muted] = await mutes(group, 60)
    await group.publish()
    async with group.db.read() as db:
        place = await db.fetchval(
            "SELECT e.idx FROM log_entry e JOIN record r ON r.id = e.record_id WHERE r.rid = $1", muted
        )
    group.clock.advance(430 * 86_400)
    asked = {"from_index": place, "to_index": place + 1, "legal_basis": ["pipl:art.19"]}
    await agreed(group, await group.do("co", "POST", "/v1/record-retirements", asked), "ap", "co2")
    await group.publish()
    await asyncio.to_thread(begin_anew, settings(group, database, origin=NEXT))
    async with House.reopen(database.service_dsn, group.app.state.settings.data, origin=NEXT) as later:
        later.tokens, later._keys = group.tokens, group._keys
        later.clock.set(group.clock.now())
        [first, *_] = (await later.do("au", "GET", TRAIL))["items"]
        assert (first["record_id"], first["record"]) == (muted, None)
        one = await later.do("au", "GET", f"/v1/records/{muted}?purpose=case+17")
        assert one["item"] == first
        [found] = await reading.find(later.db, [muted])
        assert {("group", "g"), ("person", "ben"), ("person", "dan")} <= {
            (one.type, one.id) for one in found.subjects if one is not None
        }


@pytest.mark.unreconciled("each case breaks something")
@pytest.mark.parametrize(
    ("breaking", "row"),
    [
        ("DELETE FROM record WHERE id = $1", "record of log_entry {place}"),
        ("DELETE FROM log_entry WHERE record_id = $1", "log_entry {place}"),
        ("UPDATE log_entry SET record_id = NULL WHERE record_id = $1", "log_entry {place}"),
        ("UPDATE record SET body = 'no JSON' WHERE id = $1", "record {rid}: "),
        ("DELETE FROM subject_leaf WHERE $1::bigint > 0", "subject or subject_leaf: the place of record 0 of"),
        ("UPDATE subject_leaf SET places = '' WHERE $1::bigint > 0", "subject or subject_leaf: the place of record 0"),
        ("UPDATE subject_leaf SET places = '\\x7fff' WHERE $1::bigint > 0", "log_entry 9223"),
        ("UPDATE subject SET edge = substr(edge, 1, length(edge) - 8) WHERE $1::bigint > 0", "subject or subject_leaf: "),
        ("UPDATE subject SET edge = overlay(edge PLACING '\\xff' FROM 33) WHERE $1::bigint > 0", "subject or subject_leaf: "),
        ("UPDATE subject SET edge = '' WHERE $1::bigint > 0", "subject or subject_leaf: "),
        (
            "UPDATE log_entry SET entry = '\\x03' WHERE idx = 0 AND $1::bigint > 0",
            "subject or subject_leaf: the place of record 0 of",
        ),
        ("UPDATE record SET body = replace(convert_from(body, 'UTF8'), '{tag}', '{other}')::bytea WHERE id = $1", "record {rid}, which is not of"),
    ],
)  # fmt: skip
async def test_a_place_that_leads_to_no_record_is_named_and_never_passed_over(
    group: House, database: Database, breaking: str, row: str
) -> None:
    """S197: where a trail leads to no record of its subject the answer is 503 `trail_damaged` with the row, on every page."""
    [muted, *_] = await mutes(group, *range(60, 100))
    await group.publish()
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        number, place = await owner.fetchrow(
            "SELECT r.id, e.idx FROM log_entry e JOIN record r ON r.id = e.record_id WHERE r.rid = $1", muted
        ) or (0, 0)
        tag = group.app.state["keys"].tag("group", "g").hex()
        for table in ("record", "log_entry", "subject_leaf"):
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await owner.execute(breaking.replace("{tag}", tag).replace("{other}", "ab" * 32), number)
    finally:
        await owner.close()
    for limit in (1, 500):
        told = await group.refused("trail_damaged", "au", "GET", f"{TRAIL}&limit={limit}")
        assert told["status"] == 503
        assert told["data"]["row"].startswith(row.format(place=place, rid=muted)), told


@pytest.mark.unreconciled("a record is deleted before it is logged")
async def test_a_waiting_record_that_is_gone_is_damage_too(group: House, database: Database) -> None:
    """S197: a record that waits for the log and is not there is named, not left out."""
    [muted] = await mutes(group, 60)
    owner = await asyncpg.connect(database.owner_dsn)
    await owner.execute("ALTER TABLE record DISABLE TRIGGER USER")
    number = await owner.fetchval("DELETE FROM record WHERE rid = $1 RETURNING id", muted)
    await owner.close()
    told = await group.refused("trail_damaged", "au", "GET", TRAIL)
    assert told["data"]["row"] == f"record {number}, which waits for its entry"


async def test_a_cursor_that_somebody_made_reads_nothing_that_is_not_there(group: House) -> None:
    """S021: numbers in a cursor that fit no log or no record give an end or a refusal, and never a fault."""
    await mutes(group, 60, 61, 62)
    await group.publish()
    page = await group.do("au", "GET", f"{TRAIL}&limit=1")
    raw = decoded(page["next"])
    largest = (1 << 63) - 1
    for place in ((largest, 0, 0), (0, largest, 0), (0, 0, largest), (0, 1 << 53, largest)):
        forged = encoded([*raw[:2], *place, raw[5]])
        answer = await group.ask("au", "GET", f"{TRAIL}&limit=1&cursor={forged}")
        assert answer.status_code == 200, answer.text
    unknown = encoded([*raw[:5], "01a0c450-6f84-7000-8000-000000000001"])
    assert (await group.do("au", "GET", f"{TRAIL}&limit=1&cursor={unknown}"))["items"] == []
    for bad in ([*raw[:2], -1, 0, 0, raw[5]], [*raw[:2], 0, raw[5]]):
        await group.refused("malformed", "au", "GET", f"{TRAIL}&limit=1&cursor={encoded(bad)}")
