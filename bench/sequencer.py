"""How quick is the log beside plain COPY of the same rows? Records a second with three subjects each, and bytes a record.

Run as `python -m bench.sequencer`; it starts a database of its own, fsync on. The premise: the sequencer does at least
1,490 records a second, what the hot path reaches at most (format section 13.1).
"""

import asyncio
import os
import random
import tempfile
import time
from pathlib import Path

from service.clock import Clock
from service.db import Db, Embedded, migrate
from service.trail.append import prefix
from service.trail.keys import TrailKeys
from service.trail.sequencer import BATCH, Sequencer

RECORDS = 40_000
PEOPLE = 5_000
GROUPS = 1_000
BODY = 900
HOT_PATH = 1_490
_NEW = ("rid", "record_hash", "body", "tags", "at", "act", "out")
_COPY = "CREATE TABLE plain_entry (LIKE log_entry); CREATE TABLE plain_leaf (LIKE subject_leaf)"
_TABLES = (
    "record",
    "record_tag",
    "pending",
    "log_entry",
    "log_tile",
    "subject",
    "subject_leaf",
    "map_bucket",
)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        with Embedded.start(Path(folder) / "pg") as server:
            migrate(server.owner_dsn, say=None)
            db, owner = await Db.open(server.service_dsn, size=4), await Db.open(server.owner_dsn, size=1)
            keys = TrailKeys.load_or_create(Path(folder) / "keys", may_create=True)
            log = Sequencer(
                db,
                keys,
                Clock(),
                origin="bench/1",
                folder=Path(folder),
                edition=lambda: "0" * 64,
                map_bits=20,
                mmd_us=10_000_000,
            )
            await log.start()
            await log.once(publish=True)  # builds the map
            await _records(db)
            turns = await _sequenced(log)
            seconds = sum(turns)
            plain = await _copied(owner)
            await _report(owner, seconds, plain, max(turns))
            await db.close()
            await owner.close()


async def _records(db: Db) -> None:
    """Records as the door leaves them, three subjects each: one of all, one of many groups, one of more people."""
    at, jurisdiction = Clock().now(), os.urandom(32)
    groups, people = ([os.urandom(32) for _ in range(count)] for count in (GROUPS, PEOPLE))
    rows = []
    for number in range(RECORDS):
        tags = b"".join(sorted((jurisdiction, random.choice(groups), random.choice(people))))
        rid = f"00000000-0000-7000-8000-{number:012x}"
        rows.append(
            (rid, os.urandom(32), os.urandom(BODY // 2).hex().encode(), tags, at, "group.mute", "done")
        )
    async with db.transaction() as tx:
        await tx.copy("record", _NEW, rows)
        known = await tx.fetch("SELECT id, tags FROM record")
        tagged = [(prefix(row["tags"][at : at + 32]), row["id"]) for row in known for at in (0, 32, 64)]
        await tx.copy("record_tag", ("tag", "record_id"), tagged)
        await tx.copy("pending", ("id",), [(row["id"],) for row in known])


async def _sequenced(log: Sequencer) -> list[float]:
    """Seconds of each turn: a full batch with its map entry, signed."""
    turns = []
    for _ in range(RECORDS // BATCH):
        since = time.perf_counter()
        assert await log.sequence(map_entry=True) == BATCH
        await log.publish()
        turns.append(time.perf_counter() - since)
    return turns


async def _copied(owner: Db) -> float:
    """Seconds for COPY of the same rows alone, in batches of the same size."""
    async with owner.transaction() as tx:
        await tx.execute(_COPY)
        await tx.execute("ALTER TABLE plain_entry ADD PRIMARY KEY (idx)")
        await tx.execute("ALTER TABLE plain_leaf ADD PRIMARY KEY (subject_id, seq)")
        entries = [tuple(row) for row in await tx.fetch("SELECT * FROM log_entry ORDER BY idx")]
        leaves = [tuple(row) for row in await tx.fetch("SELECT * FROM subject_leaf ORDER BY idx")]
    since = time.perf_counter()
    for at in range(0, len(entries), BATCH):
        async with owner.transaction() as tx:
            await tx.copy("plain_entry", ("idx", "record_id", "entry"), entries[at : at + BATCH])
            await tx.copy("plain_leaf", ("subject_id", "seq", "idx"), leaves[3 * at : 3 * (at + BATCH)])
    return time.perf_counter() - since


async def _report(owner: Db, seconds: float, plain: float, longest: float) -> None:
    rate = RECORDS / seconds
    print(f"sequenced {rate:,.0f} records/s, longest turn of {BATCH:,} {longest:.2f} s")
    print(
        f"COPY of the same entries and leaves {RECORDS / plain:,.0f} records/s, ratio {seconds / plain:.2f}"
    )
    print(f"{rate / HOT_PATH:.1f} times what the hot path reaches")
    total = 0
    async with owner.read() as db:
        for name in _TABLES:
            size = await db.fetchval("SELECT pg_total_relation_size($1::text::regclass)", name)
            total += size
            print(f"  {name:<13}{size / RECORDS:7.0f} bytes a record")
    print(f"  {'together':<13}{total / RECORDS:7.0f} bytes a record, with bodies of {BODY}")
    assert rate >= HOT_PATH


if __name__ == "__main__":
    asyncio.run(main())
