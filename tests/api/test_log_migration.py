"""A log of before migration 0015 goes on after it: every row computed anew from its entries stands as the migration left it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.db import migrate
from service.trail.entry import RecordEntry, bucket_of, decode, subject_value
from service.trail.merkle import Frontier, Tree, leaf
from tests.conftest import REPOSITORY, Database
from tests.kit import House
from tests.logcheck import check_log
from tests.taking import export, verify

pytestmark = pytest.mark.anyio
BEFORE = (REPOSITORY / "migrations" / "0007_log.sql").read_text(encoding="utf-8")
GONE = ("subject", "subject_leaf", "map_bucket")


def edge(leaves: Iterable[bytes]) -> Frontier:
    frontier = Frontier()
    for one in leaves:
        frontier.append(one)
    return frontier


async def as_before(owner: asyncpg.Connection, bits: int) -> None:
    """Put the tables of the log into their form of before, computed from its entries; the map entry at the end goes.

    That is how the sequencer left it between two checkpoints.
    """
    size = await owner.fetchval("SELECT size - 1 FROM log_state")
    await owner.execute("ALTER TABLE log_entry DISABLE TRIGGER USER")
    await owner.execute("DELETE FROM log_entry WHERE idx = $1", size)
    await owner.execute("ALTER TABLE log_entry ENABLE TRIGGER USER")
    entries = [row[0] for row in await owner.fetch("SELECT entry FROM log_entry ORDER BY idx")]
    mapped = max(index for index, one in enumerate(entries) if one[0] == 2) + 1
    trees: dict[bytes, list[tuple[int, bytes]]] = {}
    for index, one in enumerate(entries):
        entry = decode(one)
        for tag in entry.tags if isinstance(entry, RecordEntry) else ():
            trees.setdefault(tag, []).append((index, leaf(one)))
    buckets: dict[int, bytes] = {}
    for tag, held in sorted(trees.items()):
        then = [digest for index, digest in held if index < mapped]
        if then:
            member = tag + subject_value(tag, len(then), Tree(then).root())
            buckets[bucket_of(tag, bits)] = buckets.get(bucket_of(tag, bits), b"") + member
    await owner.execute("DROP TABLE subject, subject_leaf")
    for table in GONE:
        await owner.execute(re.findall(rf"CREATE TABLE {table} \(.*?\n\)[^;]*;", BEFORE, re.DOTALL)[0])
    rows: list[Any] = [
        (number, tag, len(held), edge(digest for _, digest in held).serialise())
        for number, (tag, held) in enumerate(trees.items())
    ]
    await owner.copy_records_to_table("subject", records=rows)
    rows = [
        (number, seq, index)
        for number, held in enumerate(trees.values())
        for seq, (index, _) in enumerate(held)
    ]
    await owner.copy_records_to_table("subject_leaf", records=rows)
    await owner.copy_records_to_table("map_bucket", records=list(buckets.items()))
    for column in ("mapped_size bigint", "mapped_root bytea", "mapped_us bigint"):
        await owner.execute(f"ALTER TABLE log_state ADD COLUMN {column}")
    await owner.execute(
        "UPDATE log_state SET size = $1, frontier = $2, mapped_size = $3, mapped_root = $4, mapped_us = 1",
        *(size, edge(map(leaf, entries)).serialise(), mapped, Tree(map(leaf, entries[:mapped])).root()),
    )


async def mute(house: House, seconds: int) -> None:
    body = {"person_id": "dan", "seconds": seconds, "reason": "fraud"}
    await house.do("ben", "POST", "/v1/groups/g/mutes", body)


async def test_a_log_of_before_goes_on_after_the_migration(database: Database, tmp_path: Path) -> None:
    """O3: tables in the old form, records behind the last map entry too, become the new ones; the log goes on, signed and
    provable, and so does a reader who kept its state.
    """
    owner = await asyncpg.connect(database.owner_dsn)
    state = tmp_path / "state"
    async with House.open(database.service_dsn, tmp_path) as house:
        await house.has_group("g", "ann", ("ben",), ("dan",))
        for seconds in range(60, 100):
            await mute(house, seconds)
        await house.publish()
        verdict = await verify(house, tmp_path, await export(house, "group:g"), state=state)
        assert verdict.exit_code == 0
        await mute(house, 200)
        await house.app.state.sequencer.sequence()
        tokens, keys = house.tokens, house._keys
    try:
        await as_before(owner, bits=4)
        await owner.execute("DELETE FROM schema_migrations WHERE version = '0015'")
        migrate(database.owner_dsn, say=None)
    finally:
        await owner.close()
    async with House.reopen(database.service_dsn, tmp_path) as house:
        house.tokens, house._keys = tokens, keys
        log_key = str(house.app.state.sequencer.genesis.log_key)
        await house.publish()
        await check_log(house.db, house.app.state.settings.origin, log_key)
        await mute(house, 300)
        await house.publish()
        await check_log(house.db, house.app.state.settings.origin, log_key)
        verdict = await verify(house, tmp_path, await export(house, "group:g"))
        assert verdict.exit_code == 0, verdict.text("en")
