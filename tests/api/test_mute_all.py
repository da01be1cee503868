"""The whole group silenced: who may, for how long, and what it leaves alone."""

import asyncio
from typing import Any

import pytest

from service.domain.groups.mutes import ExpireMuteAll
from tests.kit import House

pytestmark = pytest.mark.anyio
PATH = "/v1/groups/g/mute-all"


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben and cai are admins, dan and eve members."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    return house


async def silence(house: House, who: str, seconds: int | None, **more: Any) -> Any:
    return await house.ask(who, "PUT", PATH, {"seconds": seconds, "reason": "quiet_hours"} | more)


async def test_a_whole_group_is_silenced_and_speaks_again(group: House) -> None:
    """S029: silence holds until the instant plus its seconds, is ended by hand, and the backend is told of both."""
    receipt = (await silence(group, "ben", 600)).json()
    assert receipt["result"] == {"until": "2026-11-02T08:10:00.000Z"}
    ended = await group.do("cai", "DELETE", PATH, {"reason": "routine"})
    assert ended["result"] == {"ended": "unmuted", "set_by": receipt["record_id"]}
    assert await group.effects("group.muted_all") == [{"group_id": "g", "until": "2026-11-02T08:10:00.000Z"}]
    assert await group.effects("group.unmuted_all") == [{"group_id": "g", "how": "unmuted"}]
    assert (await group.records("group.unmute_all"))[-1]["links"] == [receipt["record_id"]]
    await group.refused("not_in_state", "cai", "DELETE", PATH, {})


@pytest.mark.parametrize(
    ("tier", "admin", "owner"),
    [(1, 86_400, None), (2, 86_400, 604_800), (3, 21_600, 259_200), (4, 3_600, 86_400)],
)
async def test_silence_is_limited_by_tier_and_rank(
    house: House, tier: int, admin: int, owner: int | None
) -> None:
    """S025: the tier's maximum for the rank is allowed, a second more is refused and names it; null only where there is none."""
    await house.has_group("g", "ann", ("ben",), ("dan",), tier=tier)
    note = "a note that is long enough"
    for who, maximum in (("ben", admin), ("ann", owner)):
        if maximum is None:
            assert (await silence(house, who, None, note=note)).json()["result"] == {"until": None}
            continue
        for seconds in (maximum + 1, None):
            answer = await silence(house, who, seconds, note=note)
            assert (answer.status_code, answer.json()["code"]) == (422, "duration_over_limit")
            assert answer.json()["data"]["maximum"] == maximum
        assert (await silence(house, who, maximum, note=note)).status_code == 200


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(0, "duration_zero"), (-1, "duration_out_of_range"), (2_592_001, "duration_out_of_range")],
)
async def test_silence_refuses_terms_out_of_range(group: House, seconds: int, code: str) -> None:
    """S023: zero and terms that no tier allows are refused before anything is looked at, without record."""
    assert (await silence(group, "ann", seconds)).json()["code"] == code
    assert await group.records("group.mute_all") == []


async def test_a_reason_is_asked_for(group: House) -> None:
    """S018: silencing everybody needs a reason of the published list."""
    await group.refused("reason_missing", "ann", "PUT", PATH, {"seconds": 60})
    await group.refused("reason_missing", "ann", "PUT", PATH, {"seconds": 60, "reason": "mood"})


async def test_members_and_strangers_silence_nobody(group: House) -> None:
    """S034: a member's attempt matches no rule and is on record; a stranger's is not."""
    await group.has_people("zoe")
    for who, out in (("dan", ["refused"]), ("zoe", ["refused"])):
        assert (await silence(group, who, 60)).json()["rule"] == "none"
        assert [one["out"] for one in await group.records("group.mute_all")] == out


async def test_personal_mutes_and_the_groups_silence_are_apart(group: House) -> None:
    """S030, G7: a whole-group mute neither makes nor ends personal mutes; each outlives the other's end."""
    await group.do("ben", "POST", "/v1/groups/g/mutes", {"person_id": "dan", "seconds": 60, "reason": "spam"})
    await silence(group, "ann", 60)
    async with group.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM mute") == 1
    await group.do("ann", "DELETE", PATH, {})
    answer = await group.do("im", "GET", "/v1/groups/g/mutes/dan")
    assert [one["kind"] for one in answer["holds"]] == ["mute"]
    await silence(group, "ann", 60)
    await group.do("ben", "DELETE", "/v1/groups/g/mutes/dan", {})
    answer = await group.do("im", "GET", "/v1/groups/g/mutes/dan")
    assert [one["kind"] for one in answer["holds"]] == ["mute_all"]


async def test_an_admin_neither_ends_nor_shortens_the_owners_silence(group: House) -> None:
    """S040, S028: what the owner set stays until the owner ends it, or an admin sets one that lasts longer."""
    await silence(group, "ann", 3600)
    await group.refused("rank_not_lower", "ben", "DELETE", PATH, {})
    assert (await silence(group, "ben", 3599)).json()["code"] == "rank_not_lower"
    assert (await silence(group, "ben", 3601)).status_code == 200
    await group.do("cai", "DELETE", PATH, {})


async def test_a_new_silence_names_the_old_one(group: House) -> None:
    """S027: the new silence replaces the old one and names it; times never add up."""
    old = (await silence(group, "ben", 3600)).json()["record_id"]
    new = (await silence(group, "ben", 60)).json()
    assert new["result"]["until"] == "2026-11-02T08:01:00.000Z"
    assert (await group.records("group.mute_all"))[-1]["links"] == [old]


async def test_time_ends_silence_under_its_own_name(group: House) -> None:
    """S015, S016, S022: the instant after `until` time ends it, names the act, and does nothing twice."""
    first = (await silence(group, "ben", 60)).json()["record_id"]
    group.clock.advance(60)
    assert await group.by_time(ExpireMuteAll(group_id="g")) == "not_in_state"
    group.clock.advance(0.001)
    assert await group.by_time(ExpireMuteAll(group_id="g")) == "done"
    assert await group.by_time(ExpireMuteAll(group_id="g")) == "not_in_state"
    (record,) = await group.records("group.expire_mute_all")
    assert (record["by"], record["links"]) == (
        {"kind": "system", "standing": "system.sweep", "tag": None},
        [first],
    )
    assert await group.effects("group.unmuted_all") == [{"group_id": "g", "how": "lapsed"}]


async def test_parallel_silences_leave_one(group: House) -> None:
    """S027: ten parallel silences are ten acts in one chain; one is open."""
    answers = await asyncio.gather(*(silence(group, "ben", 60 + n) for n in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    ids = [[one["id"]] for one in await group.records("group.mute_all")]
    assert [one["links"] for one in await group.records("group.mute_all")] == [[], *ids[:-1]]
    async with group.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM mute_all WHERE ended_at IS NULL") == 1


async def test_silence_leaves_the_version_of_the_group_alone(group: House) -> None:
    """S012, S030: an expected version is compared, and silence is no change of the group's own row."""
    answer = await group.ask("ben", "PUT", PATH, {"seconds": 60, "reason": "quiet_hours"}, version=1)
    assert answer.status_code == 200
    await group.do("ben", "DELETE", PATH, {}, version=1)
    stale = await group.ask("ben", "PUT", PATH, {"seconds": 60, "reason": "quiet_hours"}, version=2)
    assert (stale.status_code, stale.json()["code"]) == (412, "version_stale")
