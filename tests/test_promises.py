"""What holds whatever is asked: act and record are one, records stay, no column is for who somebody is."""

import asyncio
import csv
import re
from typing import Any

import asyncpg
import pytest

from service.action import actions
from tests.conftest import REPOSITORY, Database
from tests.kit import House

pytestmark = pytest.mark.anyio

#: A part of the act's transaction, by the table it is written to.
PARTS = ("mute", "record", "record_field", "subject_key", "pending", "outbox", "request_key")
MUTE = {"person_id": "dan", "seconds": 60, "reason": "spam", "note": "again and again"}


async def everything(house: House) -> dict[str, list[Any]]:
    """All rows of all tables, but the count of sequences."""
    async with house.db.read() as db:
        tables = await db.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        )
        return {
            one["tablename"]: [
                tuple(row) for row in await db.fetch(f'SELECT t::text FROM "{one["tablename"]}" t ORDER BY 1')
            ]
            for one in tables
        }


@pytest.mark.parametrize("part", PARTS)
async def test_if_any_part_fails_none_has_happened(house: House, database: Database, part: str) -> None:
    """S001, S009: whichever row of the act cannot be written, the answer is `trail_unavailable` and nothing is done."""
    await house.has_group("g", "ann", (), ("dan",))
    before = await everything(house)
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        await owner.execute(
            f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = 'disk_full'; END $$;
                CREATE TRIGGER fails BEFORE INSERT ON {part} FOR EACH STATEMENT EXECUTE FUNCTION fail()"""
        )
        problem = await house.refused("trail_unavailable", "ann", "POST", "/v1/groups/g/mutes", MUTE, key="k")
        assert "disk" not in str(problem)
        assert await everything(house) == before
        await owner.execute(f"DROP TRIGGER fails ON {part}")
    finally:
        await owner.close()
    await house.do("ann", "POST", "/v1/groups/g/mutes", MUTE, key="k")
    assert [one["out"] for one in await house.records()] == ["done"]


@pytest.mark.parametrize("table", ["record", "edition", "credit_entry"])
async def test_records_are_changed_and_deleted_by_nobody(
    house: House, database: Database, table: str
) -> None:
    """S007: the service's role has no right to, and a trigger refuses even the owner of the tables."""
    column = {"record": "act = 'none'", "edition": "adopted_record = 'none'"}.get(table, "points = 0")
    attempts = (f"UPDATE {table} SET {column}", f"DELETE FROM {table}", f"TRUNCATE {table}")
    await house.has_people("ann", credit=75)
    before = (await everything(house))[table]
    assert before
    for dsn in (database.service_dsn, database.owner_dsn):
        connection = await asyncpg.connect(dsn)
        try:
            for attempt in attempts:
                with pytest.raises(asyncpg.InsufficientPrivilegeError) as raised:
                    await connection.execute(attempt)
                assert ("append-only" in str(raised.value)) is (dsn == database.owner_dsn)
        finally:
            await connection.close()
    service = await asyncpg.connect(database.service_dsn)
    try:
        for attempt in (
            f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            f"DROP TRIGGER {table}_append_only ON {table}",
            f"DROP TABLE {table}",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(attempt)
    finally:
        await service.close()
    assert (await everything(house))[table] == before


#: Every text column that is no id, record, code of a closed list, key or hash, and why it holds no raw identity.
WORDS = {
    ("account", "name"): "the name of a public account; what looks like a number of a person is refused",
    ("account", "name_key"): "the same name, folded",
    ("account", "profile"): "what the account says of itself to the public",
    ("account", "quality_source"): "who rated it",
    ("account_name", "name"): "the name of a public account, now or before",
    ("account_name", "name_key"): "the same name, folded",
    ("account_name", "skeleton"): "the same name, its look-alike characters made one",
    ("checkpoint", "note"): "a signed note of the log: size and root",
    (
        "credential",
        "reference",
    ): "number of the document, or the issuer's; what looks like a number of a person is refused",
    ("cosignature", "line"): "a witness's signature of a checkpoint",
    ("cosignature", "vkey"): "the key of a witness",
    ("filing", "authority"): "an authority",
    ("filing", "receipt"): "what the authority gave for it",
    ("former_profile", "name"): "the name of a public account before",
    ("former_profile", "profile"): "what the account said of itself to the public before",
    ("groups", "name"): "the name of a group",
    ("hidden_item", "locator"): "where an item is",
    ("measure", "coupled_to"): "id of a measure",
    ("measure", "dsa_surface"): "one of three",
    ("measure", "ground"): "one of three",
    ("measure", "imposed_as"): "one of three",
    ("measure", "lift_reason"): "a reason's code",
    ("measure", "scope"): "the class of a field",
    ("notice", "about_type"): "a type of subjects",
    ("operator", "identity_ref"): "opaque reference of the verifier",
    ("operator", "name"): "the name of a legal subject, public by law (A6)",
    ("person", "identity_ref"): "opaque reference of the verifier",
    ("pinned_notice", "locator"): "where an item is",
    ("subject_change", "from_operator"): "id of an operator",
    ("subject_change", "to_operator"): "id of an operator",
    ("tier_forecast", "edition"): "digest of an edition",
    ("tier_plan", "edition"): "digest of an edition",
    ("tier_progress", "after"): "id of a group or an account",
    ("webhook", "answer"): "an HTTP status, or a word of ours",
    ("webhook", "name"): "what operators call a receiver",
    ("webhook", "url"): "where effects are posted to",
}
IDENTITY = re.compile(
    r"(real|first|last|full|sur)_?name|phone|mobile|e_?mail|passport|id_?(card|number)|birth|(^|_)face|address"
)
CLOSED = re.compile(
    r"(^|_)(id|record|by|person|person_id|record_hash|sha256)$|^(code|klass|kind|type|action|act|out|state|standing|by_standing"
    r"|jurisdiction|join_mode|minors?|identity_status|dissolved_how|ended_how|closed_how|supersedes|prefix|digest|rid|tag|"
    r"target_type|subject_type|cause|document|key_type|reason|invited_by|version|granted_by)$"
)


async def test_no_column_is_made_for_who_somebody_is(house: House) -> None:
    """P1: no column is named for a name, number, document, face or address of a person; each free text is listed with its reason."""
    async with house.db.read() as db:
        columns = await db.fetch(
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        )
    named = [(one["table_name"], one["column_name"]) for one in columns]
    assert [one for one in named if IDENTITY.search(one[1])] == []
    memory = {
        "record",
        "record_field",
        "subject_key",
        "subject_name",
        "outbox",
        "schema_migrations",
    }
    free = {
        (one["table_name"], one["column_name"])
        for one in columns
        if one["data_type"] == "text"
        and one["table_name"] not in memory
        and not CLOSED.search(one["column_name"])
    }
    assert free == set(WORDS), " ".join(f"{table}.{column}" for table, column in sorted(free - set(WORDS)))
    assert not [one for one in named if one[0] == "person" and "name" in one[1]]


async def test_what_looks_like_identity_is_refused_in_every_free_text(house: House) -> None:
    """P1: a phone number or an identity number in a name is `raw_identity` or lands only sealed, never in a person's row."""
    await house.has_people("ann")
    for reference in ("13812345678", "11010519491231002X", "ann@example.org"):
        body = {"status": "verified", "methods": ["mobile"], "identity_ref": reference}
        await house.refused("raw_identity", "im", "PUT", "/v1/people/ann/identity", body)


def test_every_cell_of_the_policy_for_a_regulator_is_a_read() -> None:
    """S190: of all lines and all actions of the policy, those that allow a regulator something name a read of the trail."""
    with (REPOSITORY / "policies" / "rules.csv").open() as file:
        lines = list(csv.DictReader(file))
    allowing = [
        line
        for line in lines
        if line["effect"] == "allow"
        and {"regulator", "*", "any"} & set(re.split(r"[|\s]+", line["standing"]))
    ]
    assert {line["action"] for line in allowing} <= {"trail.read", "trail.export"}
    assert "trail.read" in {line["action"] for line in allowing}
    assert {"trail.read", "trail.export"} == {name for name in actions() if name.startswith("trail.")}


async def test_all_fifty_patrol_accounts_can_be_registered(house: House) -> None:
    """A7: one government account for each of the 50 places of the 2015 announcement, each in its own jurisdiction."""
    with (REPOSITORY / "service" / "demo" / "patrol_accounts.csv").open(encoding="utf-8") as file:
        places = list(csv.DictReader(file))
    assert len(places) == 50
    await house.has_people("ann")
    column = next(name for name in places[0] if name.startswith("gb2260"))

    async def register(number: int, place: dict[str, str]) -> str:
        jurisdiction = f"CN-{place[column]}"
        operator = {
            "operator_id": f"op{number}",
            "kind": "government",
            "name": f"{place.get('place') or jurisdiction} 公安局 {number}",
            "jurisdiction": jurisdiction,
            "answerable_person": "ann",
        }
        await house.do("im", "POST", "/v1/operators", operator)
        checked = {
            "status": "verified",
            "methods": ["credit_code", "mobile"],
            "identity_ref": f"b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a9{number:02}",
        }
        await house.do("im", "PUT", f"/v1/operators/op{number}/identity", checked)
        account = {
            "account_id": f"patrol-{number}",
            "operator_id": f"op{number}",
            "name": f"网警巡查执法 {jurisdiction}",
            "class": "government",
            "profile": "网警公开巡查执法账号",
            "jurisdiction": jurisdiction,
        }
        await house.do("ann", "POST", "/v1/accounts", account)
        return jurisdiction

    made = await asyncio.gather(*(register(number, place) for number, place in enumerate(places)))
    for number in range(len(places)):
        # Their names look alike and hold a reserved term: whoever accepts says what he compared.
        beside = await house.do("cl", "GET", f"/v1/name-checks/patrol-{number}")
        asked = {"reason": "routine", "compared_with": beside["compare"]}
        await house.do("cl", "POST", f"/v1/accounts/patrol-{number}/acceptance", asked)
    assert len(set(made)) == 50
    listed = await house.do("au", "GET", "/v1/accounts?class=government&state=accepted")
    assert sorted(one["place"] for one in listed["accounts"]) == sorted(made)
    bodies = [one for one in await house.records("account.accept") if one["out"] == "done"]
    assert len(bodies) == 50
