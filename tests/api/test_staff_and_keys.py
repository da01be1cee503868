"""The house itself: who is appointed and dismissed, which keys are let in, and what each key may."""

import asyncio
import hashlib
from typing import Any

import pytest

from service.founding import new_token
from tests.kit import House

pytestmark = pytest.mark.anyio


async def agree(house: House, who: str, receipt: dict[str, Any]) -> dict[str, Any]:
    """A second person's yes to what was proposed: a receipt, or the problem that stood in the way."""
    path = f"/v1/approvals/{receipt['result']['approval_id']}/grant"
    return (await house.ask(who, "POST", path)).json()


async def appointed(house: House, staff_id: str, standing: str, **more: Any) -> dict[str, Any]:
    """Propose by co, agreed to by ap."""
    body = {"standing": standing, **more}
    receipt = await house.do("co", "POST", f"/v1/staff/{staff_id}/standings", body)
    return await agree(house, "ap", receipt)


async def issued(house: House, key_id: str, kind: str = "backend", **more: Any) -> str:
    """Issue a key by two people and let the house ask with it; returns its token."""
    token, prefix, digest = new_token()
    body = {"key_id": key_id, "kind": kind, "token_sha256": digest, "prefix": prefix, **more}
    receipt = await house.do("co", "POST", "/v1/keys", body)
    assert (await agree(house, "ap", receipt))["result"]["state"] == "granted"
    return token


def bearer(token: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", **more}


# Staff


async def test_an_appointment_needs_two_people_and_is_an_interval(house: House) -> None:
    """S212: a standing begins with the second person's yes and is an interval that names who appointed."""
    receipt = await house.do("co", "POST", "/v1/staff/new/standings", {"standing": "moderator"})
    assert (receipt["outcome"], receipt["result"]["persons_needed"]) == ("proposed", 2)
    await house.refused("unknown", "co", "GET", "/v1/staff/new")
    granted = await agree(house, "ap", receipt)
    seen = await house.do("au", "GET", "/v1/staff/new")
    (held,) = seen["intervals"]
    assert (held["standing"], held["until_at"], held["by_record"]) == (
        "moderator",
        None,
        granted["record_id"],
    )
    listed = await house.do("au", "GET", "/v1/staff?standing=moderator")
    assert [one["staff_id"] for one in listed["items"]] == ["mo", "new"]


async def test_nobody_appoints_himself_under_any_id(house: House) -> None:
    """S211, S113: neither one's own staff id nor another id of the same human may be appointed by oneself."""
    await house.refused("own_matter", "co", "POST", "/v1/staff/co/standings", {"standing": "approver"})
    await appointed(house, "co3", "compliance", person_id="ann")
    token, prefix, digest = new_token()
    body = {"key_id": "co3", "kind": "staff", "staff_id": "co3", "token_sha256": digest, "prefix": prefix}
    await agree(house, "ap", await house.do("co", "POST", "/v1/keys", body))
    house.tokens["co3"] = token
    body = {"standing": "moderator", "person_id": "ann"}
    problem = await house.refused("own_matter", "co3", "POST", "/v1/staff/other/standings", body)
    assert problem["rule"] == "staff.appoint-compliance" or problem["rule"] == "none"
    assert [one["out"] for one in await house.records("staff.appoint")][-1] == "refused"


async def test_the_appointed_does_not_agree_to_his_own_appointment(house: House) -> None:
    """S113: who is to be appointed is a party and may not be the second person."""
    receipt = await house.do("co", "POST", "/v1/staff/ap/standings", {"standing": "auditor"})
    problem = await agree(house, "ap", receipt)
    assert problem["code"] == "own_matter"
    assert (await agree(house, "mo", receipt))["result"]["state"] == "granted"


@pytest.mark.parametrize("who", ["ap", "mo", "au", "reg", "head"])
async def test_only_compliance_appoints_and_dismisses(house: House, who: str) -> None:
    """S034: any other standing matches no rule; the post alone gives none and is only counted."""
    problem = await house.refused("refused", who, "POST", "/v1/staff/x/standings", {"standing": "approver"})
    assert problem["rule"] == "none"
    body = {"reason": "post_ended"}
    await house.refused("refused", who, "DELETE", "/v1/staff/cl/standings/classifier", body)
    assert bool(await house.records("staff.appoint")) == (who != "head")


async def test_a_standing_held_is_not_given_again(house: House) -> None:
    """The state comes before the proposal: `already_in_state`."""
    await house.refused(
        "already_in_state", "co", "POST", "/v1/staff/cl/standings", {"standing": "classifier"}
    )


async def test_a_staff_id_stays_one_human(house: House) -> None:
    """S113: a staff id known to be one person is never made another."""
    await appointed(house, "new", "moderator", person_id="ann")
    body = {"standing": "approver", "person_id": "ben"}
    await house.refused("already_assigned", "co", "POST", "/v1/staff/new/standings", body)


async def test_dismissal_ends_the_interval_and_leaves_past_acts(house: House) -> None:
    """S212: what was done under a standing keeps it on record; from then on the standing is gone."""
    await house.refused("reason_missing", "co", "DELETE", "/v1/staff/co2/standings/compliance")
    await house.refused("refused", "ap", "POST", "/v1/keys/im/revocation", {"reason": "routine"})
    await house.do("co2", "POST", "/v1/keys/reg/revocation", {"reason": "routine"})
    house.clock.advance(60)
    await house.do("co", "DELETE", "/v1/staff/co2/standings/compliance", {"reason": "post_ended"})
    (held,) = (await house.do("co", "GET", "/v1/staff/co2"))["intervals"]
    assert held["until_at"] == "2026-11-02T08:01:00.000Z"
    await house.refused("refused", "co2", "POST", "/v1/keys/im/revocation", {"reason": "routine"})
    revocation = (await house.records("key.revoke"))[-1]
    assert revocation["by"]["standing"] == "staff.compliance"
    body = {"reason": "post_ended"}
    await house.refused("not_in_state", "co", "DELETE", "/v1/staff/co2/standings/compliance", body)
    await house.refused("unknown", "co", "DELETE", "/v1/staff/nobody/standings/compliance", body)
    await house.refused("own_matter", "co", "DELETE", "/v1/staff/co/standings/compliance", body)


async def test_the_post_is_never_empty(house: House) -> None:
    """S211: the head is not dismissed but followed; both intervals meet at one instant."""
    body = {"reason": "post_ended"}
    await house.refused(
        "successor_missing", "co", "DELETE", "/v1/staff/head/standings/head_of_content_safety", body
    )
    house.clock.advance(3600)
    await appointed(house, "next", "head_of_content_safety")
    (old,) = (await house.do("co", "GET", "/v1/staff/head"))["intervals"]
    (new,) = (await house.do("co", "GET", "/v1/staff/next"))["intervals"]
    assert old["until_at"] == new["from_at"] == "2026-11-02T09:00:00.000Z"
    assert old["ended_record"] == new["by_record"]
    record = (await house.records("approval.grant"))[-1]
    assert record["p"]["coupled"] == [{"ended": "head_of_content_safety", "of": "predecessor"}]


async def test_ten_appointments_of_one_head_leave_one_head(house: House) -> None:
    """S211: ten proposals at once, agreed to at once: every instant has exactly one head."""
    paths = [f"/v1/staff/h{n}/standings" for n in range(10)]
    body = {"standing": "head_of_content_safety"}
    receipts = await asyncio.gather(*(house.do("co", "POST", path, body) for path in paths))
    await asyncio.gather(*(agree(house, "ap", receipt) for receipt in receipts))
    async with house.db.read() as db:
        rows = await db.fetch(
            "SELECT from_at, until_at FROM staff_role WHERE standing = 'head_of_content_safety' ORDER BY from_at"
        )
    assert len(rows) == 11
    assert sum(row["until_at"] is None for row in rows) == 1


async def test_two_compliance_dismissing_each_other_leave_one(house: House) -> None:
    """S212: the second is no longer compliance when his turn comes."""
    body = {"reason": "post_ended"}
    answers = await asyncio.gather(
        house.ask("co", "DELETE", "/v1/staff/co2/standings/compliance", body),
        house.ask("co2", "DELETE", "/v1/staff/co/standings/compliance", body),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 403]


async def test_nobody_dismisses_the_last_who_could_agree(house: House) -> None:
    """S212, S113: there stay two humans who can appoint a third: one who asks and another who agrees."""
    why = {"reason": "post_ended"}
    await house.do("co", "DELETE", "/v1/staff/ap/standings/approver", why)
    await house.do("co", "DELETE", "/v1/staff/mo/standings/approver", why)
    path = "/v1/staff/co2/standings/compliance"
    problem = await house.refused("successor_missing", "co", "DELETE", path, why)
    assert problem["data"] == {"needed": 2, "why": "appoint_a_successor_first"}
    receipt = await house.do("co", "POST", "/v1/staff/new/standings", {"standing": "approver"})
    await agree(house, "co2", receipt)
    await house.do("co", "DELETE", path, why)
    await house.refused("successor_missing", "co", "DELETE", "/v1/staff/new/standings/approver", why)


async def test_one_human_under_two_ids_is_not_two_who_agree(house: House) -> None:
    """S113, S212: who is left under two staff ids could not agree with himself."""
    why = {"reason": "post_ended"}
    await appointed(house, "kim-1", "compliance", person_id="kim")
    await appointed(house, "kim-2", "approver", person_id="kim")
    house.tokens["kim-1"] = await issued(house, "kim-1", "staff", staff_id="kim-1")
    for staff_id, standing in [("ap", "approver"), ("mo", "approver"), ("co2", "compliance")]:
        await house.do("kim-1", "DELETE", f"/v1/staff/{staff_id}/standings/{standing}", why)
    path = "/v1/staff/co/standings/compliance"
    await house.refused("successor_missing", "kim-1", "DELETE", path, why)


async def test_dismissals_at_once_leave_two_who_agree(house: House) -> None:
    """S212: three dismiss each other at the same instant; each next one looks at what the one before left."""
    why = {"reason": "post_ended"}
    await house.do("co", "DELETE", "/v1/staff/mo/standings/approver", why)
    answers = await asyncio.gather(
        house.ask("co", "DELETE", "/v1/staff/ap/standings/approver", why),
        house.ask("co2", "DELETE", "/v1/staff/co/standings/compliance", why),
        house.ask("co", "DELETE", "/v1/staff/co2/standings/compliance", why),
    )
    assert [answer.status_code for answer in answers].count(200) == 1


async def test_a_regulator_holds_nothing_else(house: House) -> None:
    """S190: nobody is appointed beside `regulator`, nor made one beside another standing or post, under any id of his."""
    alone = {"why": "regulator_stands_alone"}
    for staff_id, standing in [("reg", "moderator"), ("reg", "head_of_content_safety"), ("mo", "regulator")]:
        path = f"/v1/staff/{staff_id}/standings"
        problem = await house.refused("not_eligible", "co", "POST", path, {"standing": standing})
        assert (problem["pointer"], problem["data"]) == ("/standing", alone)
    await house.refused("not_eligible", "co", "POST", "/v1/staff/head/standings", {"standing": "regulator"})
    await appointed(house, "reader", "regulator", person_id="ann")
    body = {"standing": "approver", "person_id": "ann"}
    await house.refused("not_eligible", "co", "POST", "/v1/staff/other/standings", body)


async def test_two_proposals_do_not_make_a_regulator_who_acts(house: House) -> None:
    """S190, S115: both were asked for while he held nothing; the second yes finds what the first one gave."""
    path = "/v1/staff/new/standings"
    first = await house.do("co", "POST", path, {"standing": "regulator"})
    await agree(house, "ap", first)
    await house.refused("not_eligible", "co", "POST", path, {"standing": "moderator"})
    body = {"reason": "post_ended"}
    await house.do("co", "DELETE", f"{path}/regulator", body)
    second = await house.do("co", "POST", path, {"standing": "moderator", "person_id": "ann"})
    other = await house.do(
        "co2", "POST", "/v1/staff/x/standings", {"standing": "regulator", "person_id": "ann"}
    )
    answers = await asyncio.gather(agree(house, "ap", second), agree(house, "ap", other))
    assert sorted(one.get("code", "done") for one in answers) == ["done", "facts_changed"]


# Keys


async def test_a_kind_of_key_fits_what_its_holder_holds(house: House) -> None:
    """S189, S190: no staff key for an authority's reader, no regulator's key for staff, none for who holds nothing now."""
    _, prefix, digest = new_token()
    body = {"key_id": "k", "token_sha256": digest, "prefix": prefix}
    await appointed(house, "left", "moderator")
    await house.do("co", "DELETE", "/v1/staff/left/standings/moderator", {"reason": "post_ended"})
    for holder, kind in [("reg", "staff"), ("mo", "regulator"), ("left", "staff"), ("left", "regulator")]:
        asked = body | {"kind": kind, "staff_id": holder}
        problem = await house.refused("not_eligible", "co", "POST", "/v1/keys", asked)
        assert (problem["pointer"], problem["data"]) == ("/kind", {"why": "standing_missing"})


async def test_the_holder_of_a_key_does_not_agree_to_it(house: House) -> None:
    """S113: whom a key would be bound to is a party under any id, be he an approver; he may ask for it."""
    await appointed(house, "ap2", "approver", person_id="ann")
    await appointed(house, "ann-again", "approver", person_id="ann")
    house.tokens["ann-again"] = await issued(house, "ann-again", "staff", staff_id="ann-again")
    for holder, who in [("ap", "ap"), ("ap2", "ann-again")]:
        _, prefix, digest = new_token()
        body = {"key_id": f"{holder}-2", "kind": "staff", "staff_id": holder}
        asked = await house.do("co", "POST", "/v1/keys", body | {"token_sha256": digest, "prefix": prefix})
        assert (await agree(house, who, asked))["code"] == "own_matter"
        assert (await agree(house, "mo", asked))["result"]["state"] == "granted"
    _, prefix, digest = new_token()
    body = {"key_id": "co-2", "kind": "staff", "staff_id": "co", "token_sha256": digest, "prefix": prefix}
    asked = await house.do("co", "POST", "/v1/keys", body)
    assert (await agree(house, "ap", asked))["result"]["state"] == "granted"


async def test_a_key_lends_only_what_its_kind_may(house: House) -> None:
    """S189, S190: a staff key of who became a regulator opens nothing, nor a regulator's of who came to staff."""
    await house.has_people("eve", credit=100)
    why = {"reason": "post_ended"}
    for staff_id, was, is_now in [("cl2", "classifier", "regulator"), ("reg", "regulator", "moderator")]:
        await house.do("co", "DELETE", f"/v1/staff/{staff_id}/standings/{was}", why)
        await appointed(house, staff_id, is_now)
        for path in ("/v1/approvals", "/v1/people/eve", "/v1/keys", "/v1/measures"):
            await house.refused("refused", staff_id, "GET", path)
        await house.refused("refused", staff_id, "GET", "/v1/trails/person/eve?purpose=order+17")
        body = {"points": -5, "reason": "spam", "note": "three times"}
        await house.refused("refused", staff_id, "POST", "/v1/credit/person/eve/adjustments", body)
    token = await issued(house, "mo-reg", "staff", staff_id="reg")
    assert (await house.client.get("/v1/approvals", headers=bearer(token))).status_code == 200


async def test_a_key_is_issued_by_two_people_and_never_shown(house: House) -> None:
    """A token's hash is let in by the second person's yes; no answer and no record holds token or hash."""
    token, prefix, digest = new_token()
    body = {"key_id": "im2", "kind": "backend", "token_sha256": digest, "prefix": prefix}
    receipt = await house.do("co", "POST", "/v1/keys", body)
    assert receipt["outcome"] == "proposed"
    early = await house.client.get("/v1/editions", headers=bearer(token))
    assert (early.status_code, early.json()["code"]) == (401, "key_invalid")
    await house.refused("approval_pending", "co2", "POST", "/v1/keys", body)
    assert (await agree(house, "co", receipt))["code"] == "own_matter"
    await agree(house, "ap", receipt)
    assert (await house.client.get("/v1/editions", headers=bearer(token))).status_code == 200
    listed = await house.ask("au", "GET", "/v1/keys")
    assert "im2" in {one["key_id"] for one in listed.json()["items"]}
    said = listed.text + str(await house.records())
    assert token not in said
    assert digest not in said
    await house.refused("already_exists", "co", "POST", "/v1/keys", body)


async def test_a_key_says_whom_it_is_bound_to(house: House) -> None:
    """A backend's key is nobody's, any other is somebody's; unknown holders, nouns and past ends are refused."""
    _, prefix, digest = new_token()
    body = {"key_id": "k", "kind": "backend", "token_sha256": digest, "prefix": prefix}
    for wrong, pointer in [
        ({"staff_id": "co"}, "/staff_id"),
        ({"kind": "staff"}, "/staff_id"),
        ({"families": ["group", "nonsense"]}, "/families/1"),
        ({"expires_at": "2026-11-02T07:59:59Z"}, "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:00"}, "/expires_at"),
        ({"tiers": [5]}, "/tiers/0"),
        ({"token": "mk_secret"}, "/token"),
    ]:
        problem = await house.refused("malformed", "co", "POST", "/v1/keys", body | wrong)
        assert problem["pointer"] == pointer
    await house.refused("unknown", "co", "POST", "/v1/keys", body | {"kind": "staff", "staff_id": "nobody"})


async def test_a_revoked_key_is_refused_at_once(house: House) -> None:
    """S003: whether a key holds is asked inside each act and each read, never remembered."""
    token = await issued(house, "im2")
    assert (await house.client.get("/v1/editions", headers=bearer(token))).status_code == 200
    await house.do("co", "POST", "/v1/keys/im2/revocation", {"reason": "key_exposed"})
    read = await house.client.get("/v1/editions", headers=bearer(token))
    path, headers = "/v1/groups/g/mutes", bearer(token, **{"idempotency-key": "x", "x-on-behalf-of": "ann"})
    act = await house.client.post(path, json={"person_id": "dan", "seconds": 60}, headers=headers)
    assert [read.json()["code"], act.json()["code"]] == ["key_invalid", "key_invalid"]
    await house.refused("not_in_state", "co", "POST", "/v1/keys/im2/revocation", {"reason": "key_exposed"})
    await house.refused("unknown", "co", "POST", "/v1/keys/none/revocation")


async def test_an_expired_key_is_refused_and_a_rotated_one_serves(house: House) -> None:
    """A key ends at its instant, to the millisecond; beside it a new one with the same scopes already serves."""
    old = await issued(house, "im2", expires_at="2026-11-02T09:00:00Z", families=["edition"])
    new = await issued(house, "im3", families=["edition"])
    house.clock.advance(3599.999)
    assert (await house.client.get("/v1/editions", headers=bearer(old))).status_code == 200
    house.clock.advance(0.001)
    assert (await house.client.get("/v1/editions", headers=bearer(old))).status_code == 401
    assert (await house.client.get("/v1/editions", headers=bearer(new))).status_code == 200
    await house.do("co", "POST", "/v1/keys/im3/revocation", {"reason": "routine"})
    assert (await house.client.get("/v1/editions", headers=bearer(new))).status_code == 401


@pytest.mark.parametrize(
    ("scope", "lacks"),
    [
        ({"families": ["account"]}, "family"),
        ({"tiers": [1, 3]}, "tier"),
        ({"jurisdictions": ["CN-310000", "EU"]}, "jurisdiction"),
    ],
)
async def test_a_key_reaches_no_further_than_its_scopes(
    house: House, scope: dict[str, Any], lacks: str
) -> None:
    """S006: what a key has no scope for is refused with `key_scope`: on record for callers with standing, else counted."""
    await house.has_group("g", "ann", ("ben",), ("dan",))
    await house.has_people("eve")
    token = await issued(house, "im2", **scope)

    async def mute(who: str, key: str) -> Any:
        headers = bearer(token, **{"idempotency-key": key, "x-on-behalf-of": who})
        body = {"person_id": "dan", "seconds": 60, "reason": "spam"}
        return await house.client.post("/v1/groups/g/mutes", json=body, headers=headers)

    problem = (await mute("ann", "1")).json()
    assert (problem["code"], problem["data"]["lacks"]) == ("key_scope", lacks)
    stranger = (await mute("eve", "2")).json()
    assert (stranger["code"], "record_id" in stranger) == ("key_scope", False)
    (record,) = await house.records("group.mute")
    assert (record["id"], record["p"]["refusal"]["code"]) == (problem["record_id"], "key_scope")


async def test_a_wider_territory_holds_the_narrower(house: House) -> None:
    """A key for CN-110000 or CN reaches a group of CN-110000."""
    await house.has_group("g", "ann", ("ben",), ("dan",))
    for place in ("CN", "CN-110000"):
        token = await issued(house, f"key-{place}", jurisdictions=[place], families=["group"], tiers=[2])
        headers = bearer(token, **{"idempotency-key": place, "x-on-behalf-of": "ann"})
        body = {"person_id": "dan", "seconds": 60, "reason": "spam"}
        assert (await house.client.post("/v1/groups/g/mutes", json=body, headers=headers)).status_code == 200


async def test_staff_act_for_nobody(house: House) -> None:
    """S020: a staff key that names a person to act for is malformed, at acts and at reads."""
    headers = {"x-on-behalf-of": "ann"}
    body = {"reason": "routine"}
    problem = await house.refused("malformed", "co", "POST", "/v1/keys/im/revocation", body, headers=headers)
    assert problem["pointer"] == "X-On-Behalf-Of"
    await house.refused("malformed", "co", "GET", "/v1/keys", headers=headers)


async def test_only_staff_see_staff_and_keys(house: House) -> None:
    """S019: who works here, and with which keys, is no concern of those it is about."""
    for who in ("im", "ann", "reg"):
        for path in ("/v1/staff", "/v1/staff/co", "/v1/keys"):
            await house.refused("refused", who, "GET", path)


async def test_lists_go_on_where_the_page_ended(house: House) -> None:
    """A cursor is opaque: pages join without gap or repetition, and a made-up one is malformed."""
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        further = "" if cursor is None else f"&cursor={cursor}"
        page = await house.do("au", "GET", f"/v1/staff?limit=2{further}")
        seen += [one["staff_id"] for one in page["items"]]
        cursor = page["next"]
    assert seen == sorted(["head", "co", "co2", "ap", "mo", "cl", "cl2", "au", "reg"])
    for path in ("/v1/staff?cursor=%25", "/v1/keys?limit=0", "/v1/keys?limit=x", "/v1/editions?cursor=YWJj"):
        await house.refused("malformed", "au", "GET", path)


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(database: Any, tmp_path: Any) -> None:
    """Every answer says what the key has left; beyond it `too_many` with Retry-After, for this key alone."""
    async with House.open(database.service_dsn, tmp_path, rate_limit_per_minute=5) as house:
        answers = [await house.ask("au", "GET", "/v1/editions") for _ in range(4)]
        answers.append(await house.ask("au", "POST", "/v1/keys", b"{"))
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["4", "3", "2", "1", "0"]
        assert [answer.status_code for answer in answers] == [200] * 4 + [415]
        last = await house.ask("au", "GET", "/v1/editions")
        assert (last.status_code, last.json()["code"]) == (429, "too_many")
        assert 1 <= int(last.headers["retry-after"]) <= 60
        assert last.headers["ratelimit-limit"] == "5"
        assert last.json()["data"]["seconds"] == int(last.headers["retry-after"])
        assert (await house.ask("co", "GET", "/v1/editions")).status_code == 200


def test_a_token_is_long_random_and_known_by_its_prefix() -> None:
    """256 random bits; only the SHA-256 leaves whoever made it."""
    token, prefix, digest = new_token()
    assert token.startswith(f"{prefix}_")
    assert len(token) >= 50
    assert digest == hashlib.sha256(token.encode()).hexdigest()


async def test_a_request_key_belongs_to_the_api_key(house: House) -> None:
    """S010: under a key that took another's place the same request is a new act; under its own it is answered again."""
    await house.has_group("g", "ann", (), ("dan",))
    mute = ("POST", "/v1/groups/g/mutes", {"person_id": "dan", "seconds": 60, "reason": "spam"})
    first = await house.do("ann", *mute, key="k")
    assert await house.do("ann", *mute, key="k") == first
    rotated = bearer(await issued(house, "im-2"))
    second = await house.do("ann", *mute, key="k", headers=rotated)
    assert second["record_id"] != first["record_id"]
    assert [one["out"] for one in await house.records("group.mute")] == ["done", "done"]
