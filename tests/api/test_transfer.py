"""A group passes from one owner to another in two steps, and nobody ever sees two owners or none."""

import asyncio
import datetime as dt
from itertools import pairwise
from typing import Any

import pytest

from service.domain.groups.facts import Group
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

TRANSFER = "/v1/groups/g/transfer"
ACCEPT = f"{TRANSFER}/acceptance"
DECLINE = f"{TRANSFER}/declination"
HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
async def group(house: House) -> House:
    """Group g of tier 2: ann owns it, ben and cai are admins, dan and eve members."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    return house


async def facts(house: House) -> Group:
    async with house.db.read() as db:
        return (await Group.look(db, [("g",)]))["g",]


async def ranks(house: House, group_id: str = "g") -> dict[str, int]:
    async with house.db.read() as db:
        rows = await db.fetch(
            "SELECT person_id, rank FROM role WHERE group_id = $1 AND until_at IS NULL", group_id
        )
    return {row["person_id"]: row["rank"] for row in rows}


async def offer(house: House, to: str, who: str = "ann", **more: Any) -> dict[str, Any]:
    return await house.do(who, "POST", TRANSFER, {"person_id": to, **more})


async def accept(house: House, who: str) -> dict[str, Any]:
    return await house.do(who, "POST", ACCEPT, version=(await facts(house)).version)


async def test_ownership_passes_by_offer_and_acceptance(group: House) -> None:
    """S058, S061, S012: the offer changes nothing; the acceptance swaps owner and member at one instant."""
    receipt = await offer(group, "ben")
    assert receipt["result"]["until"] == "2026-11-05T08:00:00.000Z"
    assert await ranks(group) == {"ann": 3, "ben": 2, "cai": 2, "dan": 1, "eve": 1}
    group.clock.advance(60)
    assert (await accept(group, "ben"))["outcome"] == "done"
    assert await ranks(group) == {"ann": 1, "ben": 3, "cai": 2, "dan": 1, "eve": 1}
    now = await facts(group)
    assert (now.owner_id, now.admin_count, now.member_count) == ("ben", 1, 5)
    assert (now.offer, now.transferred_at) == (None, group.clock.now())
    (record,) = await group.records("group.accept_transfer")
    assert record["links"] == [receipt["record_id"]]
    assert record["p"]["before"] == {"new_owner": "admin", "old_owner": "owner", "admins": 2}
    assert record["p"]["after"] == {"new_owner": "owner", "old_owner": "member", "admins": 1}
    assert await group.effects("group.owner_changed") == [
        {"group_id": "g", "owner_id": "ben", "old_owner_id": "ann", "old_owner_becomes": "member"}
    ]


async def test_the_old_owner_becomes_what_the_offer_said(group: House) -> None:
    """S061: an offer that says admin makes the old owner admin in the same act, lent by the new owner."""
    await offer(group, "dan", old_owner_becomes="admin")
    await accept(group, "dan")
    assert await ranks(group) == {"ann": 2, "ben": 2, "cai": 2, "dan": 3, "eve": 1}
    assert (await facts(group)).admin_count == 3
    async with group.db.read() as db:
        lent = await db.fetchval(
            "SELECT granted_by FROM role WHERE person_id = 'ann' AND until_at IS NULL AND group_id = 'g'"
        )
    assert lent == "dan"


async def test_no_place_among_the_admins_stops_the_acceptance(house: House) -> None:
    """S085: an old owner who would be one admin too many is `cap_admins`, with cap and count."""
    await house.has_group("g", "ann", ("a1", "a2", "a3", "a4", "a5"), ("dan",))
    await offer(house, "dan", old_owner_becomes="admin")
    problem = await house.refused("cap_admins", "dan", "POST", ACCEPT, version=2)
    assert problem["data"] == house.at_cap(5, 5, "group.effect.admins_cap.2")


async def test_admins_stay_under_a_new_owner(group: House) -> None:
    """S057: admins keep their intervals, which still say who appointed them."""
    await offer(group, "dan")
    await accept(group, "dan")
    async with group.db.read() as db:
        rows = await db.fetch(
            "SELECT person_id, from_at, granted_by FROM role WHERE rank = 2 AND until_at IS NULL ORDER BY person_id"
        )
    assert [tuple(row) for row in rows] == [("ben", MORNING, "ann"), ("cai", MORNING, "ann")]


async def test_the_new_owners_mute_ends_in_the_same_act(group: House) -> None:
    """S062, S026: a muted member who becomes owner speaks from that instant; the record names the mute."""
    mute = await group.do(
        "ben", "POST", "/v1/groups/g/mutes", {"person_id": "dan", "seconds": HOUR, "reason": "fraud"}
    )
    await offer(group, "dan")
    receipt = await accept(group, "dan")
    (record,) = await group.records("group.accept_transfer")
    assert {"what": "mute", "of": "new_owner", "now": "ended", "set_by": mute["record_id"]} in record["p"][
        "coupled"
    ]
    async with group.db.read() as db:
        row = await db.fetchrow(
            "SELECT ended_how, ended_record FROM mute WHERE by_record = $1", mute["record_id"]
        )
    assert row is not None
    assert tuple(row) == ("owner", receipt["record_id"])
    assert {"group_id": "g", "person_id": "dan", "how": "owner"} in await group.effects("group.unmuted")


async def test_successors_and_succession_end_with_the_old_owner(group: House) -> None:
    """S061: the new owner starts with no successors and no succession under way."""
    await group.do("ann", "PUT", "/v1/groups/g/successors", {"successors": ["ben"]})
    await group.do("ann", "POST", "/v1/groups/g/succession")
    await offer(group, "dan")
    await accept(group, "dan")
    now = await facts(group)
    assert (now.successors, now.succession_due_at, now.succession_record) == ([], None, None)


async def test_an_acceptance_names_the_version_it_saw(group: House) -> None:
    """S012: without a version `version_required`; with an old one `version_stale`, and the present one is told."""
    await offer(group, "ben")
    await group.refused("version_required", "ben", "POST", ACCEPT)
    problem = await group.refused("version_stale", "ben", "POST", ACCEPT, version=1)
    assert problem["data"] == {"version": 2}
    assert (await facts(group)).owner_id == "ann"


async def test_only_the_owner_offers_and_only_the_addressee_answers(group: House) -> None:
    """S058, S005: admin, member, stranger and staff offer nothing; who was not asked accepts and declines nothing."""
    await group.has_people("zoe")
    for who in ("ben", "dan", "zoe", "mo"):
        await group.refused("refused", who, "POST", TRANSFER, {"person_id": "eve"})
    await offer(group, "ben")
    for who in ("cai", "dan", "ann", "zoe"):
        await group.refused("refused", who, "POST", ACCEPT, version=2)
        await group.refused("refused", who, "POST", DECLINE)
    for who in ("ben", "dan"):
        await group.refused("refused", who, "DELETE", TRANSFER)


async def test_an_offer_needs_a_member_who_can_own(group: House) -> None:
    """S058: not oneself, not somebody outside, not a bot, not a closed or unverified person; data says why."""
    await group.has_people("zoe")
    await group.refused("self_target", "ann", "POST", TRANSFER, {"person_id": "ann"})
    await group.refused("not_in_group", "ann", "POST", TRANSFER, {"person_id": "zoe"})
    await group.refused("not_in_group", "ann", "POST", TRANSFER, {"person_id": "nobody"})
    for why, known in (
        ("bot", {"bot": True}),
        ("unverified", {"identity_status": "failed"}),
        ("closed", {"closed_at": MORNING}),
    ):
        await group.has_people("eve", **known)
        problem = await group.refused("not_eligible", "ann", "POST", TRANSFER, {"person_id": "eve"})
        assert problem["data"] == {"why": why}


async def test_both_sides_verify_afresh(group: House) -> None:
    """S059: a verification of 24 hours counts, one older answers `verification_stale` with the seconds since."""
    group.clock.advance(DAY)
    await offer(group, "ben")
    group.clock.advance(1)
    problem = await group.refused("verification_stale", "ben", "POST", ACCEPT, version=2)
    assert problem["data"] == {"seconds": DAY + 1}
    await group.do("ann", "DELETE", TRANSFER)
    problem = await group.refused("verification_stale", "ann", "POST", TRANSFER, {"person_id": "ben"})
    assert problem["data"] == {"seconds": DAY + 1}
    await group.has_people("ann", identity_status="withdrawn")
    problem = await group.refused("verification_stale", "ann", "POST", TRANSFER, {"person_id": "ben"})
    assert problem["data"] == {"identity": "withdrawn"}


@pytest.mark.parametrize(
    ("why", "known"), [("bot", {"bot": True}), ("unverified", {"identity_status": "withdrawn"})]
)
async def test_who_cannot_own_any_more_cannot_accept(group: House, why: str, known: dict[str, Any]) -> None:
    """S058, P3: what was right at the offer is looked at again at the acceptance."""
    await offer(group, "ben")
    await group.has_people("ben", **known)
    problem = await group.refused("not_eligible", "ben", "POST", ACCEPT, version=2)
    assert problem["data"] == {"why": why}


async def test_a_transferred_group_rests(group: House) -> None:
    """S063: thirty days after a transfer the next may be offered, a millisecond before not; data says how long."""
    await offer(group, "ben")
    await accept(group, "ben")
    group.clock.advance(60)
    problem = await group.refused("transfer_resting", "ben", "POST", TRANSFER, {"person_id": "ann"})
    assert problem["data"] == {"seconds": 30 * DAY - 60}
    group.clock.set(MORNING + dt.timedelta(days=30, milliseconds=-1))
    await group.has_people("ben")
    await group.refused("transfer_resting", "ben", "POST", TRANSFER, {"person_id": "ann"})
    group.clock.advance(0.001)
    await offer(group, "ann", who="ben")


async def test_there_is_one_open_offer_at_most(group: House) -> None:
    """S064: ten parallel offers to different members: one is open, nine are `transfer_pending`."""
    people = [f"m{number}" for number in range(10)]
    await group.has_group("h", "ann", (), tuple(people))
    answers = await asyncio.gather(
        *(group.ask("ann", "POST", "/v1/groups/h/transfer", {"person_id": one}) for one in people)
    )
    codes = sorted("done" if one.status_code == 200 else one.json()["code"] for one in answers)
    assert codes == ["done", *["transfer_pending"] * 9]


async def test_an_offer_ends_by_declining_withdrawing_or_time(group: House) -> None:
    """S058, S015: each end names the offer, and after it every answer is `offer_lapsed`."""
    for how in ("declined", "withdrawn", "lapsed"):
        offered = await offer(group, "ben")
        if how == "declined":
            await group.do("ben", "POST", DECLINE)
            act = "group.decline_transfer"
        elif how == "withdrawn":
            await group.do("ann", "DELETE", TRANSFER)
            act = "group.withdraw_transfer"
        else:
            group.clock.advance(72 * HOUR)
            assert await group.sweep() == 0
            group.clock.advance(0.001)
            await group.refused("offer_lapsed", "ben", "POST", DECLINE)
            assert await group.sweep() == 1
            act = "group.expire_transfer"
        record = (await group.records(act))[-1]
        assert (record["links"], record["p"]["after"]) == ([offered["record_id"]], {"offer": how})
        version = (await facts(group)).version
        await group.refused("offer_lapsed", "ben", "POST", ACCEPT, version=version)
        await group.refused("offer_lapsed", "ben", "POST", DECLINE)
        await group.refused("offer_lapsed", "ann", "DELETE", TRANSFER)
    assert record["by"] == {"kind": "system", "standing": "system.sweep", "tag": None}
    assert (await facts(group)).owner_id == "ann"


async def test_a_lapsed_offer_may_be_replaced_before_time_ended_it(group: House) -> None:
    """S064: only an open offer is in the way; the new one names the one it replaced."""
    first = await offer(group, "ben")
    group.clock.advance(73 * HOUR)
    await group.has_people("ann", "dan")
    await offer(group, "dan")
    record = (await group.records("group.offer_transfer"))[-1]
    assert record["links"] == [first["record_id"]]
    assert await group.sweep() == 0


async def test_a_dissolved_group_is_passed_on_by_nobody(group: House) -> None:
    """S050: after dissolution every act of ownership answers `group_dissolved`."""
    async with group.db.transaction() as tx:
        await tx.execute(
            "UPDATE groups SET dissolved_at = $1, dissolved_how = 'owner' WHERE group_id = 'g'", MORNING
        )
    for who, method, path, body in (
        ("ann", "POST", TRANSFER, {"person_id": "ben"}),
        ("ben", "POST", ACCEPT, None),
        ("ann", "PUT", "/v1/groups/g/successors", {"successors": []}),
        ("ann", "POST", "/v1/groups/g/succession", None),
        ("ann", "DELETE", "/v1/groups/g/succession", None),
        ("mo", "PUT", "/v1/groups/g/owner", {"person_id": "ben"}),
    ):
        await group.refused("group_dissolved", who, method, path, body)
    await group.refused("unknown", "ann", "POST", "/v1/groups/nowhere/transfer", {"person_id": "ben"})


# Heavier tiers


@pytest.fixture
async def heavy(house: House) -> House:
    """Group g of tier 3, where a transfer needs an approver; an offer from ann to ben is open."""
    await house.has_group("g", "ann", (), ("ben", "cai"), tier=3)
    await offer(house, "ben")
    return house


async def proposed(house: House) -> str:
    answer = await house.ask("ben", "POST", ACCEPT, version=2)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "proposed")
    return answer.json()["result"]["approval_id"]


async def test_a_heavy_group_passes_on_when_an_approver_agrees(heavy: House) -> None:
    """S112, S115: in tier 3 the acceptance waits for a second person; ann owns the group until then."""
    approval_id = await proposed(heavy)
    assert (await facts(heavy)).owner_id == "ann"
    heavy.clock.advance(60)
    receipt = await heavy.do("ap", "POST", f"/v1/approvals/{approval_id}/grant")
    assert receipt["result"]["state"] == "granted"
    assert await ranks(heavy) == {"ann": 1, "ben": 3, "cai": 1}
    (record,) = await heavy.records("approval.grant")
    assert approval_id in record["links"]
    assert record["p"]["after"]["new_owner"] == "owner"


@pytest.mark.parametrize("change", ["withdrawn", "lapsed", "bot", "stale", "left", "dissolved"])
async def test_an_approved_acceptance_is_decided_on_the_facts_of_then(heavy: House, change: str) -> None:
    """S115: if the facts moved against it, the last yes answers `facts_changed` and ann still owns the group."""
    approval_id = await proposed(heavy)
    async with heavy.db.transaction() as tx:
        if change == "left":
            await tx.execute("UPDATE role SET until_at = $1 WHERE person_id = 'ben'", MORNING)
            await tx.execute("UPDATE groups SET member_count = member_count - 1")
        elif change == "dissolved":
            await tx.execute("UPDATE groups SET dissolved_at = $1, dissolved_how = 'owner'", MORNING)
    if change == "withdrawn":
        await heavy.do("ann", "DELETE", TRANSFER)
    elif change == "lapsed":
        heavy.clock.advance(72 * HOUR)
        async with heavy.db.transaction() as tx:
            await tx.execute(
                "UPDATE groups SET offer = jsonb_set(offer, '{until}', '\"2026-11-05T07:59:59Z\"')"
            )
    elif change == "bot":
        await heavy.has_people("ben", bot=True)
    elif change == "stale":
        heavy.clock.advance(25 * HOUR)
    problem = await heavy.refused("facts_changed", "ap", "POST", f"/v1/approvals/{approval_id}/grant")
    now = {
        "withdrawn": "offer_lapsed",
        "lapsed": "offer_lapsed",
        "bot": "not_eligible",
        "stale": "verification_stale",
        "left": "refused",
        "dissolved": "group_dissolved",
    }
    assert problem["data"]["now"] == now[change]
    assert (await facts(heavy)).owner_id == "ann"


# Races


async def test_ten_parallel_acceptances_are_one(group: House) -> None:
    """S065, S011: the same acceptance ten times over with different keys: one is done, nine come too late."""
    await offer(group, "ben")
    answers = await asyncio.gather(*(group.ask("ben", "POST", ACCEPT, version=2) for _ in range(10)))
    assert sorted(one.status_code for one in answers) == [200, *[412] * 9]
    assert await ranks(group) == {"ann": 1, "ben": 3, "cai": 2, "dan": 1, "eve": 1}


async def test_readers_see_exactly_one_owner_all_the_time(house: House) -> None:
    """S065, G1, G2: while ownership goes round and round, every look finds one owner, in the group and in its roles."""
    people = ("ann", "ben", "cai", "dan")
    await house.has_group("g", "ann", (), people[1:])
    seen: list[tuple[Any, ...]] = []
    over = asyncio.Event()

    async def look() -> None:
        while not over.is_set():
            async with house.db.read() as db:
                row = await db.fetchrow(
                    "SELECT g.owner_id, g.ownerless_since, array_agg(r.person_id) FROM groups g JOIN role r USING (group_id)"
                    " WHERE g.group_id = 'g' AND r.rank = 3 AND r.until_at IS NULL GROUP BY 1, 2"
                )
            assert row is not None
            seen.append((row[0], row[1], tuple(row[2])))
            await asyncio.sleep(0)

    readers = [asyncio.create_task(look()) for _ in range(2)]
    owner = "ann"
    for turn in range(1, 9):
        house.clock.advance(31 * DAY)
        await house.has_people(*people)
        heir = people[turn % len(people)]
        await offer(house, heir, who=owner)
        version = (await facts(house)).version
        answers = await asyncio.gather(
            *(house.ask(one, "POST", ACCEPT, version=version) for one in people for _ in range(3))
        )
        assert sum(one.status_code == 200 for one in answers) == 1
        owner = heir
    over.set()
    await asyncio.gather(*readers)
    assert {(who, None, (who,)) for who in people} == set(seen)

    async with house.db.read() as db:
        spans = await db.fetch(
            "SELECT from_at, until_at FROM role WHERE group_id = 'g' AND rank = 3 ORDER BY from_at"
        )
        overlaps = await db.fetchval(
            "SELECT count(*) FROM role a JOIN role b ON a.group_id = b.group_id AND a.rank = 3 AND b.rank = 3"
            " AND (a.by_record, a.person_id) < (b.by_record, b.person_id)"
            " AND tstzrange(a.from_at, a.until_at) && tstzrange(b.from_at, b.until_at)"
        )
    assert overlaps == 0
    assert all(one["until_at"] == following["from_at"] for one, following in pairwise(spans))
    assert len(spans) == 9
