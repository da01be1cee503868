"""A second, or a third, person's yes or no; silence is never consent."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_accounts import OVERRIDE, VERIFIED, accept, run
from tests.kit import POLICIES, House

pytestmark = pytest.mark.anyio

HOUR = 3600


@pytest.fixture
async def offered(house: House) -> House:
    """Group g of tier 3, offered by ann to ben: his acceptance needs a second person."""
    await house.has_group("g", "ann", (), ("ben", "cai"), tier=3)
    await house.do("ann", "POST", "/v1/groups/g/transfer", {"person_id": "ben"})
    return house


async def propose(house: House) -> str:
    answer = await house.ask("ben", "POST", "/v1/groups/g/transfer/acceptance", version=2)
    assert answer.status_code == 202, answer.text
    return answer.json()["result"]["approval_id"]


def told(approval_id: str) -> dict[str, Any]:
    """What a backend is told of the end of the approval."""
    target = {"type": "group", "id": "g"}
    return {"approval_id": approval_id, "action": "group.accept_transfer", "target": target}


async def owner(house: House) -> str:
    async with house.db.read() as db:
        return await db.fetchval("SELECT owner_id FROM groups WHERE group_id = 'g'")


async def grant(house: House, who: str, approval_id: str, **more: Any) -> dict[str, Any]:
    return await house.do(who, "POST", f"/v1/approvals/{approval_id}/grant", **more)


async def refused(house: House, code: str, who: str, approval_id: str, body: Any = None) -> dict[str, Any]:
    return await house.refused(code, who, "POST", f"/v1/approvals/{approval_id}/grant", body)


async def has_staff(house: House, staff_id: str, standing: str, person_id: str | None = None) -> None:
    """Arrange one more member of staff with a key (past the API)."""
    at = house.clock.now()
    token = f"token-of-{staff_id}"
    async with house.db.transaction() as tx:
        await tx.execute(
            "INSERT INTO staff (staff_id, person_id, jurisdiction, created_at, version) VALUES ($1, $2, 'CN', $3, 1)",
            staff_id,
            person_id,
            at,
        )
        await tx.execute(
            "INSERT INTO staff_role (by_record, staff_id, standing, from_at) VALUES ('arranged', $1, $2, $3)",
            staff_id,
            standing,
            at,
        )
        await tx.execute(
            "INSERT INTO api_key (key_id, prefix, token_sha256, kind, staff_id, families, tiers, jurisdictions,"
            " issued_at, by_record, version) VALUES ($1, 'p', $2, 'staff', $1, '[]', '[]', '[]', $3, 'arranged', 1)",
            staff_id,
            hashlib.sha256(token.encode()).digest(),
            at,
        )
    house.tokens[staff_id] = token


async def test_staff_see_what_waits_and_what_they_agree_to(offered: House) -> None:
    """S113: an approval shows what was asked, by whom, who has a part in it, until when, and the digest of the act."""
    approval_id = await propose(offered)
    answer = await offered.ask("ap", "GET", f"/v1/approvals/{approval_id}")
    assert answer.headers["etag"] == '"1"'
    shown = answer.json()
    assert shown["asked"] == {"action": "group.accept_transfer", "group_id": "g"}
    assert shown["proposed_by"] == {"kind": "person", "key_id": "im", "person_id": "ben"}
    assert shown["parties"] == ["person:ann", "person:ben"]
    assert (shown["state"], shown["persons_needed"], shown["granted_by"]) == ("open", 2, [])
    assert shown["expires_at"] == "2026-11-05T08:00:00.000Z"
    await offered.refused(
        "facts_changed", "ap", "POST", f"/v1/approvals/{approval_id}/grant", {"digest": "0" * 64}
    )
    await grant(offered, "ap", approval_id, body={"digest": shown["digest"]})
    shown = await offered.do("ap", "GET", f"/v1/approvals/{approval_id}")
    assert (shown["state"], shown["asked"], shown["version"]) == ("granted", None, 2)
    assert [(one["human"], one["standing"]) for one in shown["granted_by"]] == [("staff:ap", "approver")]
    await offered.refused("unknown", "ap", "GET", "/v1/approvals/nothing")


async def test_approvals_are_listed_by_page_and_filter(house: House) -> None:
    """S116: the list pages in the order of proposing, and keeps what was asked for itself."""
    for name in ("g1", "g2", "g3"):
        await house.has_group(name, "ann", (), ("ben",), tier=4)
        await house.do("ann", "POST", f"/v1/groups/{name}/transfer", {"person_id": "ben"})
        await house.do("ben", "POST", f"/v1/groups/{name}/transfer/acceptance", version=2)
    first = await house.do("ap", "GET", "/v1/approvals?state=open&limit=2")
    second = await house.do("ap", "GET", f"/v1/approvals?state=open&limit=2&cursor={first['next']}")
    assert [one["target"]["id"] for one in first["items"] + second["items"]] == ["g1", "g2", "g3"]
    assert second["next"] is None
    assert all(one["asked"] is None for one in first["items"])
    one = await house.do("ap", "GET", "/v1/approvals?target_type=group&target_id=g2")
    assert [each["target"]["id"] for each in one["items"]] == ["g2"]
    for nothing in ("action=group.dissolve", "state=granted"):
        assert (await house.do("ap", "GET", f"/v1/approvals?{nothing}"))["items"] == []
    for bad in ("state=new", "limit=0", "limit=1000", "cursor=%21"):
        await house.refused("malformed", "ap", "GET", f"/v1/approvals?{bad}")


async def test_approvals_are_listed_for_staff_only(offered: House) -> None:
    """S189: neither people, nor a backend, nor an authority read what staff decide among themselves."""
    approval_id = await propose(offered)
    for who in ("ann", "im", "reg"):
        await offered.refused("refused", who, "GET", "/v1/approvals")
    await offered.refused("refused", "reg", "GET", f"/v1/approvals/{approval_id}")


async def test_a_lost_key_or_standing_reads_nothing(house: House) -> None:
    """S003: key and standing are looked at with each read."""
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE staff_role SET until_at = $1 WHERE staff_id = 'mo'", house.clock.now())
        await tx.execute("UPDATE api_key SET revoked_at = $1 WHERE key_id = 'ap'", house.clock.now())
    await house.refused("refused", "mo", "GET", "/v1/approvals")
    await house.refused("key_invalid", "ap", "GET", "/v1/approvals")


async def test_an_approver_says_yes_or_no_once(offered: House) -> None:
    """S112: after the yes the act has happened, and a further yes or no is `not_in_state`."""
    approval_id = await propose(offered)
    await grant(offered, "ap", approval_id)
    assert await owner(offered) == "ben"
    await refused(offered, "not_in_state", "co", approval_id)
    no = f"/v1/approvals/{approval_id}/refusal"
    await offered.refused("not_in_state", "co", "POST", no, {"reason": "facts_insufficient"})
    assert await offered.effects("approval.granted") == [told(approval_id)]


async def test_a_no_needs_a_reason_and_ends_it(offered: House) -> None:
    """S018, S112: refusing without a reason is `reason_missing`; with one the act does not happen, and may be asked again."""
    approval_id = await propose(offered)
    no = f"/v1/approvals/{approval_id}/refusal"
    await offered.refused("reason_missing", "ap", "POST", no)
    await offered.do("ap", "POST", no, {"reason": "facts_insufficient", "note": "the phone was stolen"})
    assert await owner(offered) == "ann"
    await refused(offered, "not_in_state", "co", approval_id)
    (record,) = [one for one in await offered.records("approval.refuse") if one["out"] == "done"]
    assert (record["links"], record["why"]) == ([approval_id], "facts_insufficient")
    assert await offered.effects("approval.refused") == [told(approval_id)]
    assert await propose(offered) != approval_id


async def test_whoever_proposed_sees_what_has_become_of_it(offered: House) -> None:
    """S112: the person who asked and the backend see act, target, state and ends, not who agreed; nobody else sees any of it."""
    approval_id = await propose(offered)
    path = f"/v1/approvals/{approval_id}"
    seen = await offered.do("ben", "GET", path)
    assert seen == {
        "approval_id": approval_id,
        "action": "group.accept_transfer",
        "target": {"type": "group", "id": "g"},
        "state": "open",
        "persons_needed": 2,
        "created_at": "2026-11-02T08:00:00.000Z",
        "expires_at": "2026-11-05T08:00:00.000Z",
        "ended_at": None,
        "ended_record": None,
    }
    assert await offered.do("im", "GET", path) == seen
    await offered.do("ap", "POST", f"{path}/refusal", {"reason": "facts_insufficient"})
    ended = await offered.do("ben", "GET", path)
    assert (ended["state"], ended["ended_at"]) == ("refused", "2026-11-02T08:00:00.000Z")
    for other in ("ann", "cai", "nobody"):
        await offered.refused("refused", other, "GET", path)
    await offered.refused("refused", "ann", "GET", "/v1/approvals/none")
    await offered.refused("refused", "im", "GET", "/v1/approvals/none")
    await offered.refused("refused", "ben", "GET", "/v1/approvals")


async def test_a_backend_sees_nothing_of_what_staff_propose(offered: House) -> None:
    """S112: what staff ask each other for is theirs."""
    body = {
        "tier": 3,
        "until": "2026-11-20T08:00:00.000Z",
        "reason": "activity_unusual",
        "note": "busier than its class",
    }
    answer = await offered.ask("cl", "PUT", "/v1/groups/g/override", body)
    assert answer.status_code == 202, answer.text
    path = f"/v1/approvals/{answer.json()['result']['approval_id']}"
    await offered.refused("refused", "im", "GET", path)
    assert (await offered.do("ap", "GET", path))["state"] == "open"


async def test_only_approvers_and_compliance_agree(offered: House) -> None:
    """S112, S113: of all others nobody's yes counts; `mo` is an approver and may."""
    approval_id = await propose(offered)
    for who in ("cl", "au", "head", "reg", "ann", "im"):
        await refused(offered, "refused", who, approval_id)
    assert await owner(offered) == "ann"
    await grant(offered, "mo", approval_id)
    assert await owner(offered) == "ben"


async def test_nobody_approves_in_his_own_matter(offered: House) -> None:
    """S113: an approver who is, as an IM user, the proposer or the owner is `own_matter`, and so it is for a no."""
    await has_staff(offered, "ben-at-work", "approver", person_id="ben")
    await has_staff(offered, "ann-at-work", "approver", person_id="ann")
    approval_id = await propose(offered)
    for who in ("ben-at-work", "ann-at-work"):
        await refused(offered, "own_matter", who, approval_id)
        no = f"/v1/approvals/{approval_id}/refusal"
        await offered.refused("own_matter", who, "POST", no, {"reason": "facts_insufficient"})
    assert len([one for one in await offered.records("approval.grant") if one["out"] == "refused"]) == 2


async def test_the_proposer_is_not_the_approver(house: House) -> None:
    """S113: `mo`, moderator and approver in one, proposes and may not approve; `ap` may."""
    await house.has_group("g", "ann", (), ("ben",), successors=["ben"])
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE role SET rank = 1 WHERE person_id = 'ann'")
        await tx.execute("UPDATE groups SET owner_id = NULL, ownerless_since = $1", house.clock.now())
    receipt = await house.do("mo", "PUT", "/v1/groups/g/owner", {"person_id": "ben"})
    approval_id = receipt["result"]["approval_id"]
    await refused(house, "own_matter", "mo", approval_id)
    await grant(house, "ap", approval_id)
    assert await owner(house) == "ben"


async def test_the_same_human_behind_two_staff_ids_is_one(house: House) -> None:
    """S113: a proposer known as an IM user is not his own approver under another staff id."""
    await house.has_group("g", "ann", (), ("ben",), successors=["ben"])
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE role SET rank = 1 WHERE person_id = 'ann'")
        await tx.execute("UPDATE groups SET owner_id = NULL, ownerless_since = $1", house.clock.now())
        await tx.execute("UPDATE staff SET person_id = 'morris' WHERE staff_id = 'mo'")
    await has_staff(house, "mo-again", "approver", person_id="morris")
    receipt = await house.do("mo", "PUT", "/v1/groups/g/owner", {"person_id": "ben"})
    await refused(house, "own_matter", "mo-again", receipt["result"]["approval_id"])


async def test_who_came_to_have_a_part_since_is_no_approver(house: House) -> None:
    """S113, S115: who answers for the operator by now is `own_matter`, though he was nobody in it when it was proposed."""
    await run(house, "o")
    await accept(house, "a")
    await house.has_people("may")
    await has_staff(house, "may-at-work", "approver", person_id="may")
    body = {"tier": 4, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"}
    receipt = await house.do("cl", "PUT", OVERRIDE, body)
    approval_id = receipt["result"]["approval_id"]
    asked = await house.do("ann", "PATCH", "/v1/operators/o", {"answerable_person": "may"})
    body = VERIFIED | {"asked_record": asked["record_id"]}
    await house.do("im", "PUT", "/v1/operators/o/identity", body)
    await refused(house, "own_matter", "may-at-work", approval_id)
    no = f"/v1/approvals/{approval_id}/refusal"
    await house.refused("own_matter", "may-at-work", "POST", no, {"reason": "facts_insufficient"})
    await grant(house, "ap", approval_id)


async def test_one_act_waits_once(offered: House) -> None:
    """S112: while it waits, the same act on the same target is `approval_pending`, also when asked in parallel."""
    answers = await asyncio.gather(
        *(offered.ask("ben", "POST", "/v1/groups/g/transfer/acceptance", version=2) for _ in range(5))
    )
    assert sorted(one.status_code for one in answers) == [202, 409, 409, 409, 409]
    assert {one.json()["code"] for one in answers if one.status_code == 409} == {"approval_pending"}


async def test_who_may_know_is_told_which_approval_waits(house: House) -> None:
    """S112: staff and who asked get the `approval_id` that stands in the way, another person does not."""
    await run(house, "o")
    await accept(house, "a")
    body = {"tier": 4, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"}
    approval_id = (await house.do("cl", "PUT", OVERRIDE, body))["result"]["approval_id"]
    for who in ("cl", "cl2"):
        problem = await house.refused("approval_pending", who, "PUT", OVERRIDE, body)
        assert problem["data"] == {"approval_id": approval_id}
    await house.do("ap", "POST", f"/v1/approvals/{approval_id}/refusal", {"reason": "facts_insufficient"})
    await house.do("cl2", "PUT", OVERRIDE, body)


async def test_a_backend_is_told_only_what_it_asked_for(offered: House) -> None:
    """S112, S189: the person who proposed is told which approval waits; the id is nobody else's to know."""
    approval_id = await propose(offered)
    problem = await offered.refused(
        "approval_pending", "ben", "POST", "/v1/groups/g/transfer/acceptance", version=2
    )
    assert problem["data"] == {"approval_id": approval_id}
    async with offered.db.transaction() as tx:
        await tx.execute("UPDATE approval SET proposer = jsonb_set(proposer, '{person_id}', '\"cai\"')")
    problem = await offered.refused(
        "approval_pending", "ben", "POST", "/v1/groups/g/transfer/acceptance", version=2
    )
    assert "data" not in problem


async def test_parallel_yeses_take_effect_once(offered: House) -> None:
    """S115: two approvers say yes at the same instant: the act happens once."""
    approval_id = await propose(offered)
    path = f"/v1/approvals/{approval_id}/grant"
    answers = await asyncio.gather(*(offered.ask(who, "POST", path) for who in ("ap", "mo", "co")))
    assert sorted(one.status_code for one in answers) == [200, 409, 409]
    assert len(await offered.effects("group.owner_changed")) == 1


async def test_silence_is_never_consent(offered: House) -> None:
    """S116: at its end the approval still waits; a millisecond later it lapses, on record, and nothing has happened."""
    approval_id = await propose(offered)
    offered.clock.advance(72 * HOUR)
    assert await offered.sweep() == 0
    offered.clock.advance(0.001)
    await refused(offered, "not_in_state", "ap", approval_id)
    await offered.sweep()
    (record,) = await offered.records("approval.expire")
    assert (record["links"], record["by"]["standing"]) == ([approval_id], "system.sweep")
    assert (await offered.do("ap", "GET", f"/v1/approvals/{approval_id}"))["state"] == "lapsed"
    assert await owner(offered) == "ann"
    assert await offered.effects("approval.lapsed") == [told(approval_id)]


# Three persons


@pytest.fixture
async def three(database: Any, tmp_path: Path) -> Any:
    """A house whose edition asks for three persons where a heavy group is passed on; ben's acceptance waits."""
    policies = tmp_path / "policies"
    policies.mkdir()
    for path in POLICIES.iterdir():
        text = path.read_text(encoding="utf-8")
        if path.name == "tiers.csv":
            text = text.replace("transfer_persons,,3,2,", "transfer_persons,,3,3,")
        (policies / path.name).write_text(text, encoding="utf-8")
    async with House.open(database.service_dsn, tmp_path / "data", policies=policies) as house:
        await house.has_group("g", "ann", (), ("ben",), tier=3)
        await house.do("ann", "POST", "/v1/groups/g/transfer", {"person_id": "ben"})
        yield house


async def test_where_three_agree_one_is_compliance(three: House) -> None:
    """S114, S112: two approvers are not enough; with compliance's yes the act happens, and its record names all three."""
    approval_id = await propose(three)
    first = await grant(three, "ap", approval_id)
    assert first["result"] == {"approval_id": approval_id, "state": "open", "granted": 1}
    await refused(three, "already_granted", "ap", approval_id)
    second = await grant(three, "mo", approval_id)
    assert second["result"]["state"] == "open"
    assert await owner(three) == "ann"
    await grant(three, "co", approval_id)
    assert await owner(three) == "ben"
    record = (await three.records("approval.grant"))[-1]
    assert {approval_id, first["record_id"], second["record_id"]} <= set(record["links"])
    shown = await three.do("au", "GET", f"/v1/approvals/{approval_id}")
    assert [one["standing"] for one in shown["granted_by"]] == ["approver", "approver", "compliance"]


async def test_where_three_agree_one_is_an_approver(three: House) -> None:
    """S114: two of compliance are not enough either; the order does not matter."""
    approval_id = await propose(three)
    await grant(three, "co", approval_id)
    assert (await grant(three, "co2", approval_id))["result"]["state"] == "open"
    await grant(three, "ap", approval_id)
    assert await owner(three) == "ben"


async def test_one_human_agrees_once_under_whatever_id(three: House) -> None:
    """S113: who agreed as approver does not agree again as compliance under another staff id: `already_granted`."""
    await has_staff(three, "kim-1", "approver", person_id="kim")
    await has_staff(three, "kim-2", "compliance", person_id="kim")
    approval_id = await propose(three)
    await grant(three, "kim-1", approval_id)
    await refused(three, "already_granted", "kim-2", approval_id)
    await grant(three, "co", approval_id)
    assert await owner(three) == "ben"


async def test_a_first_yes_of_who_came_to_have_a_part_is_none(three: House) -> None:
    """S113, S115: ap agreed and is known as ann by now, who passes her group on: the last yes finds `own_matter`."""
    approval_id = await propose(three)
    await grant(three, "ap", approval_id)
    body = {"standing": "auditor", "person_id": "ann"}
    receipt = await three.do("co", "POST", "/v1/staff/ap/standings", body)
    await grant(three, "mo", receipt["result"]["approval_id"])
    problem = await refused(three, "facts_changed", "co", approval_id)
    assert problem["data"] == {"now": "own_matter"}
    assert await owner(three) == "ann"


async def test_the_same_human_found_out_later_agrees_once(three: House) -> None:
    """S113: ap agreed before anybody knew that co2 is the same human: `already_granted`."""
    approval_id = await propose(three)
    await grant(three, "ap", approval_id)
    for staff_id in ("ap", "co2"):
        body = {"standing": "auditor", "person_id": "kim"}
        receipt = await three.do("co", "POST", f"/v1/staff/{staff_id}/standings", body)
        await grant(three, "mo", receipt["result"]["approval_id"])
    await refused(three, "already_granted", "co2", approval_id)
