"""Receivers that fail and processes that die: what was not taken is posted again as it was, and nothing is posted twice at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from service import guard
from service.outbox import Outbox
from service.watch import Watching
from service.webhooks import Webhooks, sql
from tests.api.test_changes import settled
from tests.conftest import Database
from tests.kit import House
from tests.receiving import (
    Hook,
    Post,
    Receiver,
    failing,
    mute,
    operator,
    outbox,
    put,
    receiving,
)

pytestmark = pytest.mark.anyio


async def test_whatever_is_not_taken_is_posted_again(
    house: House, receiver: Receiver, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 500, a redirect, a receiver too slow, gone or cut off: each time the same batch again, and nothing else overtakes it."""
    hook = await Hook.add(house, url)
    await mute(house)

    async def slow(_: Post) -> int:
        await asyncio.sleep(3)
        return 200

    monkeypatch.setattr(guard, "ANSWER_SECONDS", 0.5)
    receiver.answer_headers = [(b"location", b"http://127.0.0.1:1/")]
    for answer, said in ((500, "500"), (302, "302"), (307, "307"), (404, "404"), (slow, "timeout")):
        receiver.answer = answer if callable(answer) else lambda _, one=answer: one
        await hook.deliver()
        assert await failing(hook) == (said, True)
        await mute(house, "eve", 60 + len(receiver.posts))
    assert len(receiver.posts) == 5
    assert len({(one.message_id, one.body) for one in receiver.posts}) == 1
    row = await hook.row()
    assert row["failures"] == 5
    assert 16 <= (row["next_at"] - row["answered_at"]).total_seconds() <= 24
    receiver.answer = lambda _: 204
    await hook.deliver()
    assert len(receiver.effects) == 6
    stands = await hook.stands()
    assert (stands["answer"], stands["state"], stands["failing_since"], stands["behind"]) == (
        "204",
        "delivering",
        None,
        0,
    )


async def test_a_receiver_that_is_away_is_asked_until_it_is_back(house: House, receiver: Receiver) -> None:
    """A refused connection is a failure like any other; no attempt comes before its time."""
    async with receiving(receiver) as url:
        hook = await Hook.add(house, url)
    await mute(house)
    await hook.deliver()
    assert await failing(hook) == ("unreachable", True)
    async with receiving(receiver, int(url.split(":")[2].split("/")[0])):
        await house.app.state.webhooks.once()
        assert receiver.posts == []
        await hook.deliver()
        assert len(receiver.effects) == 1


async def test_pauses_grow_to_five_minutes_and_never_end(house: House, receiver: Receiver, url: str) -> None:
    """Each failure waits longer than the one before, from a second on, never above five minutes, and there is always a next."""
    hook = await Hook.add(house, url)
    receiver.answer = lambda _: 503
    await mute(house)
    pauses: list[float] = []
    for _ in range(12):
        await hook.deliver()
        row = await hook.row()
        pauses.append((row["next_at"] - row["answered_at"]).total_seconds())
    assert 1 <= pauses[0] <= 1.5
    assert pauses[:8] == sorted(pauses[:8])
    assert all(200 <= one <= 300 for one in pauses[8:])
    assert (await hook.row())["failures"] == len(receiver.posts) == 12


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("120", 120, 121),
        ("0", 1, 2),
        ("1000000", 3600, 3601),
        ("99999999999999999999", 3600, 3601),
        ("-5", 1, 2),
        ("soon", 1, 2),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 1, 2),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600, 3601),
        ("Fri Dec 31 23:59:59 9999", 3600, 3601),
    ],
)
async def test_a_receiver_is_left_alone_for_as_long_as_it_asks(
    house: House, receiver: Receiver, url: str, asked: str, least: float, most: float
) -> None:
    """Retry-After, as seconds or as a date, is granted up to an hour; what it does not say is waited as ever."""
    hook = await Hook.add(house, url)
    receiver.answer = lambda _: 429
    receiver.answer_headers = [(b"retry-after", asked.encode())]
    await mute(house)
    await hook.deliver()
    row = await hook.row()
    assert least <= (row["next_at"] - row["answered_at"]).total_seconds() <= most
    assert (await hook.stands())["answer"] == "429"
    receiver.answer = lambda _: 200
    await hook.deliver()
    assert (await hook.stands())["behind"] == 0


async def test_gone_pauses_until_an_operator_resumes(house: House, receiver: Receiver, url: str) -> None:
    """410 ends the posting, visibly: what waits is kept and delivered when it is resumed."""
    hook = await Hook.add(house, url)
    receiver.answer = lambda _: 410
    await mute(house)
    await hook.deliver()
    stands = await hook.stands()
    assert (stands["state"], stands["answer"], stands["behind"]) == ("paused by receiver", "410", 1)
    assert stands["failing_since"] is not None
    receiver.answer = lambda _: 200
    await hook.deliver()
    assert len(receiver.posts) == 1
    await operator(house).change("resume", hook.webhook_id)
    await hook.deliver()
    assert (len(receiver.effects), (await hook.stands())["state"]) == (1, "delivering")


async def test_paused_nothing_is_posted_and_nothing_is_lost(
    house: House, receiver: Receiver, url: str
) -> None:
    """An operator's pause keeps the place; removed, it is posted to no more, and its secret is gone."""
    hook = await Hook.add(house, url)
    await operator(house).change("pause", hook.webhook_id)
    await mute(house)
    await hook.deliver()
    assert (receiver.posts, (await hook.stands())["state"]) == ([], "paused by operator")
    await operator(house).change("resume", hook.webhook_id)
    await hook.deliver()
    assert len(receiver.effects) == 1
    await operator(house).change("remove", hook.webhook_id)
    await mute(house, "eve")
    await house.app.state.webhooks.once()
    assert (len(receiver.posts), await hook.row()) == (1, None)


async def test_paused_while_a_post_is_under_way_its_answer_counts(
    house: House, receiver: Receiver, url: str
) -> None:
    """What the receiver took is taken; the next batch waits for the operator."""
    hook = await Hook.add(house, url)

    async def answer(_: Post) -> int:
        await operator(house).change("pause", hook.webhook_id)
        return 200

    receiver.answer = answer
    await put(house, *(("group.told", {"number": number}) for number in range(150)))
    async with asyncio.timeout(20):
        await hook.deliver()
    stands = await hook.stands()
    assert (len(receiver.posts), stands["behind"], stands["state"]) == (1, 50, "paused by operator")


async def test_one_receiver_that_hangs_holds_up_no_other(house: House, receiver: Receiver, url: str) -> None:
    """Each webhook is followed by itself, and while one waits no row of it is locked."""
    hanging, quick = await Hook.add(house, f"{url}/slow"), await Hook.add(house, f"{url}/quick")
    release = asyncio.Event()

    async def answer(post: Post) -> int:
        if post.path.endswith("/slow"):
            await release.wait()
        return 200

    receiver.answer = answer
    await mute(house)
    delivering = asyncio.create_task(hanging.deliver())
    async with asyncio.timeout(5):
        while (await quick.row())["answer"] is None:  # noqa: ASYNC110  what is waited for is a row
            await asyncio.sleep(0.02)
        async with house.db.transaction() as tx:
            await tx.fetch("SELECT FROM webhook FOR UPDATE NOWAIT")
        assert (await house.ask("im", "GET", "/health/ready")).status_code == 200
        release.set()
        await delivering
    assert (await hanging.row())["answer"] == "200"


# Processes


async def test_a_batch_posted_before_a_crash_is_posted_again_as_it_was(
    house: House, receiver: Receiver, url: str
) -> None:
    """Between the answer and the move of the place everything may be lost but the batch: it comes again under its webhook-id."""
    hook = await Hook.add(house, url)
    await mute(house)
    first = await hook.row()
    await hook.deliver()
    done = await hook.row()
    async with house.db.transaction() as tx:
        # As the row was while the receiver had the post, by a process that never came back.
        await tx.execute(
            "UPDATE webhook SET place = $1, batch_id = $2, batch_upto = $3, lease_by = 'died', lease_until = now() + interval '1 hour'",
            first["place"],
            receiver.posts[0].message_id,
            done["place"],
        )
    await mute(house, "eve")
    await hook.deliver()
    # Also one that looked before the lease was taken.
    await house.app.state.webhooks._follow(hook.webhook_id)
    assert len(receiver.posts) == 1
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE webhook SET lease_until = now()")
    await hook.deliver()
    assert [one.message_id for one in receiver.posts][:2] == [receiver.posts[0].message_id] * 2
    assert receiver.posts[0].body == receiver.posts[1].body
    assert len(receiver.posts) == 3
    assert len(receiver.effects) == 2


@asynccontextmanager
async def colleague(house: House) -> AsyncIterator[Webhooks]:
    """Another process's part in the work."""
    settings = house.app.state.settings
    keyring = house.app.state["keys"].keyring
    outbox = Outbox(house.db)
    await settled(house, outbox)
    other = Webhooks(
        house.db, outbox, keyring, Watching(), origin=settings.origin, private=settings.webhook_private
    )  # fmt: skip
    yield other
    await other.close()


async def test_several_share_the_work_and_post_nothing_twice(
    house: House, receiver: Receiver, url: str
) -> None:
    """Whoever has the lease posts; a slow answer does not bring a second post of it."""
    hooks = [await Hook.add(house, f"{url}/{number}") for number in range(4)]

    async def answer(_: Post) -> int:
        await asyncio.sleep(random.uniform(0, 0.02))
        return 200

    receiver.answer = answer
    before = len(await outbox(house))
    async with colleague(house) as second, colleague(house) as third:
        for _ in range(12):
            await asyncio.gather(*(mute(house, "dan", 60 + number) for number in range(5)))
            await settled(house)
            await asyncio.gather(house.app.state.webhooks.once(), second.once(), third.once())
        for _ in range(3):
            await hooks[0].deliver()
    wanted = (await outbox(house))[before:]
    for number in range(4):
        posts = [one for one in receiver.posts if one.path.endswith(f"/{number}")]
        assert [event["id"] for one in posts for event in one.events] == wanted


async def test_a_process_that_ends_gives_its_lease_back(house: House, receiver: Receiver, url: str) -> None:
    """Closed while a receiver keeps it waiting, a process lets the next one post at once, the same batch."""
    hook = await Hook.add(house, url)

    async def never(_: Post) -> int:
        await asyncio.sleep(60)
        return 200

    receiver.answer = never
    await mute(house)
    await settled(house)
    async with colleague(house) as second:
        posting = asyncio.create_task(second.once())
        await asyncio.wait_for(receiver.came.wait(), 5)
        assert (await hook.row())["lease_by"] is not None
    await asyncio.gather(posting, return_exceptions=True)
    assert (await hook.row())["lease_by"] is None
    receiver.answer = lambda _: 200
    await hook.deliver()
    assert [one.message_id for one in receiver.posts] == [receiver.posts[0].message_id] * 2


async def test_a_process_cut_off_while_it_gives_its_lease_back_leaves_none(
    house: House, receiver: Receiver, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to end just when a batch was taken, it still leaves the webhook to the next at once."""
    hook, reached = await Hook.add(house, url), asyncio.Event()

    async def stuck(*_: Any, **__: Any) -> None:
        reached.set()
        await asyncio.sleep(60)

    await mute(house)
    await settled(house)
    with monkeypatch.context() as patched:
        patched.setitem(sql.__dict__, "release", stuck)
        async with colleague(house) as second:
            posting = asyncio.create_task(second.once())
            await asyncio.wait_for(reached.wait(), 10)
            assert (await hook.row())["lease_by"] is not None
        await asyncio.gather(posting, return_exceptions=True)
    assert (await hook.row())["lease_by"] is None
    assert len(receiver.effects) == 1


async def test_an_effect_that_commits_late_is_not_passed_over(
    house: House, database: Database, receiver: Receiver, url: str
) -> None:
    """S001: drawn earlier and committed later than others, it holds them back, also where they are for nobody."""
    hook, every = await Hook.add(house, url, "account"), await Hook.add(house, f"{url}/all")
    late = await asyncpg.connect(database.service_dsn)
    try:
        async with late.transaction():
            await late.execute(
                "INSERT INTO outbox (rid, at, kind, payload) VALUES ('late', now(), 'account.woken', '{}')"
            )
            await mute(house)
            await house.app.state.webhooks.once()
            assert receiver.posts == []
    finally:
        await late.close()
    await hook.deliver()
    told = {post.path: [event["type"] for event in post.events] for post in receiver.posts}
    assert told == {"/hook": ["account.woken"], "/hook/all": ["account.woken", "group.muted"]}
    assert (await every.stands())["behind"] == 0


async def test_without_webhooks_one_statement_is_all(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look where there is none asks one question of one empty table, and nothing of the outbox."""

    async def refuse(*_: Any) -> int:
        raise AssertionError("the outbox was asked")

    asked: list[str] = []
    due = sql.due

    async def counting(reader: Any) -> Any:
        asked.append("due")
        return await due(reader)

    monkeypatch.setattr(house.app.state.outbox, "settled", refuse)
    monkeypatch.setitem(sql.__dict__, "due", counting)
    await mute(house)
    await house.app.state.webhooks.once()
    assert asked == ["due"]
