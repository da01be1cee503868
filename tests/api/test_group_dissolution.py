"""The end of a group by its owner: who agrees, what ends with it, and what it answers afterwards."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from service.caller import Caller
from service.domain.approvals import GrantApproval
from service.domain.groups.facts import Group, Offer, Override
from tests.kit import House, record_named

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(house: House) -> House:
    """Group g of tier 2, registered by ann; ben is admin and dan a member."""
    await house.has_people("ann", "eve")
    await house.has_group("g", "ann", ("ben",), ("dan",))
    return house


async def facts(house: House, group_id: str = "g") -> Group:
    async with house.db.read() as db:
        return (await Group.look(db, [(group_id,)]))[group_id,]


async def grant(house: House, receipt: dict[str, Any], staff: str = "ap") -> dict[str, Any]:
    answer = await house.app.state.door.act(
        GrantApproval(approval_id=receipt["result"]["approval_id"]),
        caller=Caller(kind="staff", key_id=staff, staff_id=staff),
    )
    return msgspec.json.decode(answer.body)


async def test_dissolution_demands_the_version_one_has_seen(group: House) -> None:
    """S012: without an expected version `version_required`, with an old one `version_stale`."""
    await group.refused("version_required", "ann", "POST", "/v1/groups/g/dissolution", {})
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"name": "Others"})
    problem = await group.refused("version_stale", "ann", "POST", "/v1/groups/g/dissolution", {}, version=1)
    assert problem["data"] == {"version": 2}
    for who in ("ben", "dan", "eve", "im", "mo", "reg"):
        await group.refused("refused", who, "POST", "/v1/groups/g/dissolution", {}, version=2)
    assert (await facts(group)).dissolved_at is None


async def test_dissolution_ends_what_is_open_and_keeps_what_was(group: House) -> None:
    """S026, G7, G8: mutes, bars, requests and hidden items end by this record, listed; roles and history stay."""
    await group.do("ann", "POST", "/v1/groups/g/mutes", {"person_id": "dan", "seconds": 60, "reason": "spam"})
    await group.do("eve", "POST", "/v1/groups/g/join-requests", {})
    async with group.db.transaction() as tx:
        await tx.execute("""
            INSERT INTO bar (by_record, group_id, person_id, from_at, by_rank) VALUES ('b', 'g', 'zoe', now(), 3);
            INSERT INTO mute_all (by_record, group_id, from_at, by_rank) VALUES ('a', 'g', now(), 3);
            INSERT INTO hidden_item VALUES ('h', 'g', 'i-1', 'ff', 'dan', 3, now());
            INSERT INTO bar (by_record, group_id, person_id, from_at, by_rank) VALUES ('o', 'other', 'zoe', now(), 3);
        """)
    receipt = await group.do("ann", "POST", "/v1/groups/g/dissolution", {}, version=1)
    kinds = ("mutes", "whole_group_mutes", "bars", "join_requests", "hidden_items")
    assert receipt["result"]["ended"] == [{"ended": kind, "count": 1} for kind in kinds]
    assert (await group.records("group.dissolve"))[-1]["p"]["coupled"] == receipt["result"]["ended"]
    assert [one["how"] for one in await group.effects("group.dissolved")] == ["owner"]
    async with group.db.read() as db:
        for table in ("mute", "mute_all", "bar", "join_request"):
            rows = await db.fetch(
                f"SELECT ended_at, ended_how, ended_record FROM {table} WHERE group_id = 'g'"
            )
            assert [tuple(row) for row in rows] == [(group.clock.now(), "dissolved", receipt["record_id"])]
        assert await db.fetchval("SELECT ended_record FROM hidden_item") == receipt["record_id"]
        assert await db.fetchval("SELECT ended_at FROM bar WHERE group_id = 'other'") is None
        held = await db.fetch("SELECT person_id, rank FROM role WHERE group_id = 'g' AND until_at IS NULL")
    assert {tuple(row) for row in held} == {("ann", 3), ("ben", 2), ("dan", 1)}
    now = await facts(group)
    assert (now.dissolved_how, now.dissolved_record, now.owner_id) == ("owner", receipt["record_id"], "ann")


async def test_dissolution_ends_offer_override_and_succession(group: House) -> None:
    """G7: nothing of a dissolved group falls due any more; what ended is listed, with links to the acts that began it."""
    until = group.clock.now() + timedelta(days=3)
    offered, overridden, opened = record_named("offer"), record_named("override"), record_named("succession")
    begun = msgspec.structs.replace(
        await facts(group),
        offer=Offer(to="dan", until=until, old_owner_becomes="member", by_record=offered),
        override=Override(tier=2, until=until, by_record=overridden),
        succession_due_at=until,
        succession_record=opened,
    )
    async with group.db.transaction() as tx:
        await Group.apply(tx, [begun])
    receipt = await group.do("ann", "POST", "/v1/groups/g/dissolution", {}, version=1)
    kinds = ("offers", "overrides", "successions")
    assert receipt["result"]["ended"] == [{"ended": kind, "count": 1} for kind in kinds]
    assert (await group.records("group.dissolve"))[-1]["links"] == sorted([offered, overridden, opened])
    now = await facts(group)
    assert (now.offer, now.override, now.succession_due_at, now.tier) == (None, None, None, 2)


async def test_a_dissolved_group_answers_gone_to_every_act(group: House) -> None:
    """S050, S051, G3: `group_dissolved` (410), on record, and nothing changes; an unknown id answers otherwise (404)."""
    await group.do("eve", "POST", "/v1/groups/g/join-requests", {})
    await group.do("ann", "POST", "/v1/groups/g/dissolution", {}, version=1)
    before = await facts(group)
    until = "2026-11-20T00:00:00Z"
    acts: list[tuple[str, str, str, dict[str, Any]]] = [
        ("ann", "POST", "mutes", {"person_id": "dan", "seconds": 60, "reason": "spam"}),
        ("ann", "DELETE", "mutes/dan", {}),
        ("dan", "POST", "leaving", {}),
        ("ann", "POST", "join-requests/eve/admission", {}),
        ("ann", "DELETE", "join-requests/eve", {}),
        ("ann", "POST", "invitations", {"person_id": "eve"}),
        ("eve", "POST", "joining", {}),
        ("eve", "POST", "join-requests", {}),
        ("ann", "PUT", "profile", {"name": "Again"}),
        ("ann", "POST", "dissolution", {}),
        ("cl", "PUT", "tier", {}),
        ("cl", "PUT", "override", {"tier": 3, "until": until, "reason": "activity_unusual"}),
    ]
    for who, method, path, body in acts:
        answer = await group.ask(who, method, f"/v1/groups/g/{path}", body)
        assert (answer.status_code, answer.json()["code"]) == (410, "group_dissolved"), path
    answer = await group.ask("im", "PATCH", "/v1/groups/g", {"messages_per_day": 1})
    assert answer.status_code == 410
    assert await facts(group) == before
    assert [one["out"] for one in await group.records("group.leave")] == ["refused"]
    await group.refused("group_dissolved", "ann", "GET", "/v1/groups/g")
    await group.refused("group_dissolved", "im", "GET", "/v1/groups/g")
    await group.refused("unknown", "ann", "GET", "/v1/groups/nowhere")
    await group.refused("unknown", "ann", "POST", "/v1/groups/nowhere/leaving", {})
    view = await group.do("mo", "GET", "/v1/groups/g")
    assert (view["dissolved_how"], view["preserved"]) == ("owner", False)


async def test_a_dissolved_private_group_stays_unknown_to_strangers(group: House) -> None:
    """S051: who could not know that it lived does not learn that it ended."""
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"join_mode": "invite"})
    await group.do("ann", "POST", "/v1/groups/g/dissolution", {}, version=2)
    await group.refused("unknown", "eve", "POST", "/v1/groups/g/joining", {})
    await group.refused("unknown", "eve", "GET", "/v1/groups/g")
    await group.refused("group_dissolved", "dan", "POST", "/v1/groups/g/leaving", {})


async def test_a_heavy_group_lives_until_an_approver_agrees(house: House) -> None:
    """S053, S113: tiers 3 and 4 need a second person, who is not in office there; a second proposal waits for nobody."""
    await house.has_group("g", "ann", ("ben",), tier=3, capacity=500)
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE staff SET person_id = 'ben' WHERE staff_id = 'ap'")
    answer = await house.ask("ann", "POST", "/v1/groups/g/dissolution", {}, version=1)
    proposed = answer.json()
    assert (answer.status_code, proposed["outcome"], proposed["result"]["persons_needed"]) == (
        202,
        "proposed",
        2,
    )
    assert (await house.do("ann", "GET", "/v1/groups/g"))["version"] == 1
    await house.refused("approval_pending", "ann", "POST", "/v1/groups/g/dissolution", {}, version=1)
    assert (await grant(house, proposed))["code"] == "own_matter"
    granted = await grant(house, proposed, "mo")
    assert granted["result"]["dissolved_at"] == "2026-11-02T08:00:00.000Z"
    group = await facts(house)
    assert (group.dissolved_at, group.dissolved_record) == (house.clock.now(), granted["record_id"])


async def test_what_was_proposed_before_the_end_takes_no_effect_after_it(house: House) -> None:
    """G3, S050, S115: an override that waits for approval finds the group dissolved, and the group stays as it was."""
    await house.has_group("g", "ann", ("ben",))
    body = {"tier": 3, "until": "2026-11-20T00:00:00Z", "reason": "activity_unusual"}
    proposed = await house.do("cl", "PUT", "/v1/groups/g/override", body)
    await house.do("ann", "POST", "/v1/groups/g/dissolution", {}, version=1)
    problem = await grant(house, proposed)
    assert (problem["code"], problem["data"]["now"]) == ("facts_changed", "group_dissolved")
    assert (await facts(house)).override is None


async def test_dissolution_and_joining_at_once_leave_no_one_joining_later(group: House) -> None:
    """S050: acts that race with the dissolution are done before it or answer `group_dissolved`; none after it."""
    people = [f"p{number}" for number in range(6)]
    await group.has_people(*people)
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"join_mode": "open"})
    answers = await asyncio.gather(
        *(group.ask(person, "POST", "/v1/groups/g/joining", {}) for person in people[:3]),
        *(
            group.ask("ann", "POST", "/v1/groups/g/dissolution", {}, version=version)
            for version in range(2, 9)
        ),
        *(group.ask(person, "POST", "/v1/groups/g/joining", {}) for person in people[3:]),
    )
    joined = [answer for answer in answers if answer.json().get("action") == "group.join"]
    now = await facts(group)
    assert now.dissolved_at is not None
    assert now.member_count == 3 + len(joined)
    await group.refused("group_dissolved", people[5], "POST", "/v1/groups/g/joining", {})
