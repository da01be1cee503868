"""Items hidden, shown again and pinned: whose, by whom, and what the record may say of them."""

import asyncio
from hashlib import sha256
from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio
HIDDEN, PINNED = "/v1/groups/g/hidden-items", "/v1/groups/g/pinned-notices"
HASH = sha256(b"buy now").hexdigest()


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben and cai are admins, dan and eve members."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    return house


async def hide(house: House, who: str, author: str, locator: str = "i-77", **more: Any) -> Any:
    body = {"locator": locator, "item_sha256": HASH, "author_id": author} | more
    return await house.ask(who, "POST", HIDDEN, body)


async def test_an_item_is_hidden_and_shown_again(group: House) -> None:
    """S002: hiding keeps locator and hash as evidence, showing again names the act it undoes; the backend is told of both."""
    hidden = (await hide(group, "ben", "dan", reason="spam")).json()
    assert hidden["result"] == {"locator": "i-77", "hidden": True}
    shown = await group.do("cai", "DELETE", f"{HIDDEN}/i-77", {"reason": "error_corrected"})
    assert shown["result"]["set_by"] == hidden["record_id"]
    assert (await group.records("group.restore_item"))[-1]["links"] == [hidden["record_id"]]
    told = {"group_id": "g", "locator": "i-77", "item_sha256": HASH}
    assert await group.effects("group.item_hidden") == [told]
    assert await group.effects("group.item_restored") == [told]
    async with group.db.read() as db:
        row = await db.fetchrow("SELECT item_sha256, author_id, ended_record FROM hidden_item")
    assert tuple(row or ()) == (HASH, "dan", shown["record_id"])


async def test_only_items_of_lower_rank_or_own_ones_are_hidden(group: House) -> None:
    """S033, S034: an admin hides what members, people outside and he himself wrote, not what an equal or the owner did; a member hides nothing."""
    for place, (who, author, code) in enumerate(
        (
            ("ben", "dan", None),
            ("ben", "ben", None),
            ("ben", "gone", None),
            ("ann", "ann", None),
            ("ann", "ben", None),
            ("ben", "cai", "rank_not_lower"),
            ("ben", "ann", "rank_not_lower"),
            ("dan", "dan", "refused"),
        )
    ):
        answer = (await hide(group, who, author, f"i-{place}")).json()
        assert answer.get("code") == code, (who, author)
        record = (await group.records("group.hide_item"))[-1]
        assert record["id"] == answer["record_id"]
        assert set(record["p"]["who"]) == {"target", "author"}


async def test_the_record_of_an_item_holds_it_under_the_authors_key(group: House) -> None:
    """S002, P1: locator and hash lead to what a person said: they are sealed under the author's key, not public."""
    await hide(group, "ben", "dan", locator="message-of-dan")
    (record,) = await group.records()
    assert set(record["sd"]) == {"locator", "item_sha256"}
    assert not {"message-of-dan", HASH} & set(str(record).replace("'", " ").split())
    async with group.db.read() as db:
        keys = await db.fetch(
            "SELECT DISTINCT key_type, key_id FROM record_field WHERE record_id = $1", record["id"]
        )
    assert [tuple(key) for key in keys] == [("person", "dan")]


async def test_a_hidden_item_is_not_hidden_twice(group: House) -> None:
    """S011: of ten parallel callers one hides the item, nine are told that it is so already; after showing it can be hidden again."""
    answers = await asyncio.gather(*(hide(group, "ben", "dan") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    assert {one.json().get("code") for one in answers} == {None, "already_in_state"}
    await group.do("ben", "DELETE", f"{HIDDEN}/i-77", {})
    await group.refused("not_in_state", "ben", "DELETE", f"{HIDDEN}/i-77", {})
    assert (await hide(group, "ben", "dan")).status_code == 200


async def test_what_the_owner_hid_no_admin_shows(group: House) -> None:
    """S040: an admin does not show again what the owner hid; the owner shows what an admin hid."""
    await hide(group, "ann", "dan", "i-1")
    await group.refused("rank_not_lower", "ben", "DELETE", f"{HIDDEN}/i-1", {})
    await group.do("ann", "DELETE", f"{HIDDEN}/i-1", {})
    await hide(group, "ben", "dan", "i-2")
    await group.do("ann", "DELETE", f"{HIDDEN}/i-2", {})
    await hide(group, "ben", "dan", "i-3")
    await group.refused("refused", "dan", "DELETE", f"{HIDDEN}/i-3", {})


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"item_sha256": HASH.upper()}, "/item_sha256"),
        ({"item_sha256": "abc"}, "/item_sha256"),
        ({"locator": "a b"}, "/locator"),
        ({"locator": "x" * 129}, "/locator"),
        ({"author_id": ""}, "/author_id"),
        ({"content": "buy now"}, "/content"),
    ],
)
async def test_an_item_is_a_locator_and_a_hash(group: House, wrong: dict[str, str], pointer: str) -> None:
    """S003: anything but a sound locator and hash is malformed, above all the content itself."""
    answer = (await hide(group, "ben", "dan", **wrong)).json()
    assert (answer["code"], answer["pointer"]) == ("malformed", pointer)


async def test_notices_are_pinned_by_those_who_manage_and_by_moderators(group: House) -> None:
    """S034: owner, admin and moderator pin, the backend learns as what; members, other staff and strangers do not."""
    await group.has_people("zoe")
    for who in ("ann", "ben", "mo"):
        receipt = await group.do(who, "POST", PINNED, {"locator": f"n-{who}"})
        assert receipt["result"] == {"locator": f"n-{who}", "pinned": True}
    for who in ("dan", "zoe", "ap", "im"):
        await group.refused("refused", who, "POST", PINNED, {"locator": "n-1"})
    assert await group.effects("group.notice_pinned") == [
        {"group_id": "g", "locator": "n-ann", "by": "owner"},
        {"group_id": "g", "locator": "n-ben", "by": "admin"},
        {"group_id": "g", "locator": "n-mo", "by": "moderator"},
    ]
    async with group.db.read() as db:
        rows = await db.fetch("SELECT by_standing FROM pinned_notice ORDER BY by_record")
    assert [row["by_standing"] for row in rows] == ["owner", "admin", "moderator"]
    assert all(set(one["sd"]) == {"locator"} for one in (await group.records("group.pin_notice"))[:3])


async def test_a_silenced_group_still_has_notices_and_hidden_items(group: House) -> None:
    """S029, G7: pinning and hiding go on while the whole group is silent."""
    await group.do("ann", "PUT", "/v1/groups/g/mute-all", {"seconds": 600, "reason": "quiet_hours"})
    await group.do("ben", "POST", PINNED, {"locator": "n-1"})
    assert (await hide(group, "ben", "dan")).status_code == 200
