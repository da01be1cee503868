"""How quick is the log beside the acts that fill it, and how quick does evidence leave it? Storage a record, too.

Run as `python -m bench.evidence [--seconds 8]`. Limits: the sequencer at least 2 times the acts of the same run; a record
under a signed checkpoint within 2 s for 99 of 100 under that load; a bundle at least 0.8 of COPY of the same rows; at most
2.0 KB a record in the tables of the trail. Replay is measured by `bench.verify`.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import io
import tempfile
import time
import urllib.request
from pathlib import Path

import asyncpg
import uvloop

from bench import actions
from bench.house import Served, served
from service.clock import Clock
from service.db import Db
from service.settings import Settings
from service.trail.entry import decode
from service.trail.keys import TrailKeys
from service.trail.sequencer import Sequencer

TABLES = (
    "record",
    "record_field",
    "log_entry",
    "log_tile",
    "subject",
    "subject_leaf",
    "checkpoint",
)
_LARGEST = "SELECT tag FROM subject_leaf GROUP BY tag ORDER BY count(*) DESC LIMIT 1"
_ROWS = """
    WITH subject AS (
        SELECT tag, edge, ('x' || encode(substr(edge, 33, 8), 'hex'))::bit(64) AS n FROM subject WHERE tag = '\\x{tag}'
    ), held AS (
        SELECT chunk, places FROM subject_leaf JOIN subject USING (tag)
        UNION ALL SELECT n::bigint / 32, substr(edge, 41 + 32 * bit_count(n)::int) FROM subject
    ), place AS (
        SELECT ('x' || encode(substr(places, 8 * i + 1, 8), 'hex'))::bit(64)::bigint AS idx
        FROM held, generate_series(0, length(places) / 8 - 1) i
    )
    SELECT idx, e.entry, r.rid, r.body, f.name, f.sealed, f.deleted_by
    FROM place JOIN log_entry e USING (idx) JOIN record r ON r.id = e.record_id LEFT JOIN record_field f ON f.record_id = r.rid
    ORDER BY idx"""
"""What a bundle takes from the database for its records, found in the same way: the places in the subject's rows, by these
the entries, by these the records and their personal fields. `subject.edge`: see its comment.
"""


async def sequence(house: Served, folder: Path, seconds: float) -> tuple[float, float]:
    """Acts a second with nothing sequenced meanwhile, and the records a second that are then brought into the log."""
    db = await Db.open(house.embedded.service_dsn, size=2)
    keys = TrailKeys.load_or_create(folder / "keys", may_create=False)
    settings = Settings(dsn=house.embedded.service_dsn, data=folder)
    log = Sequencer.of(settings, db, keys, Clock(), lambda: "0" * 64)
    await log.start()
    await asyncio.to_thread(actions.loaded, house, 16, 0.5)
    await log.once()  # builds the map
    acts = await asyncio.to_thread(actions.loaded, house, 64, seconds)
    since = time.perf_counter()
    logged = await log.once()
    took = time.perf_counter() - since
    await db.close()
    return acts.rate, logged / took


async def lags(house: Served, since: dt.datetime) -> tuple[float, float]:
    """Seconds from the act to the signed checkpoint over it: the middle one, and that of 99 of 100."""
    connection = await asyncpg.connect(house.embedded.owner_dsn)
    maps = [
        decode(row[0])
        for row in await connection.fetch("SELECT entry FROM log_entry WHERE record_id IS NULL ORDER BY idx")
    ]
    ends = sorted((entry.index, entry.time_us) for entry in maps[1:])
    waited: list[float] = []
    place = 0
    for idx, at in await connection.fetch(
        "SELECT e.idx, r.at FROM log_entry e JOIN record r ON r.id = e.record_id WHERE r.at > $1 ORDER BY e.idx",
        since,
    ):
        while place < len(ends) and ends[place][0] < idx:
            place += 1
        if place < len(ends):
            waited.append(ends[place][1] / 1e6 - at.timestamp())
    await connection.close()
    waited.sort()
    return waited[len(waited) // 2], waited[int(len(waited) * 0.99)]


def export(house: Served) -> float:
    """Seconds that the bundle of the largest subject takes over HTTP."""
    asked = b'{"subject_type":"jurisdiction","subject_id":"CN-110000","purpose":"a benchmark"}'
    request = urllib.request.Request(
        f"http://127.0.0.1:{house.port}/v1/trail-exports",
        data=asked,
        headers={"authorization": f"Bearer {house.tokens['co']}", "content-type": "application/json"},
    )
    since = time.perf_counter()
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310
        answer.read()
    return time.perf_counter() - since


async def copied(house: Served) -> tuple[int, float]:
    """How many rows that bundle needs, and the seconds of COPY for them: the middle of five, as its own statement each time.

    As text, which is what COPY writes if nobody asks for more; into memory, as the bundle goes into a file of memory first.
    """
    connection = await asyncpg.connect(house.embedded.owner_dsn)
    tag = await connection.fetchval(_LARGEST)
    query = _ROWS.replace("{tag}", tag.hex())
    rows = await connection.fetchval(f"SELECT count(DISTINCT idx) FROM ({query}) r")
    took: list[float] = []
    for _ in range(5):
        since = time.perf_counter()
        await connection.copy_from_query(query, output=io.BytesIO())
        took.append(time.perf_counter() - since)
    await connection.close()
    return rows, sorted(took)[2]


async def storage(house: Served) -> dict[str, float]:
    """Bytes a record by table, indexes and all."""
    connection = await asyncpg.connect(house.embedded.owner_dsn)
    await connection.execute("VACUUM")
    records = await connection.fetchval("SELECT count(*) FROM record")
    sizes = {
        name: await connection.fetchval("SELECT pg_total_relation_size($1::text::regclass)", name) / records
        for name in TABLES
    }
    await connection.close()
    return sizes


def main() -> None:
    """Print each figure beside its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the load")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        with served(folder, groups=actions.GROUPS, members=actions.MEMBERS) as house:
            actions.loaded(house, 16, 2.0)
            time.sleep(3)  # until the map is built, nothing is signed
            since = Clock().now()
            acts = actions.loaded(house, 64, seconds)
            time.sleep(3)
            middle, late = uvloop.run(lags(house, since))
            print(
                f"acts {acts.rate:,.0f}/s; signed after {middle:.2f} s, 99 of 100 within {late:.2f} s (limit 2)"
            )
            # The first one that a worker makes builds its map.
            took, *_, first = sorted(export(house) for _ in range(6))
            rows, plain = uvloop.run(copied(house))
            print(
                f"bundle of {rows:,} records: {rows / took:,.0f}/s; COPY of the same rows "
                f"{rows / plain:,.0f}/s; ratio {plain / took:.2f} (limit 0.8); the first one took {first:.1f} s"
            )
            sizes = uvloop.run(storage(house))
            print(
                f"storage {sum(sizes.values()):,.0f} bytes a record (limit 2,000): "
                + ", ".join(f"{table} {each:.0f}" for table, each in sizes.items())
            )
        other = folder / "other"
        other.mkdir(mode=0o711)
        with served(
            other, groups=actions.GROUPS, members=actions.MEMBERS, MANDATE_SEQUENCE_SECONDS="0"
        ) as house:
            rate, logged = uvloop.run(sequence(house, other, seconds))
            print(
                f"sequencer alone {logged:,.0f} records/s, {logged / rate:.1f} times the {rate:,.0f} acts/s (limit 2)"
            )


if __name__ == "__main__":
    main()
