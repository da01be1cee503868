"""What was at an instant: who was muted, until when and by which act; who held which role, and by whose hand."""

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben and cai are admins, dan and eve members."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    return house


async def mute(house: House, who: str, whom: str, seconds: int | None) -> Any:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud"}
    return await house.ask(who, "POST", "/v1/groups/g/mutes", body)


async def muted(house: House, whom: str = "dan", **query: str) -> Any:
    return await house.do("im", "GET", f"/v1/groups/g/mutes/{whom}?{urlencode(query)}")


async def holders(house: House, standing: str, at: str, who: str = "im") -> list[str]:
    query = urlencode({"standing": standing, "at": at})
    answer = await house.do(who, "GET", f"/v1/groups/g/roles?{query}")
    return [one["person_id"] for one in answer["roles"]]


async def test_who_may_ask_whether_a_person_is_muted(group: House) -> None:
    """S043: the person, those who manage, staff and the backend are told; other members and strangers are not."""
    await mute(group, "ben", "dan", 60)
    for who in ("dan", "ann", "ben", "mo", "au", "im"):
        assert (await group.do(who, "GET", "/v1/groups/g/mutes/dan"))["muted"] is True
    await group.has_people("zoe")
    for who in ("eve", "zoe"):
        await group.refused("refused", who, "GET", "/v1/groups/g/mutes/dan")
    await group.refused("refused", "reg", "GET", "/v1/groups/g/mutes/dan")
    await group.refused("unknown", "im", "GET", "/v1/groups/nowhere/mutes/dan")
    await group.refused("malformed", "im", "GET", "/v1/groups/g/mutes/dan?at=yesterday")
    answer = await group.ask("im", "GET", "/v1/groups/g/mutes/dan")
    assert answer.headers["etag"] == '"1"'


async def test_mutes_of_the_past_can_be_asked(group: House) -> None:
    """S043: at every past instant the answer is what held then: the first mute, the second, none."""
    first = (await mute(group, "ben", "dan", 3600)).json()["record_id"]
    group.clock.advance(60)
    second = (await mute(group, "ann", "dan", None)).json()["record_id"]
    group.clock.advance(60)
    await group.do("ann", "DELETE", "/v1/groups/g/mutes/dan", {})
    found = [
        [(one["by_record"], one["set_by"]) for one in (await muted(group, at=at))["holds"]]
        for at in (
            "2026-11-02T07:59:59.999Z",
            "2026-11-02T08:00:00.000Z",
            "2026-11-02T08:00:59.999Z",
            "2026-11-02T08:01:00.000Z",
            "2026-11-02T08:02:00.000Z",
        )
    ]
    assert found == [[], [(first, "admin")], [(first, "admin")], [(second, "owner")], []]


async def test_a_private_group_is_unknown_to_strangers(house: House) -> None:
    """S043: of a group that only invitations open, a stranger learns nothing, neither by asking nor by acting."""
    await house.has_group("g", "ann", (), ("dan",), join_mode="invite")
    await house.has_people("zoe")
    await house.refused("unknown", "zoe", "GET", "/v1/groups/g/mutes/dan")
    assert (await mute(house, "zoe", "dan", 60)).json()["code"] == "unknown"
    assert await house.records() == []


async def test_a_whole_group_mute_silences_members_and_each_mute_is_named(group: House) -> None:
    """S029, S043: owner and admins speak during a whole-group mute; an admin muted personally does not; all that holds is named."""
    whole = await group.do("ann", "PUT", "/v1/groups/g/mute-all", {"seconds": 600, "reason": "quiet_hours"})
    own = (await mute(group, "ann", "cai", 60)).json()["record_id"]
    both = (await mute(group, "ben", "dan", 60)).json()["record_id"]
    for whom in ("ann", "ben"):
        assert (await muted(group, whom))["muted"] is False
    assert [one["by_record"] for one in (await muted(group, "cai"))["holds"]] == [own]
    answer = await muted(group, "dan")
    assert {one["kind"]: one["by_record"] for one in answer["holds"]} == {
        "mute": both,
        "mute_all": whole["record_id"],
    }
    assert answer["until"] == "2026-11-02T08:10:00.000Z"


async def test_who_was_admin_has_an_answer_for_every_instant(group: House) -> None:
    """G8, S056: before, during and after an office the answer is what it was, with the record and the hand that gave it."""
    group.clock.advance(60)
    appointed = await group.do("ann", "PUT", "/v1/groups/g/admins/dan", {})
    group.clock.advance(60)
    dismissed = await group.do("ann", "DELETE", "/v1/groups/g/admins/dan", {})
    group.clock.advance(60)
    assert await holders(group, "admin", "2026-11-02T07:00:00Z") == []
    assert await holders(group, "admin", "2026-11-02T08:00:59.999Z") == ["ben", "cai"]
    assert await holders(group, "admin", "2026-11-02T08:01:00Z") == ["ben", "cai", "dan"]
    assert await holders(group, "admin", "2026-11-02T08:02:00Z") == ["ben", "cai"]
    assert await holders(group, "member", "2026-11-02T08:02:00Z") == ["dan", "eve"]
    assert await holders(group, "owner", "2026-11-02T08:02:00Z") == ["ann"]
    answer = await group.do("au", "GET", "/v1/groups/g/roles?standing=admin&at=2026-11-02T08:01:30Z")
    assert answer["roles"][-1] == {
        "person_id": "dan",
        "standing": "admin",
        "from_at": "2026-11-02T08:01:00.000Z",
        "until_at": "2026-11-02T08:02:00.000Z",
        "by_record": appointed["record_id"],
        "granted_by": "ann",
        "ended_record": dismissed["record_id"],
    }


async def test_roles_come_in_pages_of_one_instant(house: House) -> None:
    """G8: pages together are all roles, highest first, as of the instant of the first page."""
    await house.has_group("g", "ann", ("ben",), tuple(f"m{n}" for n in range(5)))
    house.clock.advance(60)
    page = await house.do("ben", "GET", "/v1/groups/g/roles?limit=3")
    found = page["roles"]
    house.clock.advance(60)
    await house.do("ben", "POST", "/v1/groups/g/removals", {"person_id": "m4", "reason": "spam"})
    while page["next"]:
        page = await house.do("ben", "GET", f"/v1/groups/g/roles?limit=3&cursor={page['next']}")
        assert page["at"] == "2026-11-02T08:01:00.000Z"
        found += page["roles"]
    assert [one["person_id"] for one in found] == ["ann", "ben", "m0", "m1", "m2", "m3", "m4"]
    for query in ("limit=0", "limit=501", "cursor=x", "cursor=e30", "standing=king", "at=now"):
        await house.refused("malformed", "ben", "GET", f"/v1/groups/g/roles?{query}")


async def test_roles_are_for_those_inside_staff_and_the_backend(group: House) -> None:
    """S021: a stranger and an authority without grant read no roster; a key that is none reads nothing."""
    await group.has_people("zoe")
    for who in ("eve", "mo", "im"):
        assert (await group.do(who, "GET", "/v1/groups/g/roles"))["roles"]
    await group.refused("refused", "zoe", "GET", "/v1/groups/g/roles")
    await group.refused("refused", "reg", "GET", "/v1/groups/g/roles")
    await group.refused(
        "key_invalid", "im", "GET", "/v1/groups/g/roles", headers={"authorization": "Bearer mk_none"}
    )


async def test_a_dissolved_group_is_read_by_staff_and_the_backend_only(house: House) -> None:
    """S051, S052: those who were inside are told that it is dissolved; staff and the backend still read; unknown is another answer."""
    await house.has_group(
        "g", "ann", ("ben",), ("dan",), dissolved_at=house.clock.now(), dissolved_how="owner"
    )
    for path in ("roles", "mutes/dan"):
        await house.refused("group_dissolved", "ann", "GET", f"/v1/groups/g/{path}")
        await house.do("mo", "GET", f"/v1/groups/g/{path}")
        await house.do("im", "GET", f"/v1/groups/g/{path}")
        await house.refused("unknown", "mo", "GET", f"/v1/groups/h/{path}")
