"""Who answered for a group, an account, an operator or one act, at any instant since registration."""

from typing import Any

import pytest

from service.caller import Caller
from service.domain.approvals import GrantApproval
from service.domain.groups.facts import Role
from service.domain.staff import AppointStaff
from tests.api.test_accounts import asking, run
from tests.kit import House

pytestmark = pytest.mark.anyio
WHY = "?purpose=case+17"


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it from 08:00, ben is her admin; at 09:00 it passes to cai, and ann stays as admin."""
    await house.has_group("g", "ann", ("ben",), ("cai", "dan"))
    house.clock.advance(3600)
    at = house.clock.now()
    async with house.db.transaction() as tx:
        await tx.execute(
            "UPDATE role SET until_at = $1, ended_record = 'handed-over' WHERE group_id = 'g' AND person_id IN ('ann', 'cai')",
            at,
        )
        given = {"group_id": "g", "from_at": at, "by_record": "handed-over"}
        await Role.apply(
            tx,
            [
                Role(person_id="cai", rank=3, **given),
                Role(person_id="ann", rank=2, granted_by="cai", **given),
            ],
        )
        await tx.execute("UPDATE groups SET owner_id = 'cai', admin_count = 2 WHERE group_id = 'g'")
    return house


async def chain(house: House, at: str, who: str = "au") -> dict[str, Any]:
    answer = await house.do(who, "GET", f"/v1/responsibility/group/g{WHY}&at={at}")
    return answer["chain"]


async def test_the_chain_names_platform_owner_and_admins_with_their_records(group: House) -> None:
    """S211, S214: the head of content safety stands first, then owner and admins, each with the record that made it."""
    then = await chain(group, "2026-11-02T08:30:00Z")
    assert (then["platform"]["type"], then["platform"]["id"]) == ("staff", "head")
    assert len(then["platform"]["record_id"]) == 36
    assert then["code"] == "code-g"
    owner = then["owner"]
    assert (owner["id"], owner["held_from"]) == ("ann", "2026-11-02T08:00:00.000Z")
    [ben] = then["admins"]
    assert (ben["id"], ben["granted_by"], ben["record_id"]) == ("ben", "ann", owner["record_id"])
    async with group.db.read() as db:
        made = await db.fetchval("SELECT by_record FROM role WHERE group_id = 'g' AND person_id = 'ben'")
    assert owner["record_id"] == made


async def test_each_past_instant_has_its_own_answer(group: House) -> None:
    """G8: the instant of a change belongs to what follows; one millisecond before it does not."""
    before, after = (
        await chain(group, "2026-11-02T08:59:59.999Z"),
        await chain(group, "2026-11-02T09:00:00.000Z"),
    )
    assert (before["owner"]["id"], [one["id"] for one in before["admins"]]) == ("ann", ["ben"])
    assert (after["owner"]["id"], {one["id"] for one in after["admins"]}) == ("cai", {"ben", "ann"})
    now = (await group.do("au", "GET", "/v1/responsibility/group/g" + WHY))["chain"]
    assert now["owner"]["id"] == "cai"


async def test_admins_show_who_appointed_them_and_under_whom_they_served(group: House) -> None:
    """S057: ben was lent his power by ann and served under ann and cai; ann, as admin, under cai alone."""
    admins = {one["id"]: one for one in (await chain(group, "2026-11-02T09:00:00Z"))["admins"]}
    assert admins["ben"]["granted_by"] == "ann"
    assert [one["id"] for one in admins["ben"]["served_under"]] == ["ann", "cai"]
    assert [one["id"] for one in admins["ann"]["served_under"]] == ["cai"]


async def test_the_platforms_head_is_the_one_of_that_instant(group: House) -> None:
    """S211: the post is held by intervals, and the chain names who held it then."""
    async with group.db.transaction() as tx:
        at = group.clock.now()
        await tx.execute("UPDATE staff_role SET until_at = $1 WHERE standing = 'head_of_content_safety'", at)
        await tx.execute(
            "INSERT INTO staff_role (by_record, staff_id, standing, from_at) VALUES ('r', 'head2', 'head_of_content_safety', $1)",
            at,
        )
    assert (await chain(group, "2026-11-02T08:59:59Z"))["platform"]["id"] == "head"
    assert (await chain(group, "2026-11-02T09:00:00Z"))["platform"]["id"] == "head2"


async def test_no_answer_before_registration_after_now_or_for_the_unknown(group: House) -> None:
    """G8, S214: there is no chain before there was a group, and none of the future."""
    path = "/v1/responsibility"
    await group.refused("unknown", "au", "GET", f"{path}/group/g{WHY}&at=2026-11-02T07:59:59Z")
    await group.refused("malformed", "au", "GET", f"{path}/group/g{WHY}&at=2026-11-02T09:00:01Z")
    await group.refused("malformed", "au", "GET", f"{path}/group/g{WHY}&at=yesterday")
    await group.refused("unknown", "au", "GET", f"{path}/group/h{WHY}")
    await group.refused("unknown", "au", "GET", f"{path}/person/ann{WHY}")


async def test_asking_for_a_chain_is_on_record_and_needs_a_purpose(group: House) -> None:
    """S021, S189: it is a read of the trail like any other."""
    await group.refused("purpose_missing", "au", "GET", "/v1/responsibility/group/g")
    await group.refused("outside_scope", "reg", "GET", "/v1/responsibility/group/g" + WHY)
    await chain(group, "2026-11-02T08:30:00Z")
    records = await group.records("trail.read")
    assert [one["out"] for one in records] == ["refused", "refused", "done"]
    assert records[-1]["p"]["asked"] == {"view": "responsibility", "at": "2026-11-02T08:30:00.000Z"}


async def test_the_chain_of_an_act_names_actor_rule_edition_and_those_who_answered_then(
    group: House,
) -> None:
    """S214: for one record: head, owner and admins at its instant, the acting person, rule and edition; no free text."""
    body = {"person_id": "dan", "seconds": 60, "reason": "fraud", "note": "told eve so"}
    receipt = await group.do("ben", "POST", "/v1/groups/g/mutes", body)
    again = await group.do("cai", "POST", "/v1/groups/g/mutes", {**body, "seconds": 90})
    async with group.db.transaction() as tx:
        await tx.execute("""UPDATE api_key SET jurisdictions = '["CN-110000"]' WHERE key_id = 'reg'""")
    answer = await group.ask("reg", "GET", f"/v1/responsibility/record/{again['record_id']}" + WHY)
    found = answer.json()
    assert found["act"]["by"] == {
        "kind": "person",
        "standing": "group.owner",
        "who": {"type": "person", "id": "cai"},
    }
    assert (found["act"]["rule"], found["act"]["edition"]) == ("group.mute-owner", receipt["edition"])
    assert found["chain"]["at"] == receipt["at"]
    assert (found["chain"]["owner"]["id"], found["chain"]["platform"]["id"]) == ("cai", "head")
    [follows] = found["follows"]
    assert (follows["record_id"], follows["by"]["who"]["id"]) == (receipt["record_id"], "ben")
    assert found["approvers"] == []
    assert "told eve so" not in answer.text


async def test_an_account_is_answered_for_by_its_operator(group: House) -> None:
    """S214: for an account and for an operator the chain goes from the platform to the answerable person, each with its record."""
    await run(group, "op")
    asked = await group.do("ann", "POST", "/v1/accounts", asking("a", operator_id="op"))
    (registered,) = await group.records("operator.register")
    for path, record_id in (("account/a", asked["record_id"]), ("operator/op", registered["id"])):
        found = (await group.do("au", "GET", f"/v1/responsibility/{path}{WHY}&at=2026-11-02T09:00:00Z"))[
            "chain"
        ]
        operator = found["operator"]
        assert (operator["operator_id"], operator["answerable_person"], operator["record_id"]) == (
            "op",
            "ann",
            record_id,
        )
        assert operator["answerable"] == {
            "type": "person",
            "id": "ann",
            "held_from": "2026-11-02T09:00:00.000Z",
            "until": None,
            "record_id": registered["id"],
            "ended_record_id": None,
        }
        assert found["platform"]["id"] == "head"
    for path in ("account/a", "operator/op"):
        await group.refused("unknown", "au", "GET", f"/v1/responsibility/{path}{WHY}&at=2026-11-02T08:59:59Z")


async def test_an_act_by_two_people_names_proposer_and_approver(house: House) -> None:
    """S214: the record by which an approved act took effect tells who proposed and who agreed; the new subject is told."""
    door = house.app.state.door
    co, ap = (Caller(kind="staff", key_id=one, staff_id=one) for one in ("co", "ap"))
    proposed = await door.act(AppointStaff(staff_id="new", standing="moderator"), caller=co)
    granted = await door.act(GrantApproval(approval_id=proposed.record_id), caller=ap)
    assert (proposed.outcome, granted.outcome) == ("proposed", "done")
    found = await house.do("au", "GET", f"/v1/responsibility/record/{granted.record_id}{WHY}")
    assert found["proposal"]["by"]["who"] == {"type": "staff", "id": "co"}
    assert [one["by"]["who"]["id"] for one in found["approvers"]] == ["ap"]
    assert found["act"]["who"]["target"] == {"type": "staff", "id": "new"}
    assert found["chain"] is None
