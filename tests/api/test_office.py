"""The office of admin: who lends it, who can hold it, how many, and how it ends."""

import asyncio
from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio
ADMINS = "/v1/groups/g/admins"


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben and cai are admins, dan and eve members; zoe is outside."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    await house.has_people("zoe")
    return house


async def appoint(house: House, who: str, whom: str, **more: Any) -> Any:
    return await house.ask(who, "PUT", f"{ADMINS}/{whom}", {}, **more)


async def admins(house: House) -> list[str]:
    """Who is admin by the open roles; as many as the group's row counts."""
    answer = await house.do("im", "GET", "/v1/groups/g/roles?standing=admin")
    async with house.db.read() as db:
        counted = await db.fetchval("SELECT admin_count FROM groups WHERE group_id = 'g'")
    found = [one["person_id"] for one in answer["roles"]]
    assert counted == len(found)
    return found


async def test_an_appointment_lends_the_powers_and_names_who_lent(group: House) -> None:
    """S056, G8: the member's interval closes where the admin's opens, and that one names the owner and the record."""
    receipt = (await appoint(group, "ann", "dan")).json()
    assert receipt["result"] == {"person_id": "dan", "standing": "admin", "admin_count": 3, "version": 2}
    assert await admins(group) == ["ben", "cai", "dan"]
    answer = await group.do("im", "GET", "/v1/groups/g/roles?standing=admin")
    given = answer["roles"][-1]
    assert (given["by_record"], given["granted_by"]) == (receipt["record_id"], "ann")
    assert await group.effects("group.admin_appointed") == [
        {"group_id": "g", "person_id": "dan", "granted_by": "ann"}
    ]
    mute = {"person_id": "eve", "seconds": 60, "reason": "spam"}
    await group.do("dan", "POST", "/v1/groups/g/mutes", mute)


@pytest.mark.parametrize("who", ["ben", "dan", "zoe", "im", "mo"])
async def test_only_the_owner_appoints_and_dismisses(group: House, who: str) -> None:
    """S056: admins, members, strangers, machines and staff match no rule."""
    for method, whom in (("PUT", "eve"), ("DELETE", "cai")):
        problem = await group.refused("refused", who, method, f"{ADMINS}/{whom}", {})
        assert problem["rule"] == "none"
    assert await admins(group) == ["ben", "cai"]


@pytest.mark.parametrize("status", ["unverified", "failed", "withdrawn"])
async def test_an_admin_is_verified(group: House, status: str) -> None:
    """S054: whoever is not verified now is refused with identity_unverified."""
    await group.has_people("dan", identity_status=status)
    assert (await appoint(group, "ann", "dan")).json()["code"] == "identity_unverified"


async def test_a_bot_is_never_admin(group: House) -> None:
    """S054, P3: a bot is not eligible, and the answer says why."""
    await group.has_people("dan", bot=True)
    problem = (await appoint(group, "ann", "dan")).json()
    assert (problem["code"], problem["data"]) == ("not_eligible", {"why": "bot"})


async def test_an_admin_who_turns_out_to_be_a_bot_is_one_no_more(group: House) -> None:
    """P3: once known as a bot he acts as a plain member; known as a human again, as the admin that nobody dismissed."""
    body = {"person_id": "eve", "seconds": 60, "reason": "fraud"}
    await group.do("im", "PATCH", "/v1/people/ben", {"bot": True})
    problem = await group.refused("refused", "ben", "POST", "/v1/groups/g/mutes", body)
    assert problem["rule"] == "none"
    await group.do("im", "PATCH", "/v1/people/ben", {"bot": False})
    await group.do("ben", "POST", "/v1/groups/g/mutes", body)


async def test_the_muted_are_not_appointed(group: House) -> None:
    """S054, S022: while a mute holds, to its very end, the person is not eligible; a millisecond later he is."""
    await group.do("ben", "POST", "/v1/groups/g/mutes", {"person_id": "dan", "seconds": 60, "reason": "spam"})
    group.clock.advance(60)
    problem = (await appoint(group, "ann", "dan")).json()
    assert (problem["code"], problem["data"]) == ("not_eligible", {"why": "muted"})
    group.clock.advance(0.001)
    assert (await appoint(group, "ann", "dan")).status_code == 200


async def test_a_silenced_group_appoints(group: House) -> None:
    """S030, S054: a whole-group mute is nobody's personal mute and keeps nobody from office."""
    await group.do("ann", "PUT", "/v1/groups/g/mute-all", {"seconds": 600, "reason": "quiet_hours"})
    assert (await appoint(group, "ann", "dan")).status_code == 200


async def test_of_people_outside_nothing_is_told(group: House) -> None:
    """S054: whoever is outside is not_in_group, verified or not, known or not: the owner learns no more."""
    await group.has_people("yan", identity_status="unverified")
    for whom in ("zoe", "yan", "nobody"):
        assert (await appoint(group, "ann", whom)).json()["code"] == "not_in_group"


async def test_who_is_admin_already_and_the_owner_himself(group: House) -> None:
    """S035, S011: appointing an admin again is already_in_state; appointing or dismissing oneself is self_target."""
    assert (await appoint(group, "ann", "ben")).json()["code"] == "already_in_state"
    assert (await appoint(group, "ann", "ann")).json()["code"] == "self_target"
    problem = await group.refused("self_target", "ann", "DELETE", f"{ADMINS}/ann", {})
    assert problem["rule"] == "group.dismiss-owner-self"
    assert await admins(group) == ["ben", "cai"]


@pytest.mark.parametrize(("tier", "cap"), [(1, 3), (2, 5), (3, 10), (4, 20)])
async def test_admins_are_capped_by_tier_under_parallel_calls(house: House, tier: int, cap: int) -> None:
    """S085: of six parallel appointments at one below the cap exactly one succeeds; the rest name cap, count and source."""
    office = tuple(f"a{n:02}" for n in range(cap - 1))
    members = tuple(f"m{n}" for n in range(6))
    await house.has_group("g", "ann", office, members, tier=tier)
    answers = await asyncio.gather(*(appoint(house, "ann", one) for one in members))
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 5
    for answer in answers:
        if answer.status_code == 422:
            problem = answer.json()
            assert problem["code"] == "cap_admins"
            assert problem["data"] == house.at_cap(cap, cap, f"group.effect.admins_cap.{tier}")
    assert len(await admins(house)) == cap


async def test_above_a_smaller_cap_nobody_is_taken_away(house: House) -> None:
    """S085: with more admins than the tier allows all stay, and only new ones are refused."""
    await house.has_group("g", "ann", ("a1", "a2", "a3", "a4"), ("dan",), tier=1)
    problem = (await appoint(house, "ann", "dan")).json()
    assert problem["data"] == house.at_cap(3, 4, "group.effect.admins_cap.1")
    assert len(await admins(house)) == 4


async def test_a_dismissed_admin_stays_a_member(group: House) -> None:
    """S056: the admin's interval closes, a member's opens at the same instant, and the powers are gone."""
    group.clock.advance(60)
    receipt = await group.do("ann", "DELETE", f"{ADMINS}/ben", {"reason": "routine"})
    assert receipt["result"] == {"person_id": "ben", "standing": "member", "admin_count": 1, "version": 2}
    assert await admins(group) == ["cai"]
    async with group.db.read() as db:
        rows = await db.fetch(
            "SELECT rank, from_at, until_at FROM role WHERE person_id = 'ben' ORDER BY from_at"
        )
    assert [row["rank"] for row in rows] == [2, 1]
    assert rows[0]["until_at"] == rows[1]["from_at"] == group.clock.now()
    assert await group.effects("group.admin_dismissed") == [{"group_id": "g", "person_id": "ben"}]
    mute = {"person_id": "eve", "seconds": 60, "reason": "spam"}
    assert (await group.refused("refused", "ben", "POST", "/v1/groups/g/mutes", mute))["rule"] == "none"
    for whom in ("ben", "dan", "zoe"):
        await group.refused("not_in_state", "ann", "DELETE", f"{ADMINS}/{whom}", {})


async def test_an_admin_steps_down_and_stays_a_member(group: House) -> None:
    """S035: stepping down is an action of its own, for admins alone: owner, member and stranger match no rule."""
    receipt = await group.do("ben", "POST", "/v1/groups/g/stepping-down", {})
    assert receipt["result"]["standing"] == "member"
    assert await admins(group) == ["cai"]
    assert await group.effects("group.admin_stepped_down") == [{"group_id": "g", "person_id": "ben"}]
    for who in ("ann", "ben", "dan", "zoe"):
        problem = await group.refused("refused", who, "POST", "/v1/groups/g/stepping-down", {})
        assert problem["rule"] == "none"


async def test_dismissal_and_stepping_down_at_once_end_one_office(group: House) -> None:
    """S001: of a dismissal and a resignation that meet one is done, and the count falls by one."""
    answers = await asyncio.gather(
        group.ask("ann", "DELETE", f"{ADMINS}/ben", {}),
        group.ask("ben", "POST", "/v1/groups/g/stepping-down", {}),
    )
    assert sum(answer.status_code == 200 for answer in answers) == 1
    assert await admins(group) == ["cai"]


async def test_an_appointment_and_a_mute_that_meet_never_both_hold(group: House) -> None:
    """S054, S033: whichever comes first wins: no admin is appointed muted, no admin is muted by an admin."""
    for whom in ("dan", "eve"):
        mute = {"person_id": whom, "seconds": 60, "reason": "spam"}
        answers = await asyncio.gather(
            group.ask("ben", "POST", "/v1/groups/g/mutes", mute), appoint(group, "ann", whom)
        )
        assert sorted(answer.status_code for answer in answers) == [200, 403]


async def test_an_expected_version_guards_an_appointment(group: House) -> None:
    """S012: with a stale version nothing changes; with the present one the version grows by one."""
    assert (await appoint(group, "ann", "dan", version=1)).json()["result"]["version"] == 2
    stale = await appoint(group, "ann", "eve", version=1)
    assert (stale.status_code, stale.json()["data"]) == (412, {"version": 2})
    assert (await appoint(group, "ann", "eve", version=2)).json()["result"]["version"] == 3
