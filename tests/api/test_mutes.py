"""Mutes of one person: who may, for how long, and what ends them."""

from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben and cai are admins, dan and eve members."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    return house


async def mute(house: House, who: str, whom: str, seconds: int | None, **more: Any) -> Any:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud"}
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
