"""A house of before migration 0016 goes on after it: what was said beside the log is gone, and everything is read as before."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from service.commands.trail_keys import begin_anew
from service.db import migrate
from tests.api.test_new_log import NEXT, settings
from tests.api.test_trail_pages import TRAIL, mutes
from tests.conftest import REPOSITORY, Database
from tests.kit import House
from tests.taking import agreed, export, verify

pytestmark = pytest.mark.anyio


def written(name: str, pattern: str) -> str:
    """A statement of a migration of before."""
    text = (REPOSITORY / "migrations" / name).read_text(encoding="utf-8")
    return re.findall(pattern, text, re.DOTALL | re.MULTILINE)[0]


#: Where a record stood before: hash and tags of each, from its entry in any log or from what waits.
SAID = """
SELECT id AS record_id, record_hash, tags FROM pending
UNION ALL
SELECT record_id, substr(entry, 18, 32), (
    SELECT string_agg(substr(entry, at, 32), ''::bytea ORDER BY at) FROM generate_series(51, length(entry), 40) AS at
)
FROM (SELECT * FROM log_entry UNION ALL SELECT * FROM ended_log_1.log_entry) e WHERE record_id IS NOT NULL
"""


async def as_before(owner: asyncpg.Connection) -> None:
    """Put the schema into its form of before 0016, with what the door and the sequencer had left in it."""
    await owner.execute("ALTER TABLE record ADD COLUMN record_hash bytea, ADD COLUMN tags bytea")
    await owner.execute("ALTER TABLE record DISABLE TRIGGER USER")
    await owner.execute(
        f"UPDATE record SET record_hash = s.record_hash, tags = s.tags FROM ({SAID}) s WHERE s.record_id = id"
    )
    await owner.execute("ALTER TABLE record ENABLE TRIGGER USER")
    await owner.execute("ALTER TABLE record ALTER record_hash SET NOT NULL, ALTER tags SET NOT NULL")
    await owner.execute(written("0002_records.sql", r"^CREATE TABLE record_tag \(.*?\n\);"))
    await owner.execute(written("0008_retention.sql", r"^CREATE FUNCTION tag_prefix.*?\n\$\$;"))
    await owner.execute(
        "INSERT INTO record_tag SELECT DISTINCT tag_prefix(substr(tags, place, 32)), id"
        " FROM record, generate_series(1, length(tags), 32) AS place"
    )
    for name in ("openings_of", "refuse_all_but_retiring"):
        body = written("0008_retention.sql", rf"^CREATE FUNCTION {name}.*?\n\$\$;")
        await owner.execute(body.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    await owner.execute("DROP FUNCTION trail_of, records_of, concerns, u64")
    await owner.execute("ALTER TABLE pending DROP COLUMN record_hash, DROP COLUMN tags")
    await owner.execute("REVOKE USAGE ON SEQUENCE record_id_seq FROM mandate_service")
    await owner.execute("DELETE FROM schema_migrations WHERE version = '0016'")


async def test_a_house_of_before_goes_on_after_the_migration(
    house: House, database: Database, tmp_path: Path
) -> None:
    """O3: with logged, waiting and retired records and a log that was ended, trails and bundles are those of before."""
    await house.has_group("g", "ann", ("ben",), ("dan",))
    ids = await mutes(house, *range(60, 100))
    await house.publish()
    async with house.db.read() as db:
        place = await db.fetchval(
            "SELECT e.idx FROM log_entry e JOIN record r ON r.id = e.record_id WHERE r.rid = $1", ids[0]
        )
    house.clock.advance(430 * 86_400)
    asked = {"from_index": place, "to_index": place + 1, "legal_basis": ["pipl:art.19"]}
    await agreed(house, await house.do("co", "POST", "/v1/record-retirements", asked), "ap", "co2")
    await house.publish()
    await asyncio.to_thread(begin_anew, settings(house, database, origin=NEXT))
    folder = house.app.state.settings.data
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        async with House.reopen(database.service_dsn, folder, origin=NEXT) as later:
            later.tokens, later._keys = house.tokens, house._keys
            later.clock.set(house.clock.now())
            ids += await mutes(later, *range(100, 140))
            await later.publish()
            ids += await mutes(later, 140, 141)
            keys, at = later._keys, later.clock.now()
        pages = f"{TRAIL}&action=group.mute"
        await as_before(owner)
        migrate(database.owner_dsn, say=None)
        assert await owner.fetchval("SELECT count(*) FROM pending") >= 2
        async with House.reopen(database.service_dsn, folder, origin=NEXT) as later:
            later.tokens, later._keys = house.tokens, keys
            later.clock.set(at)
            await later.reconcile()
            seen = (await later.do("au", "GET", pages))["items"]
            assert [one["record_id"] for one in seen] == ids
            assert [one["record"] is None for one in seen] == [True, *[False] * (len(ids) - 1)]
            await later.publish()
            ids += await mutes(later, 150)
            await later.publish()
            await later.reconcile()
            assert [one["record_id"] for one in (await later.do("au", "GET", pages))["items"]] == ids
            await later.publish()
            bundle = await export(later, "group:g")
            assert (await verify(later, tmp_path, bundle)).exit_code == 0
    finally:
        await owner.close()
