"""Who follows an owner who is lost or asks to go, and how a group without owner gets one."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from service.domain.groups.facts import Group, joins_frozen, silent_from
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

SUCCESSORS = "/v1/groups/g/successors"
SUCCESSION = "/v1/groups/g/succession"
OWNER = "/v1/groups/g/owner"
DAY = 86_400


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben is admin, cai and dan are members; cai, then ben, should follow."""
    await house.has_group("g", "ann", ("ben",), ("cai", "dan"), successors=["cai", "ben"])
    return house


async def facts(house: House) -> Group:
    async with house.db.read() as db:
        return (await Group.look(db, [("g",)]))["g",]


async def ranks(house: House) -> dict[str, int]:
    async with house.db.read() as db:
        rows = await db.fetch("SELECT person_id, rank FROM role WHERE group_id = 'g' AND until_at IS NULL")
    return {row["person_id"]: row["rank"] for row in rows}


async def last(house: House, act: str) -> dict[str, Any]:
    return [one for one in await house.records(act) if one["out"] == "done"][-1]


# Naming


async def test_the_owner_names_successors_in_order(group: House) -> None:
    """S066: the list replaces the old one and may be empty; only the owner names."""
    receipt = await group.do("ann", "PUT", SUCCESSORS, {"successors": ["dan", "cai"]})
    assert receipt["result"] == {"successors": ["dan", "cai"], "version": 2}
    assert (await facts(group)).successors == ["dan", "cai"]
    await group.do("ann", "PUT", SUCCESSORS, {"successors": []})
    assert (await facts(group)).successors == []
    for who in ("ben", "dan", "mo"):
        await group.refused("refused", who, "PUT", SUCCESSORS, {"successors": ["dan"]})


async def test_successors_are_members_who_can_own(group: House) -> None:
    """S068, P3: not oneself, nobody twice, nobody outside, no bot; the pointer says which place is at fault."""
    await group.has_people("zoe")
    await group.has_people("dan", bot=True)
    for code, names, pointer in (
        ("self_target", ["cai", "ann"], "/successors/1"),
        ("duplicate_target", ["cai", "cai"], "/successors"),
        ("not_in_group", ["zoe"], "/successors/0"),
        ("not_eligible", ["ben", "dan"], "/successors/1"),
    ):
        problem = await group.refused(code, "ann", "PUT", SUCCESSORS, {"successors": names})
        assert problem["pointer"] == pointer
    await group.refused("malformed", "ann", "PUT", SUCCESSORS, {"successors": [f"p{n}" for n in range(11)]})
    assert (await facts(group)).successors == ["cai", "ben"]


# Opening and reclaiming


async def test_an_owner_who_asks_to_go_is_succeeded_after_the_wait(group: House) -> None:
    """S066, S067, S068: a millisecond before the due instant nothing happens, at it the first successor owns the group."""
    opened = await group.do("ann", "POST", SUCCESSION)
    assert opened["result"]["due_at"] == "2026-11-09T08:00:00.000Z"
    await group.refused("already_in_state", "ann", "POST", SUCCESSION)
    group.clock.set(MORNING + dt.timedelta(days=7, milliseconds=-1))
    assert await group.sweep() == 0
    group.clock.advance(0.001)
    await group.refused("not_in_state", "ann", "DELETE", SUCCESSION)
    assert await group.sweep() == 1
    assert await ranks(group) == {"ann": 1, "ben": 2, "cai": 3, "dan": 1}
    record = await last(group, "group.succeed")
    assert (record["by"]["standing"], record["links"]) == ("system.sweep", [opened["record_id"]])
    assert "passed_over" not in record["p"]["after"]
    now = await facts(group)
    assert (now.owner_id, now.successors, now.succession_due_at, now.transferred_at) == (
        "cai",
        [],
        None,
        None,
    )


async def test_an_owner_cannot_go_when_nobody_can_follow(group: House) -> None:
    """S066: no successors, or none who can own now, is `successor_missing` to the owner; others may not ask."""
    for who in ("ben", "dan", "mo"):
        await group.refused("refused", who, "POST", SUCCESSION)
    await group.has_people("ben", "cai", identity_status="failed")
    await group.refused("successor_missing", "ann", "POST", SUCCESSION)
    await group.do("ann", "PUT", SUCCESSORS, {"successors": []})
    await group.refused("successor_missing", "ann", "POST", SUCCESSION)


async def test_the_owner_reclaims_before_it_is_due(group: House) -> None:
    """S067: reclaiming cancels the succession and names it; without one it is `not_in_state`."""
    await group.refused("not_in_state", "ann", "DELETE", SUCCESSION)
    opened = await group.do("ann", "POST", SUCCESSION)
    await group.refused("refused", "ben", "DELETE", SUCCESSION)
    await group.do("ann", "DELETE", SUCCESSION)
    assert (await last(group, "group.reclaim"))["links"] == [opened["record_id"]]
    group.clock.advance(8 * DAY)
    assert await group.sweep() == 0
    assert (await facts(group)).owner_id == "ann"


@pytest.mark.parametrize(
    ("cause", "known", "days"),
    [
        ("unverified", {"identity_status": "withdrawn"}, 7),
        ("bot", {"bot": True}, 7),
        ("absent", {"seen_at": MORNING - dt.timedelta(days=180, milliseconds=1)}, 7),
        ("closed", {"closed_at": MORNING}, 0),
    ],
)
async def test_time_opens_succession_for_a_lost_owner(
    group: House, cause: str, known: dict[str, Any], days: int
) -> None:
    """S067: an owner who is unverified, a bot, closed or absent for 180 days: the closed one is succeeded at once."""
    assert await group.sweep() == 0
    await group.has_people("ann", **known)
    done = await group.sweep()
    record = await last(group, "group.open_succession")
    assert (record["p"]["after"]["cause"], record["by"]["standing"]) == (cause, "system.sweep")
    assert done == (2 if cause == "closed" else 1)
    assert await group.sweep() == 0
    group.clock.advance(days * DAY)
    await group.sweep()
    now = await facts(group)
    assert now.owner_id == "cai"
    if cause == "closed":
        assert (await ranks(group), now.member_count) == ({"ben": 2, "cai": 3, "dan": 1}, 3)
    else:
        assert ((await ranks(group))["ann"], now.member_count) == (1, 4)


async def test_an_owner_seen_just_in_time_is_not_absent(group: House) -> None:
    """S067: seen 180 days ago to the millisecond is not absent; never seen is not absent either."""
    await group.has_people("ann", seen_at=MORNING - dt.timedelta(days=180))
    assert await group.sweep() == 0


async def test_who_comes_back_has_been_seen(group: House) -> None:
    """S067: reclaiming is being seen: time does not open the same succession again."""
    await group.has_people("ann", seen_at=MORNING - dt.timedelta(days=200))
    assert await group.sweep() == 1
    await group.do("ann", "DELETE", SUCCESSION)
    assert await group.sweep() == 0
    async with group.db.read() as db:
        assert await db.fetchval("SELECT seen_at FROM person WHERE person_id = 'ann'") == MORNING


async def test_who_cannot_own_cannot_reclaim(group: House) -> None:
    """S067, P3: while the cause lasts the owner does not stop the succession; verified again, he does."""
    await group.has_people("ann", identity_status="failed")
    await group.sweep()
    problem = await group.refused("not_eligible", "ann", "DELETE", SUCCESSION)
    assert problem["data"] == {"why": "unverified"}
    await group.has_people("ann")
    await group.do("ann", "DELETE", SUCCESSION)
    assert await group.sweep() == 0


async def test_an_owner_who_closes_during_the_wait_is_succeeded_at_once(group: House) -> None:
    """S067: a closed owner has no wait, also when one has begun."""
    opened = await group.do("ann", "POST", SUCCESSION)
    await group.has_people("ann", closed_at=MORNING)
    assert await group.sweep() == 2
    assert (await last(group, "group.open_succession"))["links"] == [opened["record_id"]]
    assert (await facts(group)).owner_id == "cai"


# Succeeding


async def test_the_record_says_who_was_passed_over_and_why(group: House) -> None:
    """S068: the first who can own now follows; each before him stands in the record with the reason."""
    await group.has_group("h", "hal")
    async with group.db.transaction() as tx:
        await tx.execute(
            'UPDATE groups SET successors = \'["hal", "dan", "cai", "ben"]\' WHERE group_id = \'g\''
        )
    await group.has_people("dan", bot=True)
    await group.has_people("cai", identity_status="unverified")
    await group.has_people("ann", closed_at=MORNING)
    await group.sweep()
    assert (await facts(group)).owner_id == "ben"
    assert (await facts(group)).admin_count == 0
    record = await last(group, "group.succeed")
    assert record["p"]["after"]["passed_over"] == [
        {"who": "successor_1", "why": "not_member"},
        {"who": "successor_2", "why": "bot"},
        {"who": "successor_3", "why": "unverified"},
    ]
    assert {"successor_1", "successor_2", "successor_3", "new_owner", "old_owner"} <= set(record["p"]["who"])


async def test_what_the_old_owner_began_ends_with_his_succession(group: House) -> None:
    """S062, S064: an open offer and the new owner's mute end in the act of succession, which names both."""
    offered = await group.do("ann", "POST", "/v1/groups/g/transfer", {"person_id": "dan"})
    mute = await group.do(
        "ben", "POST", "/v1/groups/g/mutes", {"person_id": "cai", "seconds": 3600, "reason": "fraud"}
    )
    await group.has_people("ann", closed_at=MORNING)
    await group.sweep()
    record = await last(group, "group.succeed")
    assert {offered["record_id"], mute["record_id"]} <= set(record["links"])
    assert {one["what"] for one in record["p"]["coupled"]} == {"offer", "succession", "mute"}
    await group.refused("offer_lapsed", "dan", "POST", "/v1/groups/g/transfer/acceptance", version=4)


# Without an owner


async def orphaned(house: House, *, tier: int = 2) -> None:
    """Let time find ann closed and nobody who can follow."""
    await house.has_people("ann", closed_at=house.clock.now())
    await house.has_people("ben", "cai", identity_status="failed")
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE groups SET tier = $1 WHERE group_id = 'g'", tier)
    assert await house.sweep() == 2


async def test_when_nobody_can_follow_the_group_is_ownerless(group: House) -> None:
    """S069, G1: ownerless since the due instant; the record says why each was passed over; joining is frozen."""
    await orphaned(group)
    now = await facts(group)
    assert (now.owner_id, now.ownerless_since, now.succession_due_at) == (None, MORNING, None)
    assert (await ranks(group), now.member_count) == ({"ben": 2, "cai": 1, "dan": 1}, 3)
    record = await last(group, "group.orphan")
    assert record["p"]["after"]["passed_over"] == [
        {"who": "successor_1", "why": "unverified"},
        {"who": "successor_2", "why": "unverified"},
    ]
    assert {"what": "joins", "now": "frozen"} in record["p"]["coupled"]
    assert joins_frozen(now)
    assert await group.effects("group.orphaned") == [{"group_id": "g", "old_owner_id": "ann"}]
    assert await group.sweep() == 0


@pytest.mark.parametrize(("tier", "hours"), [(1, 168), (2, 72), (3, 24), (4, 0)])
async def test_speech_in_an_ownerless_group_ends_by_tier(group: House, tier: int, hours: int) -> None:
    """S069: members may not speak from so many hours after ownership ended; with an owner they may."""
    policy = group.app.state.editions.at(MORNING)
    assert silent_from(policy, await facts(group)) is None
    await orphaned(group, tier=tier)
    assert silent_from(policy, await facts(group)) == MORNING + dt.timedelta(hours=hours)


async def test_an_ownerless_group_gets_an_owner_by_two_people_and_his_consent(group: House) -> None:
    """S071: a successor the last owner named, able again, is proposed, approved, and owns; what was frozen is free."""
    await orphaned(group)
    problem = await group.refused("not_eligible", "mo", "PUT", OWNER, {"person_id": "ben"})
    assert problem["data"] == {"why": "unverified"}
    await group.has_people("ben")
    answer = await group.ask("mo", "PUT", OWNER, {"person_id": "ben"})
    assert (answer.status_code, answer.json()["outcome"]) == (202, "proposed")
    assert (await facts(group)).owner_id is None
    await group.do("ap", "POST", f"/v1/approvals/{answer.json()['result']['approval_id']}/grant")
    now = await facts(group)
    assert (now.owner_id, now.ownerless_since, now.admin_count) == ("ben", None, 0)
    assert not joins_frozen(now)
    record = await last(group, "approval.grant")
    assert {"what": "joins", "now": "free"} in record["p"]["coupled"]
    assert (await ranks(group))["ben"] == 3


async def test_nobody_is_made_owner_without_consent(group: House) -> None:
    """S071: who was not named agrees by accepting the terms of this group's owner, since it has none."""
    await orphaned(group)
    await group.refused("consent_missing", "mo", "PUT", OWNER, {"person_id": "dan"})
    before, other = "2026-11-02T07:59:59.999Z", "group_owner:h"
    for document, at in (("group_owner:g", before), (other, "2026-11-02T08:00:00.000Z")):
        await group.has_people("dan", terms_accepted=[{"document": document, "version": "1", "at": at}])
        await group.refused("consent_missing", "mo", "PUT", OWNER, {"person_id": "dan"})
    agreed = {"document": "group_owner:g", "version": "1", "at": "2026-11-02T08:00:00.000Z"}
    await group.has_people("dan", terms_accepted=[agreed])
    await group.do("mo", "PUT", OWNER, {"person_id": "dan"})


async def test_assigning_is_for_moderators_without_a_stake(group: House) -> None:
    """S071: not for members, approvers or compliance; not for a moderator with a role in the group, nor for the person."""
    await group.refused("not_in_state", "mo", "PUT", OWNER, {"person_id": "dan"})
    await orphaned(group)
    await group.has_people("ben", "zoe")
    problem = await group.refused("not_eligible", "mo", "PUT", OWNER, {"person_id": "zoe"})
    assert problem["data"] == {"why": "not_member"}
    for who in ("ben", "dan", "ap", "co", "im"):
        await group.refused("refused", who, "PUT", OWNER, {"person_id": "ben"})
    for known_as in ("dan", "ben"):
        async with group.db.transaction() as tx:
            await tx.execute("UPDATE staff SET person_id = $1 WHERE staff_id = 'mo'", known_as)
        await group.refused("own_matter", "mo", "PUT", OWNER, {"person_id": "ben"})
    async with group.db.transaction() as tx:
        await tx.execute("UPDATE staff SET person_id = NULL WHERE staff_id = 'mo'")
        await tx.execute("UPDATE staff SET person_id = 'ben' WHERE staff_id = 'ap'")
    receipt = await group.do("mo", "PUT", OWNER, {"person_id": "ben"})
    path = f"/v1/approvals/{receipt['result']['approval_id']}/grant"
    await group.refused("own_matter", "ap", "POST", path)
    await group.do("co", "POST", path)


async def test_succession_and_acceptance_at_one_instant_make_one_owner(group: House) -> None:
    """S065, G2: the sweep and the addressee of an offer arrive together: one of them makes the owner."""
    await group.do("ann", "POST", SUCCESSION)
    group.clock.advance(7 * DAY)
    await group.has_people("ann", "dan")
    await group.do("ann", "POST", "/v1/groups/g/transfer", {"person_id": "dan"})
    answer, _, _ = await asyncio.gather(
        group.ask("dan", "POST", "/v1/groups/g/transfer/acceptance", version=3), group.sweep(), group.sweep()
    )
    owners = [who for who, rank in (await ranks(group)).items() if rank == 3]
    assert owners == [(await facts(group)).owner_id] == ["dan" if answer.status_code == 200 else "cai"]
    done = [one for one in await group.records() if one["act"] in {"group.succeed", "group.accept_transfer"}]
    assert len([one for one in done if one["out"] == "done"]) == 1
