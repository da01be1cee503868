"""Legal holds, redaction of single values and retirement of bodies: who, when, on what basis, and what every bundle shows after."""

import asyncio
import datetime as dt
import json
import re
import shutil
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.domain.retention.purge import Purge
from service.policy import check
from tests.conftest import REPOSITORY, Database
from tests.kit import House
from tests.taking import HOLD, agreed, body, export, hold, lines, release, verify

pytestmark = pytest.mark.anyio
BASIS = {"legal_basis": ["pipl:art.47"]}
TERM_OVER = {"legal_basis": ["pipl:art.19"]}
HALF_YEAR = 190 * 86_400
FOURTEEN_MONTHS = 430 * 86_400


@pytest.fixture
async def group(house: House) -> House:
    """Group g, in which ben muted dan and eve, each with a note, logged and signed."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    for whom in ("dan", "eve"):
        asked = {"person_id": whom, "seconds": 60, "reason": "fraud", "note": f"about {whom}, at length"}
        await house.do("ben", "POST", "/v1/groups/g/mutes", asked)
    await house.publish()
    return house


async def noted(house: House, whom: str) -> str:
    """The id of the record that muted somebody."""
    tag = house.app.state["keys"].tag("person", whom).hex()
    [found] = [one for one in await house.records("group.mute") if tag in one["subj"]]
    return found["id"]


# Legal holds


async def test_a_hold_says_who_why_and_what(group: House) -> None:
    """S202: compliance alone sets a hold, with a reason, on something that is known; others are not even shown it."""
    asked = HOLD | {"subject_type": "group", "subject_id": "g"}
    receipt = await group.do("co", "POST", "/v1/legal-holds", asked)
    hold_id = receipt["result"]["hold_id"]
    assert hold_id == receipt["record_id"]
    answer = await group.ask("au", "GET", f"/v1/legal-holds/{hold_id}")
    assert answer.headers["etag"] == '"1"'
    seen = answer.json()
    assert (seen["set_by"], seen["reason"], seen["subject_id"]) == ("co", "proceedings", "g")
    [told] = await group.records("legal_hold.set")
    assert (told["why"], list(told["sd"]), told["out"]) == ("proceedings", ["note"], "done")
    for who in ("mo", "ap", "cl", "reg", "im", "ann"):
        await group.refused("refused", who, "POST", "/v1/legal-holds", asked)
        await group.refused("refused", who, "GET", "/v1/legal-holds")
        await group.refused("refused", who, "GET", f"/v1/legal-holds/{hold_id}")
    await group.refused("reason_missing", "co", "POST", "/v1/legal-holds", asked | {"reason": None})
    await group.refused("reason_missing", "co", "POST", "/v1/legal-holds", asked | {"reason": "no_such"})
    await group.refused("unknown", "co", "POST", "/v1/legal-holds", asked | {"subject_id": "nothing"})
    await group.refused("unknown", "co", "GET", "/v1/legal-holds/nothing")


async def test_a_hold_is_released_by_two_and_only_once(group: House) -> None:
    """S202: letting go takes a second person who did not propose it; released, it stays in the list as it was."""
    first, second = await hold(group, "group", "g"), await hold(group, "group", "g")
    path = f"/v1/legal-holds/{first}"
    await group.refused("reason_missing", "co", "DELETE", path, {})
    proposal = await group.do("co", "DELETE", path, {"reason": "proceedings_over"})
    await group.refused("own_matter", "co", "POST", f"/v1/approvals/{proposal['record_id']}/grant", {})
    listed = await group.do("co", "GET", "/v1/legal-holds?state=open&subject_type=group&subject_id=g")
    assert [one["hold_id"] for one in listed["items"]] == [first, second]
    await agreed(group, proposal, "ap")
    await group.refused("not_in_state", "co", "DELETE", path, {"reason": "proceedings_over"})
    page = await group.do("au", "GET", "/v1/legal-holds?limit=1")
    assert [one["ended_at"] is None for one in page["items"]] == [False]
    following = await group.do("au", "GET", f"/v1/legal-holds?limit=1&cursor={page['next']}")
    assert [one["hold_id"] for one in following["items"]] == [second]
    assert following["next"] is None
    released = await group.do("au", "GET", "/v1/legal-holds?state=released")
    assert [one["hold_id"] for one in released["items"]] == [first]
    await group.refused("unknown", "co", "DELETE", "/v1/legal-holds/nothing", {"reason": "proceedings_over"})


# Redaction


async def test_a_redacted_value_is_gone_and_every_bundle_says_by_which_record(
    group: House, tmp_path: Path
) -> None:
    """S203, S205: two others agree; then the note is nowhere, bundles name the redaction, and old ones still verify."""
    record = await noted(group, "dan")
    before = await export(group, "group:g")
    await group.publish()
    group.clock.advance(HALF_YEAR)
    path = f"/v1/records/{record}/redaction"
    proposal = await group.do("co", "POST", path, {"fields": ["note"]} | BASIS)
    assert proposal["result"]["persons_needed"] == 3
    await agreed(group, proposal, "ap")
    assert not [one for one in await group.records("field.redact") if one["out"] == "done"]
    receipt = await agreed(group, proposal, "co2")
    deed = receipt["result"]["deed_id"]
    await group.publish()
    assert (await verify(group, tmp_path, before)).exit_code == 0
    for name in ("group:g", "person:dan"):
        bundle = await export(group, name)
        verdict = await verify(group, tmp_path, bundle)
        assert verdict.exit_code == 0, verdict.text("en")
        assert b"about dan" not in bundle
        [line] = [one for one in lines(bundle, "record") if body(one)["id"] == record]
        assert (line["fields"], line["withheld"]) == ({}, {"note": deed})
    assert b"about eve" in await export(group, "group:g")
    [told] = [one for one in await group.records("field.redact") if one["out"] == "done"]
    assert (told["id"], told["p"]["fields"], told["p"]["record"]) == (deed, ["note"], record)
    assert told["basis"][0] == "pipl:art.47"
    [muted] = [one for one in await group.records() if one["id"] == record]
    assert set(muted["subj"]) < set(told["subj"])
    await group.refused("not_in_state", "co", "POST", path, {"fields": ["note"]} | BASIS)


async def test_a_redaction_left_out_or_of_another_field_is_found_out(group: House, tmp_path: Path) -> None:
    """S203: a bundle that says 'redacted' without the record that ordered just this is rejected."""
    record = await noted(group, "dan")
    group.clock.advance(HALF_YEAR)
    proposal = await group.do("co", "POST", f"/v1/records/{record}/redaction", {"fields": ["note"]} | BASIS)
    deed = (await agreed(group, proposal, "ap", "co2"))["result"]["deed_id"]
    await group.publish()
    bundle = await export(group, "group:g")
    part = await export(group, "group:g", from_record=0, to_record=2)
    assert (await verify(group, tmp_path, part)).exit_code == 0
    [cited] = lines(part, "cited")
    assert body(cited)["id"] == deed
    eve = next(one for one in lines(bundle, "record") if "note" in one["fields"])
    claimed = eve | {"fields": {}, "withheld": {"note": deed}}
    whole = json.dumps(eve, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    assert whole in bundle
    forged = bundle.replace(
        whole, json.dumps(claimed, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    )
    verdict = await verify(group, tmp_path, forged)
    assert verdict.code == "E_REDACTION"
    without = b"".join(line for line in part.splitlines(keepends=True) if b'"kind":"cited"' not in line)
    assert (await verify(group, tmp_path, without)).exit_code == 2


async def test_what_stands_in_the_way_of_a_redaction(group: House) -> None:
    """S199, S202: not before half a year, not under a hold on anybody concerned, not without basis, not what is not there."""
    record = await noted(group, "dan")
    path = f"/v1/records/{record}/redaction"
    asked = {"fields": ["note"]} | BASIS
    await group.refused("retention_runs", "co", "POST", path, asked)
    group.clock.advance(HALF_YEAR)
    await group.refused("refused", "mo", "POST", path, asked)
    await group.refused("unknown", "ann", "POST", path, asked)
    unknown = path.replace(record, "01a0c450-6f84-7000-8000-000000000001")
    await group.refused("unknown", "co", "POST", unknown, asked)
    await group.refused("malformed", "co", "POST", path, asked | {"fields": []})
    await group.refused("malformed", "co", "POST", path, asked | {"fields": ["note", "note"]})
    await group.refused("basis_missing", "co", "POST", path, {"fields": ["note"]})
    problem = await group.refused("not_in_state", "co", "POST", path, asked | {"fields": ["name", "note"]})
    assert problem["data"]["absent"] == ["name"]
    for kind, name in (("group", "g"), ("person", "dan"), ("person", "ben")):
        held = await hold(group, kind, name)
        problem = await group.refused("legal_hold", "co", "POST", path, asked)
        assert problem["data"]["holds"] == [held]
        await release(group, held)
    proposal = await group.do("co", "POST", path, asked)
    await hold(group, "group", "g")
    await group.do("ap", "POST", f"/v1/approvals/{proposal['record_id']}/grant", {})
    problem = await group.refused(
        "facts_changed", "co2", "POST", f"/v1/approvals/{proposal['record_id']}/grant", {}
    )
    assert problem["data"]["now"] == "legal_hold"


async def test_a_hold_and_a_deletion_never_pass_each_other(group: House) -> None:
    """S202: asked at the same moment, either the hold comes first and the deletion is refused, or the value was gone before."""
    record = await noted(group, "dan")
    group.clock.advance(HALF_YEAR)
    proposal = await group.do("co", "POST", f"/v1/records/{record}/redaction", {"fields": ["note"]} | BASIS)
    await agreed(group, proposal, "ap")
    grant, _ = await asyncio.gather(
        group.ask("co2", "POST", f"/v1/approvals/{proposal['record_id']}/grant", {}),
        hold(group, "group", "g"),
    )
    order = [(one["act"], one["out"]) for one in await group.records()][-3:]
    if grant.status_code == 200:
        assert order[-1] == ("legal_hold.set", "done")
    else:
        assert grant.json()["data"]["now"] == "legal_hold"


# Retirement


async def retire(house: House, start: int, end: int) -> dict[str, Any]:
    asked = {"from_index": start, "to_index": end} | TERM_OVER
    proposal = await house.do("co", "POST", "/v1/record-retirements", asked)
    return await agreed(house, proposal, "ap", "co2")


async def places(house: House, *records: str) -> list[int]:
    """Where records stand in the log."""
    async with house.db.read() as db:
        rows = await db.fetch(
            "SELECT e.idx FROM log_entry e JOIN record r ON r.id = e.record_id WHERE r.rid = ANY($1) ORDER BY 1",
            list(records),
        )
    return [row["idx"] for row in rows]


async def test_a_retired_body_is_gone_and_its_place_stays_proved(group: House, tmp_path: Path) -> None:
    """S200, S205: after the published term bodies go; entry, hash and the fact of it stay, and all bundles verify."""
    dan, eve = await noted(group, "dan"), await noted(group, "eve")
    before = await export(group, "group:g")
    await group.publish()
    [place] = await places(group, dan)
    group.clock.advance(FOURTEEN_MONTHS)
    receipt = await retire(group, place, place + 1)
    assert (receipt["result"]["bodies"], receipt["result"]["from_index"]) == (1, place)
    await group.refused("trail_unavailable", "au", "POST", "/v1/trail-exports", TAKE)
    await group.publish()
    assert (await verify(group, tmp_path, before)).exit_code == 0
    bundle = await export(group, "group:g")
    verdict = await verify(group, tmp_path, bundle)
    assert verdict.exit_code == 0, verdict.text("en")
    assert (verdict.facts.gone, verdict.facts.cited) == (1, 1)
    retired, kept, *_ = lines(bundle, "record")
    assert (retired["record"], retired["fields"], retired["gone"]) == (None, {}, receipt["result"]["deed_id"])
    assert body(kept)["id"] == eve
    trail = await group.do("au", "GET", "/v1/trails/group/g?purpose=case+17")
    told = trail["items"][0]
    assert (told["record_id"], told["act"], told["record"]) == (dan, "group.mute", None)
    assert told["retired_by"] == receipt["result"]["deed_id"]
    one = await group.do("au", "GET", f"/v1/records/{dan}?purpose=case+17")
    assert one["item"]["retired_by"] == receipt["result"]["deed_id"]
    await group.refused("unknown", "im", "GET", f"/v1/records/{dan}/receipt")
    async with group.db.read() as db:
        assert (
            await db.fetchval(
                "SELECT count(*) FROM record_field WHERE record_id = $1 AND sealed IS NOT NULL", dan
            )
            == 0
        )


TAKE = {"subject_type": "group", "subject_id": "g", "purpose": "case 17"}


async def test_what_stands_in_the_way_of_a_retirement(group: House) -> None:
    """S199, S202: not before the term of the youngest record in between, not under a hold on any, not beyond the log."""
    [place] = await places(group, await noted(group, "dan"))
    path, asked = "/v1/record-retirements", {"from_index": place, "to_index": place + 2} | TERM_OVER
    problem = await group.refused("retention_runs", "co", "POST", path, asked)
    assert problem["data"]["until"] == "2027-12-02T08:00:00.000Z"
    group.clock.advance(FOURTEEN_MONTHS)
    await group.refused("refused", "au", "POST", path, asked)
    await group.refused("malformed", "co", "POST", path, asked | {"to_index": place})
    await group.refused("not_in_state", "co", "POST", path, asked | {"to_index": 10_000})
    await group.refused("basis_missing", "co", "POST", path, asked | {"legal_basis": []})
    held = await hold(group, "person", "eve")
    problem = await group.refused("legal_hold", "co", "POST", path, asked)
    assert problem["data"]["holds"] == [held]
    await agreed(group, await group.do("co", "POST", path, asked | {"to_index": place + 1}), "ap", "co2")
    await release(group, held)
    assert (await retire(group, place, place + 2))["result"]["bodies"] == 1
    await group.refused("not_in_state", "co", "POST", path, asked)


async def test_a_retirement_spares_the_deletions_that_bundles_rest_on(group: House, tmp_path: Path) -> None:
    """S205: a redaction inside the retired range keeps its body, and the records it speaks of still verify."""
    record = await noted(group, "dan")
    group.clock.advance(HALF_YEAR)
    proposal = await group.do("co", "POST", f"/v1/records/{record}/redaction", {"fields": ["note"]} | BASIS)
    deed = (await agreed(group, proposal, "ap", "co2"))["result"]["deed_id"]
    await group.publish()
    group.clock.advance(FOURTEEN_MONTHS)
    [place] = await places(group, deed)
    await retire(group, place - 1, place + 1)
    await group.publish()
    bundle = await export(group, "group:g")
    assert (await verify(group, tmp_path, bundle)).exit_code == 0
    assert deed in {body(one)["id"] for one in lines(bundle, "record") if one["record"]}


async def test_the_database_retires_nothing_without_a_retirement(group: House, database: Database) -> None:
    """S199, S007: even the tables' owner deletes no body that no record names, nor one younger than six months."""
    record = await noted(group, "dan")
    owner = await asyncpg.connect(database.owner_dsn)
    attempt = "UPDATE record SET body = NULL, retired_by = $2 WHERE rid = $1"
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await owner.execute(attempt, record, record)
        group.clock.advance(FOURTEEN_MONTHS)
        [other] = await places(group, await noted(group, "eve"))
        deed = (await retire(group, other, other + 1))["result"]["deed_id"]
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await owner.execute(attempt, record, deed)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await owner.execute(
                "UPDATE record SET at = at + interval '1 s', body = NULL WHERE rid = $1", record
            )
    finally:
        await owner.close()


# Purge


async def kept(house: House) -> tuple[int, int]:
    """How many first answers and effects there are."""
    async with house.db.read() as db:
        answers = await db.fetchval("SELECT count(*) FROM request_key")
        return answers, await db.fetchval("SELECT count(*) FROM outbox")


async def test_time_purges_what_has_outlived_its_term_and_says_how_much(group: House) -> None:
    """S200, S205: first answers go after thirty days, effects after the published months, each purge a record with its count."""
    group.clock.advance(61)
    await group.sweep()
    assert await kept(group) == (2, 4)
    group.clock.advance(30 * 86_400)
    await group.sweep()
    assert await kept(group) == (2, 4)
    group.clock.advance(2 * 86_400)
    await group.sweep()
    assert await kept(group) == (0, 4)
    [told] = await group.records("retention.purge")
    assert (told["p"]["asked"]["class"], told["p"]["after"]) == ("first_answers", {"purged": 2})
    assert told["by"] == {"kind": "system", "standing": "system.sweep", "tag": None}
    group.clock.advance(FOURTEEN_MONTHS)
    await group.sweep()
    assert (await kept(group))[1] == 0
    counted = [one["p"]["after"]["purged"] for one in await group.records("retention.purge")]
    assert counted == [2, 4]
    assert len(await group.records("group.mute")) == 2


async def test_nothing_younger_than_its_term_is_purged_and_nothing_held(group: House) -> None:
    """S199, S202: a purge that reaches too far is refused, and effects of what a hold names stay until it is released."""
    early = Purge(klass="effects", before=group.clock.now() + dt.timedelta(days=1))
    group.clock.advance(300 * 86_400)
    assert await group.by_time(early) == "retention_runs"
    held = await hold(group, "person", "dan")
    await hold(group, "person", "eve")
    group.clock.advance(FOURTEEN_MONTHS)
    await group.sweep()
    left = {one["person_id"] for one in await group.effects("group.muted")}
    assert left == {"dan", "eve"}
    await release(group, held)
    await group.sweep()
    assert {one["person_id"] for one in await group.effects("group.muted")} == {"eve"}


def test_no_edition_can_set_a_term_below_six_months(tmp_path: Path) -> None:
    """S199: a policy folder whose retention is shorter than the law's floor is refused before it can be adopted."""
    for name, value in (("log_retention_floor_months", "5"), ("log_retention_months", "4")):
        folder = tmp_path / name
        shutil.copytree(REPOSITORY / "policies", folder)
        sheet = folder / "parameters.csv"
        text = re.sub(
            rf"^{name},[0-9]+,", f"{name},{value},", sheet.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        sheet.write_text(text, encoding="utf-8")
        assert name in str(check(folder))
