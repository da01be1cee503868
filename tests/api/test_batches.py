"""Many acts in one call."""

from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio
PEOPLE = tuple(f"p{number}" for number in range(30))


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben is admin, p0 to p29 are members."""
    await house.has_group("g", "ann", ("ben",), PEOPLE, capacity=200)
    return house


def mute(whom: str, seconds: Any = 60, **more: Any) -> dict[str, Any]:
    return {
        "action": "group.mute",
        "group_id": "g",
        "person_id": whom,
        "seconds": seconds,
        "reason": "fraud",
        **more,
    }


async def send(house: House, who: str, items: list[Any], **more: Any) -> Any:
    return await house.ask(who, "POST", "/v1/batches", {"items": items}, **more)


async def test_each_item_has_its_outcome_in_the_order_sent(group: House) -> None:
    """S013: receipts and refusals stand where their items stood, each with its own record under one batch id."""
    items = [mute("p0"), mute("ann"), mute("nobody"), mute("p1", 604_801), mute("p2")]
    answer = (await send(group, "ben", items)).json()
    assert [one["status"] for one in answer["items"]] == [200, 403, 409, 422, 200]
    assert [one.get("problem", {}).get("code") for one in answer["items"]] == [
        None,
        "rank_not_lower",
        "not_in_group",
        "duration_over_limit",
        None,
    ]
    records = await group.records("group.mute")
    assert [one["out"] for one in records] == ["done", "refused", "refused", "refused", "done"]
    assert {one["p"]["batch"] for one in records} == {answer["batch"]}
    told = [one.get("receipt", one.get("problem"))["record_id"] for one in answer["items"]]
    assert told == [one["id"] for one in records]
    assert answer["items"][0]["receipt"]["batch"] == answer["batch"]


async def test_a_malformed_item_is_refused_alone_with_its_pointer(group: House) -> None:
    """S013: what does not parse is named by its place in the call; its neighbours are done."""
    items = [
        mute("p0"),
        mute("p1", "sixty"),
        {"action": "group.rename", "group_id": "g"},
        {**mute("p2"), "colour": "red"},
        7,
        mute("p3", 0),
        {"group_id": "g"},
        mute("p4", note="bell\u0000"),
        mute("p5"),
    ]
    answer = (await send(group, "ben", items)).json()
    assert [one["status"] for one in answer["items"]] == [200, 400, 400, 400, 400, 400, 400, 400, 200]
    assert [one["problem"]["pointer"] for one in answer["items"][1:8]] == [
        "/items/1/seconds",
        "/items/2/action",
        "/items/3/colour",
        "/items/4",
        "/items/5/seconds",
        "/items/6/action",
        "/items/7/note",
    ]
    assert [one["out"] for one in await group.records("group.mute")] == ["done", "done"]


async def test_the_same_target_twice_refuses_the_whole_call(group: House) -> None:
    """S013: two items on one target have no order to trust: nothing is done."""
    items = [
        mute("p0"),
        mute("p1"),
        {"action": "group.unmute", "group_id": "g", "person_id": "p0", "reason": "error_corrected"},
    ]
    answer = await send(group, "ben", items)
    assert (answer.status_code, answer.json()["code"]) == (400, "duplicate_target")
    assert answer.json()["pointer"] == "/items/2"
    assert await group.records() == []


async def test_asking_again_gives_the_same_bytes(group: House) -> None:
    """S010, S013: the whole call under the same request key is answered as the first time, and nothing is done twice."""
    items = [mute("p0"), mute("ann"), mute("p1", "x"), mute("p2")]
    first = await send(group, "ben", items, key="batch-1")
    again = await send(group, "ben", items, key="batch-1")
    assert (again.status_code, again.content) == (200, first.content)
    assert len(await group.records("group.mute")) == 3
    other = (await send(group, "ben", [mute("p0", 90), *items[1:]], key="batch-1")).json()
    assert other["items"][0]["problem"]["code"] == "request_key_reused"
    assert other["items"][3] == first.json()["items"][3]


async def test_an_item_may_expect_a_version(group: House) -> None:
    """S012: the version an item expects is looked at like If-Match of a single call."""
    answer = (
        await send(group, "ben", [mute("p0", expected_version=1), mute("p1", expected_version=9)])
    ).json()
    assert [one["status"] for one in answer["items"]] == [200, 412]


async def test_a_batch_is_bounded_and_needs_a_request_key(group: House) -> None:
    """S013: more than batch_max items, no key, or another shape refuse the call; an empty one does nothing."""
    answer = await send(group, "ben", [mute(f"q{number}") for number in range(1001)])
    assert (answer.status_code, answer.json()["code"], answer.json()["data"]["maximum"]) == (
        422,
        "batch_limit",
        1000,
    )
    headers = {"authorization": f"Bearer {group.tokens['im']}"}
    bare = await group.client.post("/v1/batches", json={"items": []}, headers=headers)
    assert bare.json()["code"] == "request_key_missing"
    await group.refused("malformed", "ben", "POST", "/v1/batches", {"things": []})
    await group.refused(
        "malformed",
        "ben",
        "POST",
        "/v1/batches",
        b'{"items":[{]}',
        headers={"content-type": "application/json"},
    )
    assert (await send(group, "ben", [])).json()["items"] == []
    assert await group.records() == []


async def test_what_only_time_does_is_no_item(group: House) -> None:
    """S015: a sweep's act cannot be asked for, in a batch as little as anywhere."""
    item = {"action": "group.expire_mute", "group_id": "g", "person_id": "p0"}
    answer = (await send(group, "im", [item, {"action": "trail.read"}])).json()
    assert [one["problem"]["pointer"] for one in answer["items"]] == ["/items/0/action", "/items/1/action"]


async def test_a_thousand_items_are_done(group: House) -> None:
    """S013: a full batch is answered whole, across several sets of the door."""
    people = tuple(f"m{number}" for number in range(1000))
    await group.has_group("big", "ann", ("ben",), people, capacity=2000)
    answer = await send(group, "ben", [{**mute(one), "group_id": "big"} for one in people])
    done = answer.json()["items"]
    assert [one["receipt"]["result"]["person_id"] for one in done] == list(people)


async def test_a_pointer_leads_from_the_whole_body_whoever_refused(group: House) -> None:
    """S013: the door's refusals of an item point as those of its form do, and the same bytes come again."""
    items = [
        {"action": "group.mute", "group_id": "g", "person_id": "p0", "seconds": 60, "reason": "fraud"},
        {"action": "group.mute", "group_id": "g", "person_id": "p1", "seconds": 60, "reason": "nonsense"},
    ]
    first, again = [
        await group.ask("ann", "POST", "/v1/batches", {"items": items}, key="same") for _ in range(2)
    ]
    assert [one["status"] for one in first.json()["items"]] == [200, 422]
    assert first.json()["items"][1]["problem"]["pointer"] == "/items/1/reason"
    assert first.content == again.content
