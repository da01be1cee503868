"""Who comes into a group and who goes: joins, requests, invitations, answers, leaving."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from service.caller import Caller
from service.domain.groups.bars import Bar
from service.domain.groups.facts import Group, Role
from service.domain.groups.joining import ExpireRequest
from tests.kit import House

pytestmark = pytest.mark.anyio

REQUESTS = "/v1/groups/g/join-requests"


@pytest.fixture
async def group(house: House) -> House:
    """Group g, by approval: ann owns it, ben is admin, dan a member; eve and zoe are outside."""
    await house.has_group("g", "ann", ("ben",), ("dan",))
    await house.has_people("eve", "zoe")
    return house


async def facts(house: House) -> Group:
    async with house.db.read() as db:
        return (await Group.look(db, [("g",)]))["g",]


async def role(house: House, person: str) -> Role | None:
    async with house.db.read() as db:
        return (await Role.look(db, [("g", person)])).get(("g", person))


async def has_bar(house: House, person: str, seconds: int | None) -> None:
    at = house.clock.now()
    until = None if seconds is None else at + timedelta(seconds=seconds)
    async with house.db.transaction() as tx:
        await Bar.apply(
            tx,
            [
                Bar(
                    by_record=f"arranged-{person}",
                    group_id="g",
                    person_id=person,
                    from_at=at,
                    until=until,
                    by_rank=3,
                )
            ],
        )


async def opens(house: House, **profile: Any) -> None:
    """The owner changes how people come in."""
    await house.do("ann", "PUT", "/v1/groups/g/profile", {"join_mode": "open", **profile})


async def sweep(house: House, person: str) -> dict[str, Any]:
    answer = await house.app.state.door.act(
        ExpireRequest(group_id="g", person_id=person), caller=Caller.sweep()
    )
    return msgspec.json.decode(answer.body)


# Joining


async def test_joining_an_open_group_opens_a_member_interval(group: House) -> None:
    """G8: who joins is a member from that instant, by that record; headcount and backend know."""
    await opens(group)
    receipt = await group.do("eve", "POST", "/v1/groups/g/joining", {})
    assert receipt["result"]["member_count"] == 4
    inside = await role(group, "eve")
    assert inside is not None
    assert (inside.rank, inside.by_record, inside.from_at) == (1, receipt["record_id"], group.clock.now())
    assert await group.effects("group.joined") == [{"group_id": "g", "person_id": "eve"}]


async def test_ten_parallel_joins_at_one_below_capacity(group: House) -> None:
    """S048, S085, G4: exactly one succeeds, nine answer `cap_members` with cap and count."""
    people = [f"p{number}" for number in range(10)]
    await group.has_people(*people)
    await opens(group, capacity=4)
    answers = await asyncio.gather(
        *(group.ask(person, "POST", "/v1/groups/g/joining", {}) for person in people)
    )
    refusals = [answer.json() for answer in answers if answer.status_code != 200]
    assert [refusal["code"] for refusal in refusals] == ["cap_members"] * 9
    assert refusals[0]["data"] == group.at_cap(4, 4, "group.capacity")
    assert (await facts(group)).member_count == 4


async def test_ten_parallel_admissions_at_one_below_capacity(group: House) -> None:
    """S048, G4: admissions by owner and admin meet the same capacity, and refused requests go on waiting."""
    people = [f"p{number}" for number in range(10)]
    await group.has_people(*people)
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"capacity": 4})
    for person in people:
        await group.do(person, "POST", REQUESTS, {})
    answers = await asyncio.gather(
        *(
            group.ask(("ann", "ben")[place % 2], "POST", f"{REQUESTS}/{person}/admission", {})
            for place, person in enumerate(people)
        )
    )
    assert sorted(answer.json().get("code", "") for answer in answers) == ["", *["cap_members"] * 9]
    async with group.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM join_request WHERE ended_at IS NULL") == 9


async def test_joining_where_approval_is_asked(group: House) -> None:
    """Joining goes by request here: `approval_needed`; once the request waits, `already_in_state`."""
    await group.refused("approval_needed", "eve", "POST", "/v1/groups/g/joining", {})
    await group.refused("approval_needed", "eve", "POST", "/v1/groups/g/joining", {"by_link": True})
    await group.do("eve", "POST", REQUESTS, {})
    await group.refused("already_in_state", "eve", "POST", "/v1/groups/g/joining", {})


async def test_joining_by_a_link_needs_a_group_whose_link_is_open(group: House) -> None:
    """A valid link lets in where the group's link is open, whatever its mode."""
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"join_mode": "invite", "link_open": True})
    await group.refused("approval_needed", "eve", "POST", "/v1/groups/g/joining", {})
    await group.do("eve", "POST", "/v1/groups/g/joining", {"by_link": True})


async def test_members_do_not_join_again(group: House) -> None:
    """Only strangers join or ask: whoever is inside meets no rule."""
    await opens(group)
    assert (await group.refused("refused", "dan", "POST", "/v1/groups/g/joining", {}))["rule"] == "none"
    assert (await group.refused("refused", "ann", "POST", REQUESTS, {}))["rule"] == "none"
    assert (await facts(group)).member_count == 3


async def test_two_joins_of_one_person_at_once_make_one_member(group: House) -> None:
    """S011, G4: the second of two acts finds the person inside and is counted no second time."""
    await opens(group)
    answers = await asyncio.gather(*(group.ask("eve", "POST", "/v1/groups/g/joining", {}) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 403, 403, 403]
    assert (await facts(group)).member_count == 4


async def test_an_unexpired_mute_holds_again_after_joining_again(group: House) -> None:
    """S026: a mute survives leaving and joining; the receipt and the backend say until when."""
    await opens(group)
    await group.do(
        "ann", "POST", "/v1/groups/g/mutes", {"person_id": "dan", "seconds": 3600, "reason": "spam"}
    )
    muted = (await group.records("group.mute"))[-1]["id"]
    await group.do("dan", "POST", "/v1/groups/g/leaving", {})
    group.clock.advance(3600)
    receipt = await group.do("dan", "POST", "/v1/groups/g/joining", {})
    assert receipt["result"]["muted_until"] == "2026-11-02T09:00:00.000Z"
    assert (await group.effects("group.joined"))[-1]["muted_until"] == "2026-11-02T09:00:00.000Z"
    assert (await group.records("group.join"))[-1]["links"] == [muted]
    await group.do("dan", "POST", "/v1/groups/g/leaving", {})
    group.clock.advance(1)
    assert "muted" not in (await group.do("dan", "POST", "/v1/groups/g/joining", {}))["result"]


@pytest.mark.parametrize("seconds", [3600, None])
async def test_a_bar_stops_joining_asking_inviting_and_admitting(group: House, seconds: int | None) -> None:
    """S037: for its term, the end included; a bar without end does not lapse."""
    await group.do("zoe", "POST", REQUESTS, {})
    await has_bar(group, "eve", seconds)
    await has_bar(group, "zoe", seconds)
    group.clock.advance(3600)
    await group.refused("barred", "eve", "POST", REQUESTS, {})
    await group.refused("barred", "ann", "POST", "/v1/groups/g/invitations", {"person_id": "eve"})
    await group.refused("barred", "ann", "POST", f"{REQUESTS}/zoe/admission", {})
    await opens(group)
    await group.refused("barred", "eve", "POST", "/v1/groups/g/joining", {})
    group.clock.advance(1)
    answer = await group.ask("eve", "POST", "/v1/groups/g/joining", {})
    assert answer.status_code == (403 if seconds is None else 200)


async def test_a_private_group_is_unknown_to_who_is_not_invited(group: House) -> None:
    """Without an invitation a private group answers as one that does not exist, and nothing is recorded."""
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"join_mode": "invite"})
    for path in ("joining", "join-requests"):
        here = await group.refused("unknown", "eve", "POST", f"/v1/groups/g/{path}", {})
        nowhere = await group.refused("unknown", "eve", "POST", f"/v1/groups/nowhere/{path}", {})
        assert here | {"data": {}} == nowhere | {"data": {}}
    await group.refused("unknown", "eve", "POST", "/v1/groups/g/invitations", {"person_id": "zoe"})
    await group.refused("unknown", "eve", "POST", "/v1/groups/g/leaving", {})
    assert await group.records("group.join") == []
    await group.do("ann", "POST", "/v1/groups/g/invitations", {"person_id": "eve"})
    await group.do("eve", "POST", "/v1/groups/g/joining", {})


async def test_who_is_closed_or_unknown_does_not_come_in(group: House) -> None:
    """P4: a closed person neither joins nor is let in; somebody nobody knows is not invited."""
    await group.do("zoe", "POST", REQUESTS, {})
    async with group.db.transaction() as tx:
        await tx.execute("UPDATE person SET closed_at = created_at WHERE person_id = 'zoe'")
    await group.refused("person_closed", "zoe", "POST", "/v1/groups/g/joining", {})
    await group.refused("person_closed", "ann", "POST", f"{REQUESTS}/zoe/admission", {})
    await group.refused("person_closed", "ann", "POST", "/v1/groups/g/invitations", {"person_id": "zoe"})
    await group.refused("unknown", "ann", "POST", "/v1/groups/g/invitations", {"person_id": "nobody"})
    await group.refused("unknown", "nobody", "POST", "/v1/groups/g/joining", {})


# Requests and their answers


async def test_a_request_waits_and_is_answered_once(group: House) -> None:
    """S049: of two answers the second is `request_handled`, whoever gives it and whatever it says."""
    await group.do("eve", "POST", REQUESTS, {})
    await group.refused("already_in_state", "eve", "POST", REQUESTS, {})
    asked = (await group.records("group.request_join"))[0]
    assert await role(group, "eve") is None
    receipt = await group.do("ben", "POST", f"{REQUESTS}/eve/admission", {})
    assert receipt["rule"] == "group.admit-admin"
    assert (await group.records("group.admit"))[-1]["links"] == [asked["id"]]
    await group.refused("request_handled", "ann", "POST", f"{REQUESTS}/eve/admission", {})
    await group.refused("request_handled", "ann", "DELETE", f"{REQUESTS}/eve", {})
    assert (await facts(group)).member_count == 4


async def test_answers_at_once_admit_once(group: House) -> None:
    """S049: of five parallel answers exactly one is done."""
    await group.do("eve", "POST", REQUESTS, {})
    answers = await asyncio.gather(
        *(group.ask("ann", "POST", f"{REQUESTS}/eve/admission", {}) for _ in range(3)),
        *(group.ask("ben", "DELETE", f"{REQUESTS}/eve", {}) for _ in range(2)),
    )
    codes = [answer.json().get("code", "") for answer in answers]
    assert sorted(codes) == ["", *["request_handled"] * 4]


async def test_one_turned_away_stays_outside_and_may_ask_again(group: House) -> None:
    """S049: turning away ends this request alone; removal and refusal are no bar (S037)."""
    await group.do("eve", "POST", REQUESTS, {})
    await group.do("ann", "DELETE", f"{REQUESTS}/eve", {"reason": "group_rules"})
    assert await role(group, "eve") is None
    assert (await group.effects("group.request_closed"))[-1]["how"] == "turned_away"
    await group.do("eve", "POST", REQUESTS, {})


async def test_members_and_strangers_answer_no_request(group: House) -> None:
    """Answering requests is management: rule none for everybody else."""
    await group.do("eve", "POST", REQUESTS, {})
    for who in ("dan", "zoe", "eve", "im", "mo"):
        await group.refused("refused", who, "POST", f"{REQUESTS}/eve/admission", {})
        await group.refused("refused", who, "DELETE", f"{REQUESTS}/eve", {})


async def test_nobody_asks_where_nobody_approves(group: House) -> None:
    """A request needs a group that joins by approval; elsewhere there is nothing to wait for."""
    await opens(group)
    await group.refused("not_in_state", "eve", "POST", REQUESTS, {})


async def test_a_request_lapses_by_time(group: House) -> None:
    """S015, S016: after `admit_request_lapse_d` days, under the name of time, once, naming the request."""
    asked = await group.do("eve", "POST", REQUESTS, {})
    group.clock.advance(14 * 86400)
    assert (await sweep(group, "eve"))["code"] == "not_in_state"
    group.clock.advance(0.001)
    assert (await sweep(group, "eve"))["result"]["request"] == "lapsed"
    record = (await group.records("group.expire_request"))[-1]
    assert (record["by"]["standing"], record["links"]) == ("system.sweep", [asked["record_id"]])
    assert (await sweep(group, "eve"))["code"] == "not_in_state"
    await group.refused("request_handled", "ann", "POST", f"{REQUESTS}/eve/admission", {})


async def test_a_request_that_is_over_counts_no_more_even_before_the_sweep(group: House) -> None:
    """S015: nobody is admitted on a lapsed request; asking again replaces it and names it."""
    first = await group.do("eve", "POST", REQUESTS, {})
    group.clock.advance(15 * 86400)
    await group.refused("request_handled", "ann", "POST", f"{REQUESTS}/eve/admission", {})
    await group.do("eve", "POST", REQUESTS, {})
    assert (await group.records("group.request_join"))[-1]["links"] == [first["record_id"]]
    await group.do("ann", "POST", f"{REQUESTS}/eve/admission", {})


# Invitations


async def test_an_invitation_waits_for_the_person(group: House) -> None:
    """Inviting makes no member; the invited person joins without further approval, by the record that invited."""
    invited = await group.do("dan", "POST", "/v1/groups/g/invitations", {"person_id": "eve"})
    assert await role(group, "eve") is None
    await group.refused("already_in_state", "ann", "POST", "/v1/groups/g/invitations", {"person_id": "eve"})
    await group.refused("already_in_state", "ann", "POST", "/v1/groups/g/invitations", {"person_id": "ben"})
    await group.refused("request_handled", "ann", "POST", f"{REQUESTS}/eve/admission", {})
    await group.do("eve", "POST", "/v1/groups/g/joining", {})
    assert (await group.records("group.join"))[-1]["links"] == [invited["record_id"]]


async def test_members_do_not_invite_where_one_joins_by_invitation_only(group: House) -> None:
    """In mode invite, owner and admins invite; a member is refused."""
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"join_mode": "invite"})
    await group.refused("refused", "dan", "POST", "/v1/groups/g/invitations", {"person_id": "eve"})
    await group.do("ben", "POST", "/v1/groups/g/invitations", {"person_id": "eve"})


async def test_an_invitation_lapses_and_can_be_taken_back(group: House) -> None:
    """An invitation that is over or taken back lets nobody in."""
    await group.do("ann", "POST", "/v1/groups/g/invitations", {"person_id": "eve"})
    await group.do("ann", "POST", "/v1/groups/g/invitations", {"person_id": "zoe"})
    await group.do("ann", "DELETE", f"{REQUESTS}/zoe", {})
    await group.refused("approval_needed", "zoe", "POST", "/v1/groups/g/joining", {})
    group.clock.advance(14 * 86400 + 1)
    await group.refused("approval_needed", "eve", "POST", "/v1/groups/g/joining", {})
    assert (await sweep(group, "eve"))["result"]["invitation"] == "lapsed"


async def test_nobody_is_invited_into_a_full_group(group: House) -> None:
    """S085: `cap_members` with cap and count."""
    await group.do("ann", "PUT", "/v1/groups/g/profile", {"capacity": 3})
    problem = await group.refused(
        "cap_members", "ann", "POST", "/v1/groups/g/invitations", {"person_id": "eve"}
    )
    assert problem["data"] == group.at_cap(3, 3, "group.capacity")


# Leaving


async def test_leaving_closes_the_interval_and_frees_a_place(group: House) -> None:
    """G8: the interval of who leaves ends at that instant by that record; an admin's office ends with it."""
    await group.do("dan", "POST", "/v1/groups/g/leaving", {})
    receipt = await group.do("ben", "POST", "/v1/groups/g/leaving", {})
    now = await facts(group)
    assert (now.member_count, now.admin_count) == (1, 0)
    assert await role(group, "ben") is None
    async with group.db.read() as db:
        ended = await db.fetchrow("SELECT rank, until_at, ended_record FROM role WHERE person_id = 'ben'")
    assert ended is not None
    assert tuple(ended) == (2, group.clock.now(), receipt["record_id"])
    assert [one["person_id"] for one in await group.effects("group.left")] == ["dan", "ben"]
    await group.refused("refused", "dan", "POST", "/v1/groups/g/leaving", {})


async def test_the_owner_cannot_leave(group: House) -> None:
    """S066, G1: `owner_must_transfer`; the group still has exactly its owner."""
    problem = await group.refused("owner_must_transfer", "ann", "POST", "/v1/groups/g/leaving", {})
    assert problem["record_id"]
    assert (await facts(group)).owner_id == "ann"
    kept = await role(group, "ann")
    assert kept is not None
    assert kept.rank == 3
