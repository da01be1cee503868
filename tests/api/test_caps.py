"""Caps: each held against 64 at once, each refusal naming the cap, its value and the line it comes from."""

import asyncio
from typing import Any

import httpx
import pytest

from service.caller import Caller
from service.domain.credit import Credit
from service.domain.groups.bars import RemoveMember
from service.domain.groups.caps import GroupsOf
from service.domain.groups.facts import MEMBER, Group, Role
from service.domain.groups.joining import InvitePerson, JoinGroup, LeaveGroup
from service.domain.groups.mutes import MuteMember
from tests.kit import House, record_named

pytestmark = pytest.mark.anyio

MANY = 64
REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"
VERIFIED = {"status": "verified", "methods": ["credit_code", "mobile"], "identity_ref": REF}
GROUP = {"name": "neighbours", "class": "family", "capacity": 50, "join_mode": "open"}


async def has_groups(
    house: House, owner: str, count: int, members: tuple[str, ...] = (), **facts: Any
) -> None:
    """Arrange open groups g0, g1, ... of tier 1 (past the API)."""
    for number in range(count):
        await house.has_group(
            f"g{number}", owner, (), members, **{"tier": 1, "capacity": 50, "join_mode": "open"} | facts
        )


def told(answers: list[httpx.Response]) -> tuple[int, list[dict[str, Any]]]:
    """How many were done, and the problems of the others."""
    problems = [answer.json() for answer in answers if answer.status_code >= 400]
    return len(answers) - len(problems), problems


# 64 at once


async def test_64_at_once_found_groups(house: House) -> None:
    """S047, S085: at two below the cap of credit C two of 64 registrations succeed, and 62 are told cap, count and line."""
    await house.has_people("ann", credit=50)
    await has_groups(house, "ann", 3)
    answers = await asyncio.gather(
        *(house.ask("ann", "POST", "/v1/groups", GROUP | {"group_id": f"n{one}"}) for one in range(MANY))
    )
    done, problems = told(answers)
    assert (done, {one["code"] for one in problems}) == (2, {"cap_groups_owned"})
    assert [one["data"] for one in problems] == [house.at_cap(5, 5, "groups_owned_cap_c")] * 62
    assert (await house.do("im", "GET", "/v1/people/ann"))["groups_owned"] == 5


async def test_ten_at_once_at_one_below_the_cap_of_groups_owned(house: House) -> None:
    """S047: exactly one succeeds, nine answer `cap_groups_owned`."""
    await house.has_people("ann", credit=50)
    await has_groups(house, "ann", 4)
    answers = await asyncio.gather(
        *(house.ask("ann", "POST", "/v1/groups", GROUP | {"group_id": f"n{one}"}) for one in range(10))
    )
    done, problems = told(answers)
    assert (done, [one["code"] for one in problems]) == (1, ["cap_groups_owned"] * 9)


async def test_64_at_once_join_groups(house: House) -> None:
    """S085: at two below the cap of credit D one person, joining 64 groups at once, comes into two."""
    await house.has_people("dan", credit=10)
    await has_groups(house, "ann", MANY)
    at = house.clock.now()
    async with house.db.transaction() as tx:
        inside = [
            Role(
                by_record=record_named(f"in-{number}"),
                person_id="dan",
                group_id=f"m{number}",
                rank=MEMBER,
                from_at=at,
            )
            for number in range(28)
        ]
        await Role.apply(tx, inside)
        await tx.execute(
            "INSERT INTO groups SELECT (jsonb_populate_record(g, jsonb_build_object('group_id', 'm' || n, 'code', 'm' || n,"
            " 'member_count', 1, 'imported', TRUE, 'owner_id', NULL, 'ownerless_since', g.created_at))).*"
            " FROM groups g CROSS JOIN generate_series(0, 27) n WHERE g.group_id = 'g0'"
        )
    answers = await asyncio.gather(
        *(house.ask("dan", "POST", f"/v1/groups/g{one}/joining", {}) for one in range(MANY))
    )
    done, problems = told(answers)
    assert (done, {one["code"] for one in problems}) == (2, {"cap_groups_joined"})
    assert [one["data"] for one in problems] == [house.at_cap(30, 30, "groups_joined_cap_d")] * 62
    assert (await house.do("im", "GET", "/v1/people/dan"))["groups_joined"] == 30


async def test_64_at_once_join_one_group(house: House) -> None:
    """S048, S085, G4: two places left, 64 people: two come in; the cap is the capacity that the owner asked for."""
    await house.has_group("g", "ann", (), ("dan",), join_mode="open", capacity=4)
    people = [f"p{number}" for number in range(MANY)]
    await house.has_people(*people)
    answers = await asyncio.gather(*(house.ask(one, "POST", "/v1/groups/g/joining", {}) for one in people))
    done, problems = told(answers)
    assert (done, {one["code"] for one in problems}) == (2, {"cap_members"})
    assert [one["data"] for one in problems] == [house.at_cap(4, 4, "group.capacity")] * 62


async def test_64_at_once_are_appointed(house: House) -> None:
    """S085: three admins at most in tier 1: of 64 appointments at once three are made."""
    people = tuple(f"p{number}" for number in range(MANY))
    await house.has_group("g", "ann", (), people, tier=1)
    answers = await asyncio.gather(
        *(house.ask("ann", "PUT", f"/v1/groups/g/admins/{one}", {}) for one in people)
    )
    done, problems = told(answers)
    assert (done, {one["code"] for one in problems}) == (3, {"cap_admins"})
    assert [one["data"] for one in problems] == [house.at_cap(3, 3, "group.effect.admins_cap.1")] * 61


async def test_64_at_once_ask_for_accounts(house: House) -> None:
    """A4, S085: an operator of kind other has two accounts: of 64 asked for at once two are taken."""
    await has_operator(house, "other")
    answers = await asyncio.gather(
        *(house.ask("ann", "POST", "/v1/accounts", account(f"a{one}")) for one in range(MANY))
    )
    done, problems = told(answers)
    assert (done, {one["code"] for one in problems}) == (2, {"cap_accounts"})
    assert [one["data"] for one in problems] == [house.at_cap(2, 2, "accounts_cap_other")] * 62
    assert (await house.do("im", "GET", "/v1/operators/o"))["account_count"] == 2


# What a level allows


@pytest.mark.parametrize(("score", "level", "cap"), [(95, "a", 50), (75, "b", 20), (50, "c", 5)])
async def test_groups_owned_are_capped_by_credit(house: House, score: int, level: str, cap: int) -> None:
    """S046, S085: each level has its cap; dissolved groups do not count."""
    await house.has_people("ann", credit=score)
    await has_groups(house, "ann", cap)
    body = GROUP | {"group_id": "n"}
    problem = await house.refused("cap_groups_owned", "ann", "POST", "/v1/groups", body)
    assert problem["data"] == house.at_cap(cap, cap, f"groups_owned_cap_{level}")
    imported = body | {"owner_id": "ann", "member_count": 3}
    await house.refused("cap_groups_owned", "im", "POST", "/v1/groups", imported)
    await house.do("ann", "POST", "/v1/groups/g0/dissolution", {}, version=1)
    await house.do("ann", "POST", "/v1/groups", body)


async def test_who_is_over_a_cap_keeps_all_and_gets_no_more(house: House) -> None:
    """S090: credit C with 12 groups owned: nothing is taken away, only a new one is refused."""
    await has_groups(house, "ann", 12)
    await house.has_people("ann", credit=50)
    problem = await house.refused("cap_groups_owned", "ann", "POST", "/v1/groups", GROUP | {"group_id": "n"})
    assert (problem["data"]["cap"], problem["data"]["count"]) == (5, 12)
    assert (await house.do("ann", "GET", "/v1/people/ann"))["groups_owned"] == 12
    await house.do("ann", "PUT", "/v1/groups/g3/profile", {"name": "still mine"})


@pytest.mark.parametrize(("score", "level", "tiers"), [(75, "B", 4), (50, "C", 2), (20, "D", 0)])
async def test_a_heavy_group_asks_for_credit(house: House, score: int, level: str, tiers: int) -> None:
    """S046: class and capacity give a tier, the tier asks for credit: too little is `credit_too_low`, with level, minimum and line."""
    await house.has_people("ann", credit=score)
    for tier, (capacity, least) in enumerate(((50, "C"), (200, "C"), (500, "B"), (2000, "B")), 1):
        body = GROUP | {"group_id": f"n{tier}", "capacity": capacity}
        if tier <= tiers:
            assert (await house.do("ann", "POST", "/v1/groups", body))["result"]["tier"] == tier
            continue
        problem = await house.refused("credit_too_low", "ann", "POST", "/v1/groups", body)
        source = f"group.effect.owner_credit_min.{tier}"
        assert problem["data"] == {
            "level": level,
            "minimum": least,
            "source": source,
            "edition": house.edition,
        }


async def test_more_capacity_asks_for_more_credit(house: House) -> None:
    """S046: an owner of credit C asks for no capacity of tier 3; less capacity and other changes need none."""
    await house.has_group("g", "ann", ("ben",), capacity=200)
    await house.has_people("ann", credit=50)
    path = "/v1/groups/g/profile"
    problem = await house.refused("credit_too_low", "ann", "PUT", path, {"capacity": 201})
    assert (problem["pointer"], problem["data"]["minimum"]) == ("/capacity", "B")
    await house.refused("refused", "ben", "PUT", path, {"capacity": 201})
    await house.do("ann", "PUT", path, {"capacity": 100})
    await house.do("ann", "PUT", path, {"capacity": 200, "name": "still ours"})


async def test_without_a_proved_identity_one_is_entitled_to_nothing(house: House) -> None:
    """P2: who is not verified joins no group; the refusal names the line that says who has credit."""
    await house.has_group("g", "ann", join_mode="open")
    await house.has_people("dan", identity_status="unverified")
    problem = await house.refused("cap_groups_joined", "dan", "POST", "/v1/groups/g/joining", {})
    assert problem["data"] == house.at_cap(0, 0, "credit_start")


async def test_every_way_in_counts_the_groups_joined(house: House) -> None:
    """S085: joining, asking to join and being admitted meet the cap; groups owned and groups left are not counted."""
    await house.has_people("dan", credit=10)
    await has_groups(house, "ann", 30, ("dan",))
    await house.has_group("h", "ann", join_mode="approval")
    await house.has_group("own", "dan")
    requests = "/v1/groups/h/join-requests"
    problem = await house.refused("cap_groups_joined", "dan", "POST", requests, {})
    assert problem["data"] == house.at_cap(30, 30, "groups_joined_cap_d")
    await house.do("dan", "POST", "/v1/groups/g0/leaving", {})
    await house.do("dan", "POST", requests, {})
    await house.do("dan", "POST", "/v1/groups/g0/joining", {})
    await house.refused("cap_groups_joined", "ann", "POST", f"{requests}/dan/admission", {})
    await house.do("dan", "POST", "/v1/groups/g1/leaving", {})
    await house.do("ann", "POST", f"{requests}/dan/admission", {})


# Handed over


async def offered(house: House, tier: int = 2) -> None:
    await house.has_group("g", "ann", (), ("dan",), tier=tier)
    await house.do("ann", "POST", "/v1/groups/g/transfer", {"person_id": "dan"})


async def test_an_heir_needs_the_credit_and_the_room(house: House) -> None:
    """S046, S085: accepting a transfer asks for the tier's credit and meets the cap of groups owned."""
    await offered(house, tier=3)
    await house.has_people("dan", credit=50)
    path = "/v1/groups/g/transfer/acceptance"
    problem = await house.refused("credit_too_low", "dan", "POST", path, {}, version=2)
    assert (problem["data"]["level"], problem["data"]["minimum"]) == ("C", "B")
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE groups SET tier = 2")
    await has_groups(house, "dan", 5)
    problem = await house.refused("cap_groups_owned", "dan", "POST", path, {}, version=2)
    assert problem["data"] == house.at_cap(5, 5, "groups_owned_cap_c")


async def test_successors_without_credit_or_room_are_passed_over(house: House) -> None:
    """S068: at the due instant who is capped, or has too little credit for the tier, is passed over, and the record says why."""
    await house.has_group("g", "ann", (), ("ben", "cai", "dan"), tier=3)
    await house.do("ann", "PUT", "/v1/groups/g/successors", {"successors": ["ben", "cai", "dan"]})
    await house.do("ann", "POST", "/v1/groups/g/succession", {})
    await has_groups(house, "cai", 20)
    await house.has_people("ben", credit=50)
    house.clock.advance(7 * 86_400)
    await house.sweep()
    (record,) = await house.records("group.succeed")
    assert record["p"]["after"]["passed_over"] == [
        {"who": "successor_1", "why": "credit_too_low"},
        {"who": "successor_2", "why": "capped"},
    ]
    assert (await house.do("im", "GET", "/v1/groups/g"))["owner_id"] == "dan"


async def test_an_assigned_owner_needs_the_credit_and_the_room(house: House) -> None:
    """S071, S046: who is assigned an ownerless group needs the tier's credit, and is not eligible at his cap."""
    at = house.clock.now()
    await house.has_group("g", "ann", (), ("ben", "cai"), tier=3)
    async with house.db.transaction() as tx:
        group = (await Group.look(tx, [("g",)]))["g",]
        await Group.apply(
            tx, [group.with_(owner_id=None, ownerless_since=at, member_count=2, successors=["ben", "cai"])]
        )
        await tx.execute("UPDATE role SET until_at = $1 WHERE person_id = 'ann'", at)
    await house.has_people("ben", credit=50)
    await has_groups(house, "cai", 20)
    path = "/v1/groups/g/owner"
    await house.refused("credit_too_low", "mo", "PUT", path, {"person_id": "ben"})
    problem = await house.refused("not_eligible", "mo", "PUT", path, {"person_id": "cai"})
    assert problem["data"] == {"why": "capped"}


# Accounts


async def has_operator(house: House, kind: str = "company") -> None:
    await house.has_people("ann")
    body = {"operator_id": "o", "kind": kind, "name": "某某", "jurisdiction": "CN-130200"}
    await house.do("ann", "POST", "/v1/operators", body)
    await house.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)


def account(account_id: str) -> dict[str, str]:
    known = {"operator_id": "o", "name": f"name {account_id}", "class": "life", "jurisdiction": "CN-130200"}
    return {"account_id": account_id} | known


async def moves(house: House, points: int) -> None:
    """Two people move the operator's credit."""
    asked = {"points": points, "reason": "error_corrected"}
    proposed = await house.do("mo", "POST", "/v1/credit/operator/o/adjustments", asked)
    await house.do("ap", "POST", f"/v1/approvals/{proposed['result']['approval_id']}/grant", {})


async def test_an_operator_of_little_credit_gets_no_further_account(house: House) -> None:
    """A4, S090: below `account_credit_min` what an operator has stays, and nothing new opens."""
    await has_operator(house)
    await house.do("ann", "POST", "/v1/accounts", account("a"))
    await moves(house, -36)
    problem = await house.refused("credit_too_low", "ann", "POST", "/v1/accounts", account("b"))
    assert problem["data"] == {
        "level": "D",
        "minimum": "C",
        "source": "account_credit_min",
        "edition": house.edition,
    }
    await moves(house, 1)
    await house.do("ann", "POST", "/v1/accounts", account("b"))


CAP = "/v1/operators/o/accounts-cap"
MORE = {"number": 1, "until": "2026-12-02T08:00:00.000Z", "reason": "fact_changed"}


async def test_a_cap_is_raised_by_two_people_until_an_end(house: House) -> None:
    """A4, S085, S090: until its end one account more; the refusal names both parts; after it what there is stays."""
    await has_operator(house)
    for one in ("a", "b"):
        await house.do("ann", "POST", "/v1/accounts", account(one))
    proposed = await house.do("cl", "PUT", CAP, MORE)
    await house.refused("cap_accounts", "ann", "POST", "/v1/accounts", account("c"))
    granted = await house.do("ap", "POST", f"/v1/approvals/{proposed['result']['approval_id']}/grant", {})
    assert granted["result"]["accounts_cap"] == 3
    await house.do("ann", "POST", "/v1/accounts", account("c"))
    problem = await house.refused("cap_accounts", "ann", "POST", "/v1/accounts", account("d"))
    raised = {"extra": 1, "extra_until": "2026-12-02T08:00:00.000Z", "extra_record": granted["record_id"]}
    assert problem["data"] == house.at_cap(3, 3, "accounts_cap_company", **raised)
    seen = await house.do("ann", "GET", "/v1/credit/operator/o")
    assert seen["caps"] == [
        {"what": "accounts", "cap": 3, "count": 3, "source": "accounts_cap_company", **raised}
    ]
    house.clock.advance(30 * 86_400 + 1)
    problem = await house.refused("cap_accounts", "ann", "POST", "/v1/accounts", account("d"))
    assert (problem["data"]["cap"], problem["data"]["count"]) == (2, 3)
    assert (await house.do("im", "GET", "/v1/operators/o"))["account_count"] == 3


async def test_who_may_raise_a_cap_and_for_whom(house: House) -> None:
    """S006, A4: a classifier, with a reason, for at most 365 days, for a verified operator of credit B."""
    await has_operator(house)
    for who in ("ann", "mo", "im"):
        assert (await house.refused("refused", who, "PUT", CAP, MORE))["rule"] == "none"
    await house.refused("reason_missing", "cl", "PUT", CAP, MORE | {"reason": None})
    for until, code in (
        ("2026-11-02T08:00:00Z", "malformed"),
        ("2027-11-03T08:00:00Z", "duration_over_limit"),
    ):
        assert (await house.refused(code, "cl", "PUT", CAP, MORE | {"until": until}))["pointer"] == "/until"
    await house.refused("malformed", "cl", "PUT", CAP, MORE | {"number": 0})
    await moves(house, -6)
    problem = await house.refused("credit_too_low", "cl", "PUT", CAP, MORE)
    assert {"level": "C", "minimum": "B", "source": "raise_cap_credit_min"}.items() <= problem["data"].items()
    await house.do("im", "PUT", "/v1/operators/o/identity", {"status": "withdrawn"})
    await house.refused("identity_unverified", "cl", "PUT", CAP, MORE)


def test_frequent_acts_look_at_no_credit() -> None:
    """S085: muting, removing, leaving and inviting ask for no credit and count no groups; joining does."""
    caller = Caller(kind="person", key_id="im", person_id="ben")
    mute = MuteMember(group_id="g", person_id="dan", seconds=60, reason="spam")
    for act in (
        mute,
        RemoveMember(group_id="g", person_id="dan", reason="spam"),
        LeaveGroup(group_id="g"),
        InvitePerson(group_id="g", person_id="dan"),
    ):
        assert not {need.kind for need in act.needs(caller)} & {Credit, GroupsOf}
    assert {need.kind for need in JoinGroup(group_id="g").needs(caller)} >= {Credit, GroupsOf}
