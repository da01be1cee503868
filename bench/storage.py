"""How many bytes does a record of the demo's own mix take in the tables of the trail?

Run as `python -m bench.storage`; it plays the demo and reads what it left. Limit: 2.0 KB a record. Printed three times: the rows
and their index entries alone; whole files after VACUUM FULL, which for a thousand records are largely begun pages; and the
files again with the same rows in them twenty times over, under other keys.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from bench.evidence import TABLES
from service.db import Embedded

LIMIT = 2_000
_FILL = 0.9
"""How full PostgreSQL leaves the pages of an index."""
_INDEXES = """
    SELECT pg_get_expr(indpred, indrelid) AS only, ARRAY(
        SELECT attname::text FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY(indkey::smallint[])
    ) AS columns
    FROM pg_index WHERE indrelid = $1::text::regclass"""

_TIMES = 20
_AGAIN = {
    "record": "id + 1e6::bigint * k, left(rid, 30) || lpad(to_hex(id + 1e5::bigint * k), 6, '0'), body, at, act, out, retired_by",
    "record_field": "left(record_id, 32) || lpad(k::text, 4, '0'), name, key_type, key_id, sealed, deleted_by",
    "log_entry": "idx + 1e6::bigint * k, record_id + 1e6::bigint * k, entry",
    "log_tile": "level, n + 1e6::bigint * k, root, hashes",
    "subject": "bucket, substr(tag, 1, 30) || int2send(k::smallint), edge",
    "subject_leaf": "substr(tag, 1, 30) || int2send(k::smallint), chunk, places",
    "checkpoint": "size + 1e6::bigint * k, note",
}
"""The columns of each table of the trail, under the keys of copy number k."""


async def rows(connection: asyncpg.Connection, table: str) -> float:
    """Bytes of a table's rows with their headers and pointers, and of the entries of its indexes."""
    (total,) = await connection.fetchrow(
        f"SELECT coalesce(sum(pg_column_size(t.*) + 4), 0) FROM {table} t"
    ) or (0,)
    for index in await connection.fetch(_INDEXES, table):
        key = " + ".join(f"coalesce(pg_column_size({name}), 0)" for name in index["columns"]) or "0"
        (entries,) = await connection.fetchrow(
            f"SELECT coalesce(sum((({key}) + 15) / 8 * 8 + 4), 0) FROM {table} WHERE {index['only'] or 'true'}"
        ) or (0,)
        total = float(total) + float(entries) / _FILL
    return float(total)


async def measure(dsn: str) -> None:
    """Print the three figures, table by table."""
    connection = await asyncpg.connect(dsn)
    records = await connection.fetchval("SELECT count(*) FROM record")
    tables = [f"public.{name}" for name in TABLES]
    packed = {name: await rows(connection, name) / records for name in tables}
    whole = await files(connection, tables)
    for name in TABLES:
        columns = ", ".join(
            row[0]
            for row in await connection.fetch(
                "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped"
                " ORDER BY attnum",
                name,
            )
        )
        await connection.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER")
        await connection.execute(
            f"INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE"
            f" SELECT {_AGAIN[name]} FROM generate_series(1, {_TIMES - 1}) k, {name} ORDER BY k"
        )
    many = await files(connection, tables)
    await connection.close()
    for what, sizes, number in (
        ("rows and index entries", packed, records),
        ("files", {name: size / records for name, size in whole.items()}, records),
        ("files of many", {name: size / records / _TIMES for name, size in many.items()}, records * _TIMES),
    ):
        shares = ", ".join(f"{name.removeprefix('public.')} {size:.0f}" for name, size in sizes.items())
        total = sum(sizes.values())
        print(f"{what}: {total:,.0f} bytes a record of {number}, {total / LIMIT:.2f} of the limit: {shares}")


async def files(connection: asyncpg.Connection, tables: Sequence[str]) -> dict[str, int]:
    """Bytes of the files of each table, packed as VACUUM FULL leaves them, indexes and all."""
    for name in tables:
        await connection.execute(f"VACUUM (FULL) {name}")
    return {
        name: await connection.fetchval("SELECT pg_total_relation_size($1::text::regclass)", name) or 0
        for name in tables
    }


def main() -> None:
    """Play the demo, keep what it leaves, measure, and remove it."""
    played = subprocess.run(
        [sys.executable, "-m", "service", "demo", "--keep"], capture_output=True, text=True, check=False
    )
    match = re.search(r"The data stays in (\S+),", played.stdout)
    if played.returncode or not match:
        raise SystemExit(f"{played.stdout[-3_000:]}{played.stderr[-500:]}\nthe demo did not come to its end")
    folder = Path(match[1])
    try:
        with Embedded.start(folder) as embedded:
            asyncio.run(measure(embedded.owner_dsn))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
