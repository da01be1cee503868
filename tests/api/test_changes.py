"""What backends are told: in record order, nothing skipped, nothing twice."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.api.effects import effects
from service.outbox import Outbox
from tests.conftest import Database
from tests.kit import House

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it; dan and eve are members."""
    await house.has_group("g", "ann", (), ("dan", "eve"))
    return house


async def mute(house: House, whom: str, seconds: int) -> dict[str, Any]:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud"}
    return await house.do("ann", "POST", "/v1/groups/g/mutes", body)


async def changes(house: House, after: str | None = None, limit: int = 100) -> dict[str, Any]:
    query = f"?limit={limit}" + (f"&after={after}" if after else "")
    return await house.do("im", "GET", "/v1/changes" + query)


async def settled(house: House, outbox: Outbox | None = None) -> None:
    """Wait until the house, or this reader of its effects, knows that all there are now are settled.

    Transactions of other tests hold them back too.
    """
    async with house.db.read() as db:
        newest = await db.fetchval("SELECT coalesce(max(id), 0) FROM outbox")
    reader = outbox or house.app.state.outbox
    async with asyncio.timeout(20):
        while await reader.settled() < newest:  # noqa: ASYNC110  what is waited for is PostgreSQL's
            await asyncio.sleep(0.01)


def test_each_effect_that_is_documented_is_made_somewhere() -> None:
    """What is told and not documented fails each test that tells it; see `House.reconcile`."""
    sources = "".join(
        path.read_text() for path in (Path(__file__).parents[2] / "service/domain").rglob("*.py")
    )
    made = {kind for kind in effects() if f'"{kind}"' in sources}
    composed = {"approval.", "credential.", "group.admin_", "measure."}
    assert all(f'f"{one}{{' in sources for one in composed)
    assert {kind for kind in effects() if not kind.startswith(tuple(composed))} <= made


async def test_pages_give_each_effect_once_and_in_order(group: House) -> None:
    """S001: reading on from `next` gives every effect once, in record order, and waits where there is none."""
    receipts = [await mute(group, "dan", seconds) for seconds in range(60, 67)]
    await settled(group)
    read: list[Any] = []
    after = None
    for _ in range(4):
        page = await changes(group, after, limit=3)
        read += page["changes"]
        after = page["next"]
    assert [one["record_id"] for one in read] == [one["record_id"] for one in receipts]
    assert read[0] == {
        "cursor": read[0]["cursor"],
        "at": "2026-11-02T08:00:00.000Z",
        "record_id": receipts[0]["record_id"],
        "kind": "group.muted",
        "payload": {"group_id": "g", "person_id": "dan", "until": "2026-11-02T08:01:00.000Z"},
    }
    empty = await changes(group, after)
    assert (empty["changes"], empty["next"]) == ([], after)
    last = await mute(group, "eve", 60)
    await settled(group)
    assert [one["record_id"] for one in (await changes(group, after))["changes"]] == [last["record_id"]]
    assert len((await changes(group, read[4]["cursor"]))["changes"]) == 3


async def test_an_effect_that_commits_late_is_not_lost(group: House, database: Database) -> None:
    """S001: an effect drawn earlier and committed later holds back those after it, also of older transactions."""
    await mute(group, "dan", 60)
    await settled(group)
    start = await changes(group)
    add = "INSERT INTO outbox (rid, at, kind, payload) VALUES ($1, now(), 'test.thing', '{}')"
    old, young = [await asyncpg.connect(database.service_dsn) for _ in range(2)]
    try:
        # The older transaction draws the later place and commits first.
        older, younger = old.transaction(), young.transaction()
        await older.start()
        await old.fetchval("SELECT pg_current_xact_id()::text")
        await younger.start()
        await young.execute(add, "first")
        await old.execute(add, "second")
        await older.commit()
        assert (await changes(group, start["next"]))["changes"] == []
        await mute(group, "eve", 60)
        assert (await changes(group, start["next"]))["changes"] == []
        await younger.commit()
        await settled(group)
        read = (await changes(group, start["next"]))["changes"]
        assert [one["record_id"] for one in read][:2] == ["first", "second"]
        assert read[2]["kind"] == "group.muted"
    finally:
        await old.close()
        await young.close()


async def test_what_was_settled_is_given_while_another_transaction_lasts(
    group: House, database: Database
) -> None:
    """S001: a long transaction holds up what came after it began, never what was there before."""
    await mute(group, "dan", 60)
    await settled(group)
    before = await changes(group)
    slow = await asyncpg.connect(database.service_dsn)
    try:
        transaction = slow.transaction()
        await transaction.start()
        await slow.fetchval("SELECT pg_current_xact_id()::text")
        assert (await changes(group))["changes"] == before["changes"]
        await mute(group, "eve", 60)
        assert (await changes(group))["changes"] == before["changes"]
        await transaction.rollback()
        await settled(group)
        assert len((await changes(group))["changes"]) == 2
    finally:
        await slow.close()


async def test_many_writers_and_a_reader_agree(group: House) -> None:
    """S001: read while written, the feed has every effect once, in the order of the outbox."""
    people = [f"p{number}" for number in range(40)]
    await group.has_group("h", "ann", (), tuple(people))
    read: list[str] = []
    done = asyncio.Event()

    async def follow() -> None:
        after = None
        while True:
            last = done.is_set()
            page = await changes(group, after, limit=7)
            read.extend(one["record_id"] for one in page["changes"])
            after = page["next"]
            if last and not page["changes"]:
                return

    following = asyncio.create_task(follow())
    body = {"seconds": 60, "reason": "fraud"}
    await asyncio.gather(
        *(group.do("ann", "POST", "/v1/groups/h/mutes", {"person_id": one, **body}) for one in people)
    )
    await settled(group)
    done.set()
    await following
    async with group.db.read() as db:
        wanted = [row["rid"] for row in await db.fetch("SELECT rid FROM outbox ORDER BY id")]
    assert read == wanted


async def test_only_a_backend_in_its_own_name_reads_the_feed(group: House) -> None:
    """S021: people, staff and authorities do not; a key limited to territories has no feed, one to families its own."""
    for who in ("ann", "mo", "reg"):
        await group.refused("refused", who, "GET", "/v1/changes")
    await mute(group, "dan", 60)
    async with group.db.transaction() as tx:
        await tx.execute("""UPDATE api_key SET families = '["account"]' WHERE key_id = 'im'""")
    assert (await changes(group))["changes"] == []
    async with group.db.transaction() as tx:
        await tx.execute("""UPDATE api_key SET jurisdictions = '["EU"]' WHERE key_id = 'im'""")
    await group.refused("key_scope", "im", "GET", "/v1/changes")


async def test_a_cursor_is_of_this_feed(group: House) -> None:
    """S001: what is no cursor, or one of another query, is refused and not guessed at."""
    for after in ("", "7", "AAAA", "%00"):
        problem = await group.refused("malformed", "im", "GET", f"/v1/changes?after={after}")
        assert problem["pointer"] == "after"


async def test_a_cursor_newer_than_anything_here_is_refused(group: House, database: Database) -> None:
    """S001: after a restore a reader is told, where it would miss all until places catch up; what is only purged is no such thing."""
    for seconds in (60, 61, 62):
        await mute(group, "dan", seconds)
    await settled(group)
    after = (await changes(group))["next"]
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        await owner.execute("DELETE FROM outbox")
        assert (await changes(group, after))["changes"] == []
        await owner.execute("ALTER SEQUENCE outbox_id_seq RESTART WITH 1")
    finally:
        await owner.close()
    await mute(group, "dan", 63)
    for path in ("/v1/changes", "/v1/changes/stream"):
        problem = await group.refused("malformed", "im", "GET", f"{path}?after={after}")
        assert problem["pointer"] == "after"
        assert problem["data"]["why"].startswith("newer than anything here")


async def test_the_stream_gives_the_same_as_it_comes_and_ends_with_the_service(group: House) -> None:
    """S001: server-sent events carry cursor, kind and effect; a stream ends when the service stops."""
    await mute(group, "dan", 60)
    streaming = asyncio.create_task(group.ask("im", "GET", "/v1/changes/stream"))
    await asyncio.sleep(0.3)
    later = await mute(group, "eve", 60)
    await settled(group)
    await asyncio.sleep(0.8)
    group.app.state.stopping.set()
    answer = await asyncio.wait_for(streaming, 5)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [part.split("\n") for part in answer.text.split("\n\n") if part.startswith("id: ")]
    assert [lines[1] for lines in events] == ["event: group.muted"] * 2
    last = json.loads(events[-1][2].removeprefix("data: "))
    assert last["record_id"] == later["record_id"]
    assert events[-1][0] == f"id: {last['cursor']}"
    again = await group.ask(
        "im", "GET", "/v1/changes/stream", headers={"last-event-id": events[0][0].removeprefix("id: ")}
    )
    assert again.text == "retry: 1000\n\n"
    assert (
        len((await changes(group, json.loads(events[0][2].removeprefix("data: "))["cursor"]))["changes"]) == 1
    )


async def test_a_revoked_key_gets_no_more_from_a_stream(group: House) -> None:
    """S003: also while effects come one after another, a stream ends within moments of its key."""
    streaming = asyncio.create_task(group.ask("im", "GET", "/v1/changes/stream"))
    await asyncio.sleep(0.3)
    async with group.db.transaction() as tx:
        await tx.execute("UPDATE api_key SET revoked_at = now() WHERE key_id = 'im'")
    async with asyncio.timeout(10):
        while not streaming.done():
            async with group.db.transaction() as tx:
                await tx.execute(
                    "INSERT INTO outbox (rid, at, kind, payload) VALUES ('x', now(), 'test.thing', '{}')"
                )
            await asyncio.sleep(0.1)
    assert (await streaming).text.count("event: ") < 40
