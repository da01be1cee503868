"""A log that cannot go on is ended, and another begun that names its last checkpoint."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from service.clock import instant_text
from service.commands import CommandError
from service.commands.trail_keys import begin_anew
from service.settings import Settings
from service.trail.beginning import entry_0
from service.trail.kept import Kept, LogRefused
from service.trail.note import Checkpoint, Note
from service.trail.sequencer import Sequencer
from service.trail.verify import Verdict, verify_bundle
from tests.conftest import Database
from tests.kit import House
from tests.logcheck import TABLES
from tests.taking import export

pytestmark = pytest.mark.anyio
NEXT = "mandate.localhost/trail/2"
SET_BACK = pytest.mark.unreconciled("records stay whose entries were taken away")


async def mute(house: House, seconds: int = 60) -> None:
    body = {"person_id": "dan", "seconds": seconds, "reason": "fraud"}
    await house.do("ben", "POST", "/v1/groups/g/mutes", body)


async def set_back(database: Database) -> None:
    """What a restore of an older backup does to the log."""
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        size = await owner.fetchval("SELECT min(size) FROM checkpoint")
        for table in ("log_entry", "checkpoint"):
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await owner.execute("DELETE FROM checkpoint WHERE size > $1", size)
        await owner.execute("DELETE FROM log_entry WHERE idx >= $1", size)
        await owner.execute("UPDATE log_state SET size = $1", size)
        for table in ("log_entry", "checkpoint"):
            await owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    finally:
        await owner.close()


def settings(house: House, database: Database, **changed: Any) -> Settings:
    """Those of the operator who runs the command: the owner's address beside the service's."""
    clock_file = house.app.state.settings.data / "now"
    clock_file.write_text(instant_text(house.clock.now()))
    asked = {"migration_dsn": database.owner_dsn, "clock_file": clock_file} | changed
    return replace(house.app.state.settings, **asked)


def another(house: House, **changed: Any) -> Sequencer:
    """The sequencer of a second process."""
    state = house.app.state
    edition = state.editions.at(house.clock.now()).edition
    asked = replace(state.settings, **changed)
    return Sequencer.of(asked, state.db, state["keys"], house.clock, lambda: edition)


@pytest.fixture
async def restored(house: House, database: Database) -> tuple[House, Checkpoint]:
    """A house whose database was restored from an older backup, and its last checkpoint, kept in the folder."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    await mute(house)
    await house.publish()
    await mute(house, 70)
    await house.publish()
    last = Kept(house.app.state.settings.data / "checkpoint").read()
    assert last is not None
    await set_back(database)
    return house, last


@SET_BACK
async def test_after_a_restore_the_refusal_names_the_command_and_the_command_cures(
    restored: tuple[House, Checkpoint], database: Database, tmp_path: Path
) -> None:
    """O3: the start is refused with the command; after it a new log holds new acts, `prev` names the lost log's last checkpoint."""
    house, last = restored
    with pytest.raises(LogRefused, match=f"MANDATE_ORIGIN={NEXT} mandate new-log"):
        await another(house).start()
    await asyncio.to_thread(begin_anew, settings(house, database, origin=NEXT))
    data = house.app.state.settings.data
    assert not (data / "checkpoint").exists()
    ended = (data / f"checkpoint.ended-at-{last.size}").read_text()
    assert Checkpoint.parse(Note.parse(ended).text) == last
    async with House.reopen(database.service_dsn, data, origin=NEXT) as later:
        later.tokens, later._keys = house.tokens, house._keys
        later.clock.advance(60)
        genesis = later.app.state.sequencer.genesis
        assert genesis.origin == NEXT
        assert genesis.prev == {"origin": last.origin, "root": last.root.hex(), "size": last.size}
        await mute(later, 80)
        await later.publish()
        # The new log promises nothing of what the ended one held.
        old = (await later.records())[0]["id"]
        await later.refused("unknown", "im", "GET", f"/v1/records/{old}/receipt")
        body = {"subject_type": "group", "subject_id": "g", "purpose": "case 17"}
        answer = await later.ask("au", "POST", "/v1/trail-exports", body)
        (tmp_path / "bundle").write_bytes(answer.content)
        (tmp_path / "trust").write_text(json.dumps(await later.do("au", "GET", "/v1/trust")))
        verdict = verify_bundle(tmp_path / "bundle", policy=tmp_path / "trust")
        assert verdict.exit_code == 0, verdict.text("en")
        with pytest.raises(LogRefused, match="set MANDATE_ORIGIN"):
            await another(house).start()


@SET_BACK
async def test_the_old_log_stays_whole_and_the_new_one_is_as_strict(
    restored: tuple[House, Checkpoint], database: Database
) -> None:
    """O3: the old tables stand, untouched, in a schema of their own; the new ones are as append-only, under the same grants."""
    house, _ = restored
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        tables = [one for one in TABLES if one != "pending"]

        async def rules() -> dict[str, Any]:
            found = {}
            for table in tables:
                grants = await owner.fetch(
                    "SELECT grantee, privilege_type FROM information_schema.role_table_grants "
                    "WHERE table_schema = current_schema() AND table_name = $1 ORDER BY 1, 2",
                    table,
                )
                triggers = await owner.fetch(
                    "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1::regclass", table
                )
                keys = await owner.fetch(
                    "SELECT regexp_replace(indexdef, 'INDEX [^ ]+ ', '') FROM pg_indexes "
                    "WHERE schemaname = current_schema() AND tablename = $1 ORDER BY 1",
                    table,
                )
                found[table] = [sorted(map(tuple, rows)) for rows in (grants, triggers, keys)]
            return found

        before = await rules()
        kept = {one: await owner.fetchval(f"SELECT count(*) FROM {one}") for one in tables}
        await asyncio.to_thread(begin_anew, settings(house, database, origin=NEXT))
        assert await rules() == before
        old = {one: await owner.fetchval(f"SELECT count(*) FROM ended_log_1.{one}") for one in tables}
        assert old == kept
        assert await owner.fetchval("SELECT count(*) FROM log_entry") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute("DELETE FROM ended_log_1.log_entry")
    finally:
        await owner.close()


async def test_an_ended_log_is_still_exported_from_and_written_by_nobody(
    house: House, database: Database, tmp_path: Path
) -> None:
    """O3: bundles of a log that was ended are made as of its last checkpoint, for its own trust file; beside the log that stands."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    for seconds in range(60, 95):
        await mute(house, seconds)
    await house.publish()
    await asyncio.to_thread(begin_anew, settings(house, database, origin=NEXT))
    old = house.app.state.settings.origin
    async with House.reopen(database.service_dsn, house.app.state.settings.data, origin=NEXT) as later:
        later.tokens, later._keys = house.tokens, house._keys
        later.clock.advance(60)
        await mute(later, 200)
        await later.publish()

        async def judged(bundle: bytes, log: str = "") -> Verdict:
            (tmp_path / "bundle").write_bytes(bundle)
            trust = await later.do("au", "GET", f"/v1/trust{log and '?log='}{log}")
            (tmp_path / "trust").write_text(json.dumps(trust))
            return verify_bundle(tmp_path / "bundle", policy=tmp_path / "trust")

        for turn in range(2):
            for log, n in ((old, 35), ("", 1)):
                verdict = await judged(await export(later, "group:g", **({"log": log} if log else {})), log)
                assert verdict.exit_code == 0, (turn, verdict.text("en"))
                shown = json.loads((tmp_path / "bundle").read_bytes().splitlines()[0])
                assert (shown["origin"], shown["range"]) == (log or NEXT, [0, n])
        part = await export(later, "group:g", log=old, from_record=30, to_record=34)
        assert (await judged(part, old)).exit_code == 0
        none = await export(later, "person:nobody", log=old)
        assert (await judged(none, old)).exit_code == 0
        assert (await judged(part)).code == "E_ORIGIN"
        public = await later.client.get(f"/.well-known/mandate-trust.json?log={old}")
        assert (public.json()["origin"], public.json()["tag_keys"]) == (old, {})
        asked = {"subject_type": "group", "subject_id": "g", "purpose": "case 17", "log": "else/1"}
        await later.refused("unknown", "au", "POST", "/v1/trail-exports", asked)
        await later.refused("unknown", "au", "GET", "/v1/trust?log=else/1")
        for statement in ("INSERT INTO {0} SELECT * FROM {0}", "DELETE FROM {0}"):
            for table in TABLES:
                if table != "pending":
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        async with later.db.transaction() as tx:
                            await tx.execute(statement.format(f"ended_log_1.{table}"))


@SET_BACK
async def test_a_service_that_still_runs_signs_nothing_of_the_new_log(
    restored: tuple[House, Checkpoint], database: Database
) -> None:
    """O3: a process of the old log that was left running cannot sign the new log under the old name."""
    house, _ = restored
    await asyncio.to_thread(begin_anew, settings(house, database, origin=NEXT))
    await mute(house, 90)
    with pytest.raises(LogRefused, match=r"log\.key is not the key"):
        await house.publish()
    async with house.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM checkpoint") == 0
        genesis = await entry_0(db)
        assert genesis is not None
        assert genesis.origin == NEXT


async def test_the_command_says_what_it_needs(house: House, database: Database, tmp_path: Path) -> None:
    """Without the owner's address, a new name, or a log to end, nothing is changed and the message says what to do."""
    new = settings(house, database, origin=NEXT)
    with pytest.raises(CommandError, match="MANDATE_MIGRATION_DSN"):
        await asyncio.to_thread(begin_anew, replace(new, migration_dsn=None))
    with pytest.raises(CommandError, match="no signed checkpoint"):
        await asyncio.to_thread(begin_anew, new)
    await house.publish()
    with pytest.raises(CommandError, match="a new name"):
        await asyncio.to_thread(begin_anew, settings(house, database))
    await asyncio.to_thread(begin_anew, new)
    with pytest.raises(CommandError, match="no signed checkpoint"):
        await asyncio.to_thread(begin_anew, new)
