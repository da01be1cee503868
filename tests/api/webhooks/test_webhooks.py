"""Effects posted to webhooks: in record order, none skipped, at least once, signed; whoever does not take them is told of."""

import random
from pathlib import Path

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from service import guard
from service.webhooks import MOST_BYTES
from tests.api.test_changes import settled
from tests.conftest import Database
from tests.kit import Founded, House
from tests.receiving import (
    Hook,
    Post,
    Receiver,
    failing,
    mute,
    operator,
    outbox,
    put,
)

pytestmark = pytest.mark.anyio
MONTH = 31 * 86_400


# What is posted


async def test_an_effect_is_posted_as_a_signed_cloudevent(house: House, receiver: Receiver, url: str) -> None:
    """What an act did is posted as it stands in the feed: one event of CloudEvents 1.0, signed by Standard Webhooks."""
    hook = await Hook.add(house, f"{url}?token=secret-query")
    receipt = await mute(house)
    await hook.deliver()
    [post] = receiver.posts
    assert post.headers["content-type"] == "application/cloudevents-batch+json"
    [event] = post.events
    assert event == {
        "specversion": "1.0",
        "id": event["id"],
        "source": "mandate.localhost/trail/1",
        "type": "group.muted",
        "time": "2026-11-02T08:00:00.000Z",
        "subject": "group/g",
        "data": {
            "record_id": receipt["record_id"],
            "group_id": "g",
            "person_id": "dan",
            "until": "2026-11-02T08:01:00.000Z",
        },
    }
    assert event["id"].startswith(f"{receipt['record_id']}.")
    post.verifies(hook.secret)
    for changed in (
        post._replace(body=post.body.replace(b'"dan"', b'"eve"')),
        post._replace(headers=post.headers | {"webhook-id": "msg_other"}),
    ):
        with pytest.raises(WebhookVerificationError):
            changed.verifies(hook.secret)
    assert (await hook.stands())["behind"] == 0
    await hook.deliver()
    assert len(receiver.posts) == 1


async def test_a_webhook_gets_what_comes_after_it_was_added(
    house: House, receiver: Receiver, url: str
) -> None:
    """Nothing of before: that is read from the feed of changes."""
    await mute(house)
    await settled(house)
    hook = await Hook.add(house, url)
    last = await mute(house, "eve")
    await hook.deliver()
    assert [event["data"]["record_id"] for event in receiver.posts[0].events] == [last["record_id"]]


async def test_a_thousand_effects_arrive_in_order_though_the_receiver_fails(
    house: House, receiver: Receiver, url: str
) -> None:
    """S001: every effect of a thousand acts arrives, in record order, once by webhook-id; one refused is posted again as it was."""
    people = [f"p{number}" for number in range(1000)]
    await house.has_group("h", "ben", (), tuple(people), capacity=2000)
    hook = await Hook.add(house, url)
    before = len(await outbox(house))
    chance = random.Random(7)

    def answer(post: Post) -> int:
        status = chance.choice((200, 200, 500, 503, 0))
        if not status:
            # It took the post, and could not say so.
            receiver.taken.append(post)
        return status or 502

    receiver.answer = answer
    item = {"action": "group.mute", "group_id": "h", "seconds": 60, "reason": "fraud"}
    items = [{**item, "person_id": one} for one in people]
    await house.do("ben", "POST", "/v1/batches", {"items": items})
    for _ in range(200):
        await hook.deliver()
        if not (await hook.stands())["behind"]:
            break
    wanted = (await outbox(house))[before:]
    assert len(wanted) == 1000
    assert receiver.effects == wanted
    assert all(len(one.events) <= 100 for one in receiver.posts)
    bodies: dict[str, set[bytes]] = {}
    for one in receiver.posts:
        one.verifies(hook.secret)
        bodies.setdefault(one.message_id, set()).add(one.body)
    assert all(len(found) == 1 for found in bodies.values())
    assert len(receiver.posts) > len(bodies) >= 10


async def test_a_post_is_no_larger_than_a_quarter_of_a_mebibyte(
    house: House, receiver: Receiver, url: str
) -> None:
    """Large effects are divided among posts; one that is larger alone goes alone."""
    hook = await Hook.add(house, url)
    large = ("group.told", {"text": "x" * 100_000})
    await put(house, large, large, large, ("group.told", {"text": "y" * 300_000}), large)
    await hook.deliver()
    assert [len(one.events) for one in receiver.posts] == [2, 1, 1, 1]
    assert [len(one.body) <= MOST_BYTES for one in receiver.posts] == [True, True, False, True]


async def test_families_choose_effects_and_the_others_are_passed_over(
    house: House, receiver: Receiver, url: str
) -> None:
    """A webhook of some nouns gets these alone, and is not behind for the others."""
    hook = await Hook.add(house, url, "account", "credit")
    await mute(house)
    await put(house, ("credit.level_changed", {"subject_type": "person", "subject_id": "dan"}))
    assert (await hook.stands())["behind"] == 1
    await mute(house, "eve")
    await hook.deliver()
    [post] = receiver.posts
    assert [(one["type"], one["subject"]) for one in post.events] == [("credit.level_changed", "person/dan")]
    async with house.db.read() as db:
        assert (await hook.row())["place"] == await db.fetchval("SELECT max(id) FROM outbox")


# Losing


async def test_effects_purged_before_they_were_taken_are_counted_as_lost(
    house: House, receiver: Receiver, url: str
) -> None:
    """S200: what goes at the end of its term while a receiver fails is counted, of its families only; the rest is delivered."""
    hook, other = await Hook.add(house, url), await Hook.add(house, url, "account")
    await operator(house).change("pause", other.webhook_id)
    receiver.answer = lambda _: 500
    await mute(house)
    await mute(house, "eve")
    await hook.deliver()
    house.clock.advance(40 * MONTH)
    await house.sweep()
    async with house.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM outbox WHERE kind = 'group.muted'") == 0
    assert ((await hook.stands())["lost"], (await other.stands())["lost"]) == (2, 0)
    await house.app.state.webhooks.measure()
    metrics = house.app.state.watch.metrics().decode()
    assert f'mandate_webhook_lost{{webhook="{hook.webhook_id}"}} 2.0' in metrics
    receiver.answer = lambda _: 200
    last = await mute(house)
    await hook.deliver()
    await hook.deliver()
    assert receiver.taken[-1].events[-1]["data"]["record_id"] == last["record_id"]
    stands = await hook.stands()
    assert (stands["lost"], stands["behind"]) == (2, 0)


# Secrets and addresses


async def test_both_secrets_sign_for_a_day_after_a_rotation(
    house: House, receiver: Receiver, url: str
) -> None:
    """A receiver may change to the new secret at any time of that day; afterwards the old one signs nothing."""
    hook = await Hook.add(house, url)
    fresh = (await operator(house).rotate(hook.webhook_id))["secret"]
    await mute(house)
    await hook.deliver()
    for secret in (hook.secret, fresh):
        receiver.posts[-1].verifies(secret)
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE webhook SET former_until = former_until - interval '1 day'")
    await mute(house, "eve")
    await hook.deliver()
    receiver.posts[-1].verifies(fresh)
    with pytest.raises(WebhookVerificationError):
        receiver.posts[-1].verifies(hook.secret)


async def test_a_secret_opens_under_its_own_master_key_only(
    house: House, receiver: Receiver, url: str
) -> None:
    """Put into another webhook's row it does not open: nothing is posted, and the list says why."""
    hook, other = await Hook.add(house, url), await Hook.add(house, url)
    async with house.db.transaction() as tx:
        await tx.execute(
            "UPDATE webhook SET wrapped = (SELECT wrapped FROM webhook WHERE webhook_id = $1) WHERE webhook_id = $2",
            other.webhook_id,
            hook.webhook_id,
        )
    await mute(house)
    await hook.deliver()
    assert await failing(hook) == ("secret does not open", True)
    receiver.posts[0].verifies(other.secret)
    assert len(receiver.posts) == 1


async def test_a_name_that_turns_to_us_is_not_posted_to(
    database: Database, founded: Founded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is judged at each connection and not only when a webhook is added."""
    async with House.join(database.service_dsn, tmp_path, founded) as house:
        await house.has_group("g", "ann", (), ("dan",))
        where = ["93.184.215.14"]

        async def look_up(host: str, port: int) -> list[str]:
            assert host == "turning.example"
            return where

        monkeypatch.setattr(guard, "look_up", look_up)
        hook = await Hook.add(house, "https://turning.example/hook")
        where[:] = ["127.0.0.1"]
        await mute(house)
        await hook.deliver()
        answer, failed = await failing(hook)
        assert failed
        assert answer.startswith("forbidden: it is a loopback or private address")


# What is told


async def test_metrics_tell_how_each_webhook_stands(house: House, receiver: Receiver, url: str) -> None:
    """Deliveries by outcome, effects behind, and for how long it has been failing: from the table, whoever posts."""
    hook = await Hook.add(house, url)
    receiver.answer = lambda _: 503
    await mute(house)
    await hook.deliver()
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE webhook SET failing_since = failing_since - interval '1 hour'")

    async def told() -> dict[str, float]:
        await house.app.state.webhooks.measure()
        text = (await house.ask("mo", "GET", "/metrics")).text
        lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("mandate_webhook_")]
        return {name: float(value) for name, _, value in lines}

    of = f'webhook="{hook.webhook_id}"'
    found = await told()
    assert found[f'mandate_webhook_deliveries_total{{outcome="5xx",{of}}}'] == 1
    assert found[f"mandate_webhook_behind{{{of}}}"] == 1
    assert 3600 <= found[f"mandate_webhook_failing_seconds{{{of}}}"] < 3700
    assert (await house.ask("im", "GET", "/health/ready")).status_code == 200
    receiver.answer = lambda _: 200
    await hook.deliver()
    found = await told()
    assert found[f'mandate_webhook_deliveries_total{{outcome="taken",{of}}}'] == 1
    assert found[f"mandate_webhook_behind{{{of}}}"] == found[f"mandate_webhook_failing_seconds{{{of}}}"] == 0
    receiver.answer = lambda _: 503
    await mute(house)
    await hook.deliver()
    await operator(house).change("remove", hook.webhook_id)
    found = await told()
    assert found[f"mandate_webhook_behind{{{of}}}"] == found[f"mandate_webhook_failing_seconds{{{of}}}"] == 0
