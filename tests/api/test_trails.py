"""Trails and records read back: by whom, where, for what, and what of it is on record."""

from typing import Any

import asyncpg
import msgspec
import pytest

from service.policy import Policy
from tests.conftest import Database
from tests.kit import POLICIES, House

pytestmark = pytest.mark.anyio
WHY = "?purpose=case+17"


@pytest.fixture
async def group(house: House) -> House:
    """Group g in CN-110000: ann owns it, ben is admin, dan and eve members."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    return house


async def mute(house: House, who: str, whom: str, seconds: int = 60, **more: Any) -> Any:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud", **more}
    return await house.ask(who, "POST", "/v1/groups/g/mutes", body)


async def territories(house: House, key_id: str, *jurisdictions: str) -> None:
    """Arrange the territories of a key (past the API)."""
    async with house.db.transaction() as tx:
        await tx.execute(
            "UPDATE api_key SET jurisdictions = $2 WHERE key_id = $1", key_id, list(jurisdictions)
        )


async def test_a_trail_tells_who_did_what_under_which_rule_refusals_included(group: House) -> None:
    """S002, S005, S006: a trail lists acts and refusals in their order, with actor, rule, edition and subjects by id."""
    await mute(group, "ben", "dan", note="second warning")
    await mute(group, "dan", "eve")
    page = await group.do("au", "GET", "/v1/trails/group/g" + WHY)
    first, second = page["items"]
    assert (first["act"], first["outcome"], first["code"]) == ("group.mute", "done", None)
    assert first["by"] == {
        "kind": "person",
        "standing": "group.admin",
        "who": {"type": "person", "id": "ben"},
    }
    assert first["who"] == {
        "target": {"type": "group", "id": "g"},
        "person": {"type": "person", "id": "dan"},
    }
    assert first["rule"] == "group.mute-admin"
    assert first["reason"] == "fraud"
    assert first["record"]["id"] == first["record_id"]
    assert first["edition"] == first["record"]["policy"]
    assert (second["outcome"], second["code"], second["rule"]) == ("refused", "refused", "none")
    assert page["next"] is None


async def test_staff_see_personal_fields_and_authorities_never(group: House) -> None:
    """S019: a note is opened for entitled staff; an authority sees that there is one and no more."""
    await mute(group, "ben", "dan", note="second warning")
    [seen] = (await group.do("mo", "GET", "/v1/trails/person/dan" + WHY))["items"]
    assert (seen["fields"], seen["withheld"]) == ({"note": "second warning"}, [])
    await territories(group, "reg", "CN-110000")
    answer = await group.ask("reg", "GET", "/v1/trails/person/dan" + WHY)
    assert answer.status_code == 200
    assert "second warning" not in answer.text
    assert "case 17" not in answer.text
    assert answer.json()["items"][0]["withheld"] == ["note"]


async def test_each_read_is_itself_a_record_in_the_trail_it_read(group: House) -> None:
    """S021: who read what and for what is a record, without request key, and the next reader sees it."""
    await mute(group, "ben", "dan")
    await group.do("au", "GET", "/v1/trails/group/g?purpose=audit+of+mutes&action=group.mute")
    *_, read = (await group.do("co", "GET", "/v1/trails/group/g" + WHY))["items"]
    assert (read["act"], read["outcome"], read["rule"]) == ("trail.read", "done", "trail.read-auditor")
    assert read["by"]["who"] == {"type": "staff", "id": "au"}
    assert read["record"]["p"]["asked"] == {"view": "trail", "action": "group.mute"}
    assert read["record"]["req"] is None
    assert read["fields"] == {"purpose": "audit of mutes"}


@pytest.mark.parametrize("query", ["", "?purpose=", "?purpose=...", "?purpose=%20%20%20"])
async def test_a_read_without_purpose_is_refused_and_recorded(group: House, query: str) -> None:
    """S018, S021: purpose is not an ornament; without one the attempt is on record."""
    problem = await group.refused("purpose_missing", "au", "GET", "/v1/trails/group/g" + query)
    assert problem["pointer"] == "purpose"
    [record] = await group.records("trail.read")
    assert (record["out"], record["id"]) == ("refused", problem["record_id"])


async def test_a_regulator_reads_only_inside_the_territories_of_his_key(group: House) -> None:
    """S189: none without territories, none outside them, all inside; each try is on record."""
    await group.refused("outside_scope", "reg", "GET", "/v1/trails/group/g" + WHY)
    await territories(group, "reg", "CN-310000", "EU")
    await group.refused("outside_scope", "reg", "GET", "/v1/trails/group/g" + WHY)
    await territories(group, "reg", "CN-310000", "CN-110000")
    assert (await group.ask("reg", "GET", "/v1/trails/group/g" + WHY)).status_code == 200
    outs = [one["out"] for one in await group.records("trail.read")]
    assert outs == ["refused", "refused", "done"]


async def test_staff_read_inside_the_territory_of_key_and_post(group: House) -> None:
    """S189: a moderator of another place, by key or by post, reads nothing here."""
    await territories(group, "mo", "CN-310000")
    await group.refused("outside_scope", "mo", "GET", "/v1/trails/group/g" + WHY)
    async with group.db.transaction() as tx:
        await tx.execute("UPDATE staff SET jurisdiction = 'EU' WHERE staff_id = 'au'")
    await group.refused("outside_scope", "au", "GET", "/v1/trails/group/g" + WHY)


@pytest.mark.parametrize("who", ["im", "ann", "dan", "cl", "ap"])
async def test_nobody_else_reads_trails(group: House, who: str) -> None:
    """S021: backends, people and other staff match no rule; a subject's existence is not told to them."""
    for path in ("/v1/trails/group/g", "/v1/responsibility/group/g"):
        problem = await group.refused("refused", who, "GET", path + WHY)
        assert problem["rule"] == "none"
    if who in {"im", "ann"}:
        await group.refused("refused", who, "GET", "/v1/trails/group/nowhere" + WHY)


async def test_an_unknown_subject_has_no_trail(group: House) -> None:
    """S021: 404 for what nobody knows, and no record of it."""
    for path in ("group/nowhere", "person/nobody", "planet/mars", "case/c1", "group/" + "x" * 129):
        await group.refused("unknown", "au", "GET", f"/v1/trails/{path}" + WHY)
    await group.refused("unknown", "au", "GET", "/v1/records/nonsense" + WHY)
    await group.refused("unknown", "au", "GET", "/v1/records/01a0c450-6f84-7000-8000-000000000001" + WHY)
    assert await group.records("trail.read") == []


async def test_every_subject_of_a_record_can_be_told(group: House) -> None:
    """S004: whoever stands in a record can be told by id: persons, groups, staff, keys and territories."""
    await mute(group, "ben", "dan")
    await group.do("au", "GET", "/v1/trails/group/g" + WHY)
    async with group.db.read() as db:
        untold = await db.fetchval(
            "SELECT count(*) FROM record r, jsonb_array_elements_text(convert_from(r.body, 'UTF8')::jsonb -> 'subj') AS s (tag)"
            " WHERE NOT EXISTS (SELECT FROM subject_name n WHERE n.tag = decode(s.tag, 'hex'))"
        )
        told = {(row["type"], row["id"]) for row in await db.fetch("SELECT type, id FROM subject_name")}
    assert untold == 0
    assert {
        ("person", "ben"),
        ("person", "dan"),
        ("group", "g"),
        ("staff", "au"),
        ("staff", "key:im"),
        ("jurisdiction", "CN"),
        ("jurisdiction", "CN-110000"),
    } <= told


async def test_a_rolled_back_set_does_not_count_as_told(group: House) -> None:
    """S001: what a failed set would have told is told by the next one."""
    async with group.db.transaction() as tx:
        await tx.execute("DELETE FROM request_key")
    broken = group.app.state.door._sets._keys
    group.app.state.door._sets._keys = None
    assert (await mute(group, "ben", "dan")).status_code == 503
    group.app.state.door._sets._keys = broken
    assert (await mute(group, "ben", "dan")).status_code == 200
    [item] = (await group.do("au", "GET", "/v1/trails/person/dan" + WHY))["items"]
    assert item["by"]["who"] == {"type": "person", "id": "ben"}


async def test_filters_narrow_a_trail(group: House) -> None:
    """S021: actor, action, outcome, reason, rule and time each choose what they say."""
    await mute(group, "ben", "dan")
    await mute(group, "dan", "eve")
    group.clock.advance(60)
    await group.ask("ann", "DELETE", "/v1/groups/g/mutes/dan", {"reason": "error_corrected"})
    path = "/v1/trails/group/g" + WHY

    async def acts(query: str) -> list[tuple[str, str]]:
        page = await group.do("au", "GET", f"{path}&{query}")
        return [(one["act"], one["outcome"]) for one in page["items"] if one["act"] != "trail.read"]

    muted, refused, unmuted = ("group.mute", "done"), ("group.mute", "refused"), ("group.unmute", "done")
    assert await acts("action=group.unmute") == [unmuted]
    assert await acts("outcome=refused") == [refused]
    assert await acts("actor_type=person&actor_id=ben") == [muted]
    assert await acts("reason=error_corrected") == [unmuted]
    assert await acts("rule=group.mute-admin") == [muted]
    assert await acts("from=2026-11-02T08:01:00Z") == [unmuted]
    assert await acts("to=2026-11-02T08:01:00Z") == [muted, refused]


async def test_pages_give_each_record_once_and_end_where_the_first_read_began(group: House) -> None:
    """S021: pages are ascending, nothing twice or lost, and reading on does not lengthen what is read."""
    for seconds in range(60, 67):
        await mute(group, "ben", "dan", seconds)
    ids, query, pages = [], WHY + "&limit=3", 0
    cursor = ""
    while True:
        page = await group.do("au", "GET", f"/v1/trails/group/g{query}{cursor}")
        ids += [one["record_id"] for one in page["items"]]
        pages += 1
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert pages == 3
    assert ids == [one["id"] for one in await group.records("group.mute")]
    await group.refused("malformed", "au", "GET", f"/v1/trails/person/dan{WHY}&limit=3{cursor}")


async def test_a_page_has_at_most_as_many_records_as_the_policy_says(group: House) -> None:
    """S021: trail_page_max is the largest limit."""
    problem = await group.refused("malformed", "au", "GET", f"/v1/trails/group/g{WHY}&limit=501")
    assert problem["pointer"] == "limit"
    await group.do("au", "GET", f"/v1/trails/group/g{WHY}&limit=500")


async def test_one_record_is_read_by_its_id(group: House) -> None:
    """S021: a record's read is a record of its own, linked to what was read."""
    receipt = (await mute(group, "ben", "dan", note="second warning")).json()
    answer = await group.do("co", "GET", f"/v1/records/{receipt['record_id']}" + WHY)
    assert answer["item"]["record_id"] == receipt["record_id"]
    assert answer["item"]["fields"] == {"note": "second warning"}
    [read] = await group.records("trail.read")
    assert (read["id"], read["links"]) == (answer["read_record_id"], [receipt["record_id"]])
    await group.refused("outside_scope", "reg", "GET", f"/v1/records/{receipt['record_id']}" + WHY)


@pytest.mark.unreconciled("a key is erased by hand")
async def test_an_erased_key_leaves_the_record_and_takes_the_value(group: House, database: Database) -> None:
    """S019: with the data subject's key gone a field is withheld, and the record still says that it was there."""
    await mute(group, "ben", "dan", note="second warning")
    owner = await asyncpg.connect(database.owner_dsn)
    await owner.execute("DELETE FROM subject_key")
    await owner.close()
    [seen] = (await group.do("mo", "GET", "/v1/trails/person/dan" + WHY))["items"]
    assert (seen["fields"], seen["withheld"]) == ({}, ["note"])


async def test_a_key_without_the_family_trail_reads_none(group: House) -> None:
    """S021: a key limited to families must name trail."""
    async with group.db.transaction() as tx:
        await tx.execute("""UPDATE api_key SET families = '["case"]' WHERE key_id = 'mo'""")
    await group.refused("key_scope", "mo", "GET", "/v1/trails/group/g" + WHY)


async def test_a_regulator_has_no_act_but_looking(group: House) -> None:
    """S190: the policy has no line that lets a regulator change anything, and every route that acts refuses him."""
    policy = Policy.from_folder(POLICIES)
    lines = [line for line in policy.lines if line.standing == "regulator"]
    assert {line.action for line in lines if line.effect == "allow"} == {"trail.read", "trail.export"}
    await territories(group, "reg", "CN")
    tried = 0
    for route in group.app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if "action" not in handler.opt:
                continue
            path = route.path_format
            for name, value in {"group_id": "g", "person_id": "dan"}.items():
                path = path.replace(f"{{{name}}}", value)
            if "{" in path:
                continue
            [method] = handler.http_methods
            body = msgspec.to_builtins(handler.opt["example"])
            answer = await group.ask("reg", method, path, body)
            assert answer.status_code in {400, 403, 404, 409, 428}, (path, answer.text)
            tried += answer.status_code == 403
    assert tried
