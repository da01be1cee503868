"""Removing members and keeping persons out: what ends, what is counted, and who may."""

import asyncio
from typing import Any

import pytest

from service.domain.groups.bars import ExpireBar, JoinRequest
from tests.kit import House, record_named

pytestmark = pytest.mark.anyio
REMOVALS, BARS = "/v1/groups/g/removals", "/v1/groups/g/bars"


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben and cai are admins, dan and eve members; zoe is outside."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    await house.has_people("zoe")
    return house


async def bar(house: House, who: str, whom: str, **more: Any) -> Any:
    return await house.ask(who, "POST", BARS, {"person_id": whom, "reason": "harassment"} | more)


async def remove(house: House, who: str, whom: str) -> Any:
    return await house.ask(who, "POST", REMOVALS, {"person_id": whom, "reason": "group_rules"})


async def counts(house: House) -> tuple[int, int]:
    """Members and admins as the group's row counts them; they must equal the open roles."""
    async with house.db.read() as db:
        row = await db.fetchrow("SELECT member_count, admin_count FROM groups WHERE group_id = 'g'")
        held = await db.fetchrow(
            "SELECT count(*) AS members, count(*) FILTER (WHERE rank = 2) AS admins"
            " FROM role WHERE group_id = 'g' AND until_at IS NULL"
        )
    assert row is not None
    assert tuple(row) == tuple(held or ())
    return row["member_count"], row["admin_count"]


async def test_a_removed_member_is_outside_at_once(group: House) -> None:
    """S036, S004: the role ends, the headcount follows, the backend is told, the record keeps what he was."""
    receipt = (await remove(group, "ben", "dan")).json()
    assert receipt["result"] == {"person_id": "dan", "member_count": 4, "version": 2}
    assert await counts(group) == (4, 2)
    assert await group.effects("group.member_removed") == [
        {"group_id": "g", "person_id": "dan", "how": "removed"}
    ]
    (record,) = await group.records("group.remove_member")
    assert (record["p"]["before"], record["p"]["after"], record["why"]) == (
        {"rank": 1},
        {"rank": 0},
        "group_rules",
    )
    assert record["p"]["then"]["standing"] == "member"


async def test_removing_an_admin_closes_all_his_intervals_at_one_instant(group: House) -> None:
    """S036, G8: nothing of an admin stays open, all ends at the instant of the act, and both counts follow."""
    group.clock.advance(60)
    await group.do("ann", "PUT", "/v1/groups/g/admins/dan", {})
    group.clock.advance(60)
    receipt = (await remove(group, "ann", "dan")).json()
    async with group.db.read() as db:
        rows = await db.fetch(
            "SELECT until_at, ended_record FROM role WHERE person_id = 'dan' ORDER BY from_at"
        )
    assert [row["until_at"] is None for row in rows] == [False, False]
    assert rows[-1]["ended_record"] == receipt["record_id"]
    assert rows[-1]["until_at"] == group.clock.now()
    assert await counts(group) == (4, 2)


async def test_removal_names_only_those_inside(group: House) -> None:
    """S038: somebody outside, or removed before, is refused with not_in_group."""
    assert (await remove(group, "ben", "zoe")).json()["code"] == "not_in_group"
    await remove(group, "ben", "dan")
    assert (await remove(group, "ben", "dan")).json()["code"] == "not_in_group"


@pytest.mark.parametrize("path", [REMOVALS, BARS])
@pytest.mark.parametrize(
    ("who", "whom", "code", "rule"),
    [
        ("ben", "ann", "rank_not_lower", "none"),
        ("ben", "cai", "rank_not_lower", "none"),
        ("dan", "eve", "refused", "none"),
        ("ben", "ben", "self_target", "-admin-self"),
        ("ann", "ann", "self_target", "-owner-self"),
        ("im", "dan", "refused", "none"),
        ("mo", "dan", "refused", "none"),
    ],
)
async def test_rank_decides_who_may_put_out(
    group: House, path: str, who: str, whom: str, code: str, rule: str
) -> None:
    """S032, S033, S034, S035: never the owner, never an equal, never oneself, never by members, machines or staff; each on record."""
    problem = await group.refused(code, who, "POST", path, {"person_id": whom, "reason": "spam"})
    assert problem["rule"].endswith(rule)
    assert [one["id"] for one in await group.records()] == [problem["record_id"]]
    assert await counts(group) == (5, 2)


@pytest.mark.parametrize("path", [REMOVALS, BARS])
async def test_putting_out_needs_a_reason_and_in_heavy_tiers_a_note(house: House, path: str) -> None:
    """S018: no reason, an unknown one, or a note of mere dots is refused."""
    await house.has_group("g", "ann", (), ("dan",), tier=4)
    for said in ({}, {"reason": "mood"}, {"reason": "spam"}, {"reason": "spam", "note": "." * 30}):
        await house.refused("reason_missing", "ann", "POST", path, {"person_id": "dan"} | said)
    said = {"reason": "spam", "note": "the third time this week"}
    await house.do("ann", "POST", path, {"person_id": "dan"} | said)


async def test_ten_parallel_removals_of_one_person_are_one(group: House) -> None:
    """S036, S001: exactly one of ten parallel removals is done; the headcount falls by one."""
    answers = await asyncio.gather(*(remove(group, "ben", "dan") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    assert await counts(group) == (4, 2)


async def test_parallel_removals_of_many_count_right(house: House) -> None:
    """G4: thirty members removed and barred in parallel leave a headcount that equals the open roles."""
    members = tuple(f"m{n}" for n in range(30))
    await house.has_group("g", "ann", ("ben",), members)
    acts = [remove(house, "ben", one) if n % 2 else bar(house, "ben", one) for n, one in enumerate(members)]
    assert {answer.status_code for answer in await asyncio.gather(*acts)} == {200}
    assert await counts(house) == (2, 1)


async def test_a_bar_removes_who_is_inside_in_the_same_act(group: House) -> None:
    """S037, S002: one record says bar and removal, each with its own id; counts follow; the backend gets both in order."""
    receipt = (await bar(group, "ann", "ben", days=7)).json()
    assert receipt["result"] == {
        "person_id": "ben",
        "until": "2026-11-09T08:00:00.000Z",
        "member_count": 4,
        "version": 2,
    }
    (record,) = await group.records()
    assert record["p"]["coupled"] == [
        {
            "id": 1,
            "effect": "group.member_removed",
            "who": "person",
            "before": {"rank": 2},
            "after": {"rank": 0},
        }
    ]
    assert await counts(group) == (4, 1)
    assert await group.effects() == [
        {"group_id": "g", "person_id": "ben", "until": "2026-11-09T08:00:00.000Z"},
        {"group_id": "g", "person_id": "ben", "how": "barred"},
    ]


async def test_a_bar_may_name_somebody_outside(group: House) -> None:
    """S038: who is outside can be barred, for the published default where no term is given; nobody can bar an unknown id."""
    receipt = (await bar(group, "ben", "zoe")).json()
    assert receipt["result"] == {"person_id": "zoe", "until": "2026-12-02T08:00:00.000Z"}
    assert await counts(group) == (5, 2)
    assert (await bar(group, "ben", "nobody")).json()["code"] == "unknown"


async def test_a_permanent_bar_is_the_owners(group: House) -> None:
    """S037: null is for the owner alone; an admin is told the longest term; zero and endless terms are malformed."""
    problem = (await bar(group, "ben", "zoe", days=None)).json()
    assert (problem["code"], problem["data"]["maximum"]) == ("duration_over_limit", 3650)
    assert (await bar(group, "ann", "zoe", days=None)).json()["result"]["until"] is None
    for days in (0, -1, 3651):
        assert (await bar(group, "ann", "zoe", days=days)).json()["code"] == "malformed"


async def test_a_bar_ends_an_open_request(group: House) -> None:
    """S037: the request of a barred person is closed in the same act, and the record names it."""
    asked = record_named("asked")
    async with group.db.transaction() as tx:
        request = JoinRequest(by_record=asked, group_id="g", person_id="zoe", at=group.clock.now())
        await JoinRequest.apply(tx, [request])
    receipt = (await bar(group, "ben", "zoe")).json()
    async with group.db.read() as db:
        row = await db.fetchrow("SELECT ended_how, ended_record FROM join_request")
    assert tuple(row or ()) == ("barred", receipt["record_id"])
    (record,) = await group.records()
    assert (record["links"], record["p"]["coupled"][0]["effect"]) == ([asked], "group.request_ended")
    assert {"group_id": "g", "person_id": "zoe", "how": "barred"} in await group.effects()


async def test_removal_alone_bars_nobody(group: House) -> None:
    """S037: a removal leaves no bar behind."""
    await remove(group, "ben", "dan")
    await group.refused("not_in_state", "ben", "DELETE", f"{BARS}/dan", {})


async def test_only_own_rank_or_below_is_unbarred(group: House) -> None:
    """S040: what the owner barred no admin unbars or cuts short; what an admin barred another admin may."""
    await bar(group, "ann", "zoe", days=30)
    await group.refused("rank_not_lower", "ben", "DELETE", f"{BARS}/zoe", {})
    assert (await bar(group, "ben", "zoe", days=29)).json()["code"] == "rank_not_lower"
    await group.do("ann", "DELETE", f"{BARS}/zoe", {"reason": "error_corrected"})
    first = (await bar(group, "ben", "zoe")).json()["record_id"]
    second = (await bar(group, "ben", "zoe", days=1)).json()["record_id"]
    assert (await group.records("group.bar_member"))[-1]["links"] == [first]
    receipt = await group.do("cai", "DELETE", f"{BARS}/zoe", {})
    assert receipt["result"] == {"person_id": "zoe", "ended": "unbarred", "set_by": second}
    await group.refused("not_in_state", "cai", "DELETE", f"{BARS}/zoe", {})
    assert (await group.effects("group.member_unbarred"))[-1]["how"] == "unbarred"


async def test_members_unbar_nobody(group: House) -> None:
    """S034: a member's attempt to let somebody in again matches no rule."""
    await bar(group, "ben", "zoe")
    await group.refused("refused", "dan", "DELETE", f"{BARS}/zoe", {})


async def test_time_ends_a_bar(group: House) -> None:
    """S015, S016: the instant after `until` time ends the bar and names the act; ended ones it leaves alone."""
    first = (await bar(group, "ben", "zoe", days=1)).json()["record_id"]
    expire = ExpireBar(group_id="g", person_id="zoe")
    group.clock.advance(86_400)
    assert await group.by_time(expire) == "not_in_state"
    group.clock.advance(0.001)
    await group.refused("not_in_state", "ben", "DELETE", f"{BARS}/zoe", {})
    assert await group.by_time(expire) == "done"
    assert await group.by_time(expire) == "not_in_state"
    (record,) = await group.records("group.expire_bar")
    assert (record["links"], record["by"]["standing"]) == ([first], "system.sweep")
    assert (await group.effects("group.member_unbarred"))[-1]["how"] == "lapsed"


async def test_parallel_bars_of_one_person_leave_one(group: House) -> None:
    """S037: ten parallel bars are ten acts in one chain; one is open, and the person is removed once."""
    answers = await asyncio.gather(*(bar(group, "ben", "dan", days=1 + n) for n in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert await counts(group) == (4, 2)
    async with group.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM bar WHERE ended_at IS NULL") == 1
    assert len(await group.effects("group.member_removed")) == 1
