"""Who answered at T: accounts' operators, operators' people, MCNs and the platform's head are told as of the instant asked for."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.api.test_accounts import VERIFIED, accept, run
from tests.api.test_staff_and_keys import appointed
from tests.conftest import Database
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio

MIGRATION = Path(__file__).resolve().parents[2] / "migrations" / "0014_answering.sql"
HOUR = 3600


@pytest.fixture
async def account(house: House) -> House:
    """At 08:00: account a of operator o, for which ann answers; operator p, for which ben answers; cai and dan beside them."""
    await run(house, "o")
    await run(house, "p", who="ben")
    await accept(house, "a")
    await house.has_people("cai", "dan")
    return house


#: Until 0016 a record's tags stood in a column too.
AS_BEFORE = """
ALTER TABLE record ADD COLUMN tags bytea;
ALTER TABLE record DISABLE TRIGGER USER;
UPDATE record SET tags = (
    SELECT string_agg(decode(tag, 'hex'), ''::bytea ORDER BY tag)
    FROM jsonb_array_elements_text(convert_from(body, 'UTF8')::jsonb -> 'subj') AS tag
);
ALTER TABLE record ENABLE TRIGGER USER;
"""


async def chain(house: House, subject: str, hour: int) -> dict[str, Any]:
    """The chain of a subject as it was at an hour of that day."""
    path = f"/v1/responsibility/{subject}?purpose=case+17&at=2026-11-02T{hour:02}:00:00Z"
    return (await house.do("au", "GET", path))["chain"]


async def hands_over(house: House, operator_id: str, old: str, new: str) -> tuple[str, str]:
    """Let another person answer for an operator from now on; the records of the asking and of the check."""
    path = f"/v1/operators/{operator_id}"
    asked = await house.do(old, "PATCH", path, {"answerable_person": new})
    naming = VERIFIED | {"asked_record": asked["record_id"]}
    checked = await house.do("im", "PUT", f"{path}/identity", naming)
    return asked["record_id"], checked["record_id"]


async def transferred(house: House) -> str:
    """Pass account a from o to p, now; the record by which it took effect."""
    for person in ("ann", "ben"):
        await house.do("im", "PUT", f"/v1/people/{person}/identity", VERIFIED)
    await house.do("ann", "POST", "/v1/accounts/a/transfer", {"operator_id": "p"})
    version = (await house.do("im", "GET", "/v1/accounts/a"))["version"]
    asked = await house.do("ben", "POST", "/v1/accounts/a/transfer/acceptance", {}, version=version)
    granted = await house.do("ap", "POST", f"/v1/approvals/{asked['result']['approval_id']}/grant", {})
    return str(granted["record_id"])


async def test_an_account_transferred_at_noon_answers_otherwise_before_and_after(account: House) -> None:
    """S214, A1: at 11 it was o's, at 13 it is p's; each link says from when to when, and by which records."""
    (registered,) = await account.records("account.register")
    account.clock.advance(4 * HOUR)
    record = await transferred(account)
    account.clock.advance(2 * HOUR)
    before, after = [(await chain(account, "account/a", hour))["operator"] for hour in (11, 13)]
    assert (before["operator_id"], before["answerable_person"]) == ("o", "ann")
    assert (before["held_from"], before["record_id"]) == ("2026-11-02T08:00:00.000Z", registered["id"])
    assert (before["until"], before["ended_record_id"]) == ("2026-11-02T12:00:00.000Z", record)
    assert (after["operator_id"], after["answerable_person"]) == ("p", "ben")
    assert (after["held_from"], after["record_id"]) == ("2026-11-02T12:00:00.000Z", record)
    assert (after["until"], after["ended_record_id"]) == (None, None)
    assert (await chain(account, "account/a", 12))["operator"]["operator_id"] == "p"


async def test_an_operator_whose_answerable_person_changed_answers_otherwise_before_and_after(
    account: House,
) -> None:
    """S214: asking changes nothing, the check does: at 11 ann answered for o and its account, at 13 cai does, by that record."""
    (first, _) = await account.records("operator.register")
    account.clock.advance(HOUR)
    await account.do("ann", "PATCH", "/v1/operators/o", {"answerable_person": "dan"})
    account.clock.advance(3 * HOUR)
    _, checked = await hands_over(account, "o", "ann", "cai")
    account.clock.advance(2 * HOUR)
    for subject in ("operator/o", "account/a"):
        before, after = [(await chain(account, subject, hour))["operator"] for hour in (11, 13)]
        assert (before["answerable_person"], after["answerable_person"]) == ("ann", "cai")
        assert before["answerable"] == {
            "type": "person",
            "id": "ann",
            "held_from": "2026-11-02T08:00:00.000Z",
            "until": "2026-11-02T12:00:00.000Z",
            "record_id": first["id"],
            "ended_record_id": checked,
        }
        held = after["answerable"]
        assert (held["held_from"], held["record_id"], held["until"]) == (
            "2026-11-02T12:00:00.000Z",
            checked,
            None,
        )
    act = await account.do("au", "GET", f"/v1/responsibility/record/{first['id']}?purpose=case+17")
    assert act["chain"]["operator"]["answerable_person"] == "ann"


async def test_a_check_that_changes_nobody_or_drops_the_change_leaves_the_interval(account: House) -> None:
    """S214: verified again, or the change refused, ann answers as before, by the same record."""
    await account.do("im", "PUT", "/v1/operators/o/identity", VERIFIED)
    body = {"answerable_person": "ann", "name": "another name"}
    asked = await account.do("ann", "PATCH", "/v1/operators/o", body)
    checked = VERIFIED | {"asked_record": asked["record_id"]}
    await account.do("im", "PUT", "/v1/operators/o/identity", checked)
    asked = await account.do("ann", "PATCH", "/v1/operators/o", {"answerable_person": "cai"})
    body = {"status": "failed", "methods": ["mobile"], "asked_record": asked["record_id"]}
    await account.do("im", "PUT", "/v1/operators/o/identity", body)
    async with account.db.read() as db:
        rows = await db.fetch("SELECT person_id, until_at FROM answerable WHERE operator_id = 'o'")
    assert [tuple(row) for row in rows] == [("ann", None)]


async def test_an_mcns_person_is_told_as_of_then(account: House) -> None:
    """S214, S107: while the contract of account a ran, first ben and then cai answered for the MCN; before and after nobody did."""
    body = {
        "operator_id": "m",
        "kind": "company",
        "name": "某某文化",
        "jurisdiction": "CN-130200",
        "is_mcn": True,
    }
    await account.do("ben", "POST", "/v1/operators", body)
    await account.do("im", "PUT", "/v1/operators/m/identity", VERIFIED)
    account.clock.advance(2 * HOUR)
    sign = "/v1/operators/m/accounts/a"
    await account.do("ann", "PUT", sign, {})
    signed = (await account.do("ben", "PUT", sign, {}))["record_id"]
    account.clock.advance(2 * HOUR)
    await hands_over(account, "m", "ben", "cai")
    account.clock.advance(2 * HOUR)
    ended = (await account.do("cai", "DELETE", sign))["record_id"]
    account.clock.advance(HOUR)
    links = [(await chain(account, "account/a", hour)).get("mcn") for hour in (9, 11, 13, 15)]
    assert (links[0], links[3]) == (None, None)
    for link, person in ((links[1], "ben"), (links[2], "cai")):
        assert link is not None
        assert (link["operator_id"], link["answerable_person"]) == ("m", person)
        assert (link["record_id"], link["ended_record_id"]) == (signed, ended)
        assert (link["held_from"], link["until"]) == ("2026-11-02T10:00:00.000Z", "2026-11-02T14:00:00.000Z")


async def test_the_platforms_responsible_person_is_told_as_of_then(account: House) -> None:
    """S211, S214: the post passes at noon; at 11 the chain begins with the predecessor, at 13 with the successor, by that record."""
    account.clock.advance(4 * HOUR)
    await appointed(account, "next", "head_of_content_safety")
    account.clock.advance(2 * HOUR)
    for subject in ("account/a", "operator/o"):
        before, after = [(await chain(account, subject, hour))["platform"] for hour in (11, 13)]
        assert (before["id"], before["until"]) == ("head", "2026-11-02T12:00:00.000Z")
        assert (after["id"], after["held_from"]) == ("next", "2026-11-02T12:00:00.000Z")
        assert before["ended_record_id"] == after["record_id"]


async def test_what_is_known_of_before_is_filled_in_by_the_migration(
    account: House, database: Database
) -> None:
    """S214: from operators and records alone the migration makes the very intervals that the acts themselves wrote."""
    for hours, old, new in ((1, "ann", "cai"), (1, "cai", "dan"), (1, "dan", "ann")):
        account.clock.advance(hours * HOUR)
        await hands_over(account, "o", old, new)
    text = MIGRATION.read_text(encoding="utf-8")
    filling = text[text.index("INSERT INTO answerable") :].partition(";")[0]
    wanted = "SELECT * FROM answerable ORDER BY operator_id, from_at"
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        written = [tuple(row) for row in await owner.fetch(wanted)]
        assert [row[2] for row in written] == ["ann", "cai", "dan", "ann", "ben"]
        assert written[0][3] == MORNING
        await owner.execute("DELETE FROM answerable")
        await owner.execute(AS_BEFORE)
        await owner.execute(filling)
        await owner.execute("ALTER TABLE record DROP COLUMN tags")
        assert [tuple(row) for row in await owner.fetch(wanted)] == written
    finally:
        await owner.close()
