"""Asking whether an act may be done, and why, without doing it."""

from typing import Any

import pytest

from tests.kit import House

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house_of_groups(house: House) -> House:
    """Groups g (tier 2), heavy (tier 4), secret (by invitation only) and gone (dissolved), all with the same people."""
    await house.has_group("g", "ann", ("ben", "cai"), ("dan", "eve"))
    await house.has_group("heavy", "ann", ("ben",), ("dan",), tier=4)
    await house.has_group("secret", "ann", ("ben",), ("dan",), join_mode="invite")
    at = house.clock.now()
    await house.has_group("gone", "ann", ("ben",), ("dan",), dissolved_at=at, dissolved_how="owner")
    await house.has_people("zoe")
    await house.ask(
        "ann", "POST", "/v1/groups/g/mutes", {"person_id": "eve", "seconds": 90, "reason": "fraud"}
    )
    return house


def acts() -> list[tuple[str, dict[str, Any]]]:
    """Everybody does everything to everybody, in every group and for several terms."""
    found = []
    for group in ("g", "heavy", "secret", "gone", "nowhere"):
        for who in ("ann", "ben", "dan", "zoe", "nobody", "im", "mo", "reg"):
            for whom in ("ann", "cai", "dan"):
                mute = {"action": "group.mute", "group_id": group, "person_id": whom, "seconds": 60}
                found.append((who, {**mute, "reason": "fraud"}))
            found.append((who, {**mute, "seconds": 604_801, "reason": "fraud"}))
            found.append((who, {**mute, "person_id": "eve", "reason": "no_such_reason"}))
            found.append((who, {**mute, "person_id": "eve", "seconds": 0}))
            found.append((who, {"action": "group.unmute", "group_id": group, "person_id": "eve"}))
            found.append((who, {"action": "group.unmute", "group_id": group, "person_id": "zoe"}))
    return found


async def test_a_check_equals_the_act(house_of_groups: House) -> None:
    """S014: for every caller, target and term: check, then act at the same instant: same status, code and rule."""
    house = house_of_groups
    seen = set()
    for who, act in acts():
        check = await house.do(who, "POST", "/v1/checks", act)
        body = {name: value for name, value in act.items() if name not in {"action", "group_id"}}
        if act["action"] == "group.mute":
            done = await house.ask(who, "POST", f"/v1/groups/{act['group_id']}/mutes", body)
        else:
            del body["person_id"]
            path = f"/v1/groups/{act['group_id']}/mutes/{act['person_id']}"
            done = await house.ask(who, "DELETE", path, body)
        told = done.json()
        assert (check["status"], check["code"]) == (done.status_code, told.get("code", "")), (who, act)
        if done.status_code in {200, 403}:
            assert check["rule"] == told["rule"], (who, act)
        if check["refusal"] is not None:
            # What was only checked has neither record nor receipt.
            told.pop("record_id", None)
            told.pop("receipt", None)
            assert check["refusal"] == told
        seen.add(check["code"])
    assert {
        "",
        "refused",
        "rank_not_lower",
        "self_target",
        "unknown",
        "group_dissolved",
        "not_in_group",
    } <= seen
    assert {
        "duration_over_limit",
        "duration_zero",
        "reason_missing",
        "rank_not_lower",
        "not_in_state",
    } <= seen


async def test_a_check_changes_and_records_nothing(house_of_groups: House) -> None:
    """S014: no record, no effect, no request key; the answer names the rule and the facts it rests on."""
    house = house_of_groups
    before = len(await house.records()), len(await house.effects())
    act = {"action": "group.mute", "group_id": "g", "person_id": "dan", "seconds": 60, "reason": "fraud"}
    headers = {"authorization": f"Bearer {house.tokens['im']}", "x-on-behalf-of": "ben"}
    check = (await house.client.post("/v1/checks", json=act, headers=headers)).json()
    assert (check["allowed"], check["outcome"], check["rule"]) == (True, "done", "group.mute-admin")
    assert check["facts"] == {
        "standings": ["admin"],
        "relations": ["any", "here", "lower"],
        "tier": 2,
        "class": "community",
        "jurisdiction": "CN-110000",
        "target_standing": "member",
        "version": 1,
    }
    assert (len(await house.records()), len(await house.effects())) == before


async def test_a_check_tells_a_stranger_no_facts_of_a_private_group(house_of_groups: House) -> None:
    """S014: what the caller may not know is not told by asking either."""
    act = {"action": "group.mute", "group_id": "secret", "person_id": "dan", "seconds": 60}
    check = await house_of_groups.do("zoe", "POST", "/v1/checks", act)
    assert (check["code"], check["facts"]) == ("unknown", None)


async def test_a_check_looks_at_the_version_and_the_key(house_of_groups: House) -> None:
    """S012, S014: an expected version and the key's scopes count as they would for the act."""
    house = house_of_groups
    act = {"action": "group.mute", "group_id": "g", "person_id": "dan", "seconds": 60, "reason": "fraud"}
    assert (await house.do("ben", "POST", "/v1/checks", act, version=9))["code"] == "version_stale"
    async with house.db.transaction() as tx:
        await tx.execute("""UPDATE api_key SET jurisdictions = '["EU"]' WHERE key_id = 'im'""")
    assert (await house.do("ben", "POST", "/v1/checks", act))["code"] == "key_scope"
    async with house.db.transaction() as tx:
        await tx.execute("UPDATE api_key SET revoked_at = $1 WHERE key_id = 'im'", house.clock.now())
    assert (await house.do("ben", "POST", "/v1/checks", act))["code"] == "key_invalid"


async def test_a_malformed_check_is_refused_with_a_pointer(house_of_groups: House) -> None:
    """S014: what cannot be asked cannot be checked; what only time does is not asked for."""
    house = house_of_groups
    problem = await house.refused("malformed", "ben", "POST", "/v1/checks", {"action": "group.mute"})
    assert problem["pointer"] == "/group_id"
    problem = await house.refused(
        "malformed",
        "ben",
        "POST",
        "/v1/checks",
        {"action": "group.expire_mute", "group_id": "g", "person_id": "dan"},
    )
    assert problem["pointer"] == "/action"


async def test_a_reader_may_ask_whether_he_may_read(house_of_groups: House) -> None:
    """S014, S189: reading a trail is an act too, and can be asked about without leaving a record."""
    act = {"action": "trail.read", "subject_type": "group", "subject_id": "g", "purpose": "case 17"}
    assert (await house_of_groups.do("au", "POST", "/v1/checks", act))["rule"] == "trail.read-auditor"
    assert (await house_of_groups.do("reg", "POST", "/v1/checks", act))["code"] == "outside_scope"
    assert await house_of_groups.records("trail.read") == []
