"""What do our transaction and named statements cost over the bare driver? Limit: 1.5 times.

Run as `python -m bench.statements`; it starts a database of its own in a temporary folder.
"""

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import uvloop

from service.db import Db, Embedded
from service.db.named import Queries

LIMIT = 1.5
ROUNDS = 1_000
STATEMENT = "SELECT oid, typname FROM pg_type WHERE typname = $1"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        file = Path(folder) / "statements.sql"
        file.write_text(f"-- name: get_type^\n{STATEMENT.replace('$1', ':name')};\n", encoding="utf-8")
        with Embedded.start(Path(folder) / "data") as server:
            sql, db = Queries(file), await Db.open(server.service_dsn, size=1)
            pool = await asyncpg.create_pool(server.service_dsn, min_size=1, max_size=1)

            async def ours() -> None:
                async with db.transaction() as tx:
                    await sql.get_type(tx, name="int4")

            async def bare() -> None:
                async with pool.acquire() as connection, connection.transaction():
                    await connection.fetchrow(STATEMENT, "int4")

            # Taken in turn, the best of each: a busy machine slows both, but not in the same second.
            pairs = [(await _seconds(ours), await _seconds(bare)) for _ in range(5)]
            slow, quick = (min(times) for times in zip(*pairs, strict=True))
            await pool.close()
            await db.close()
    ratio = slow / quick
    print(
        f"ours {slow / ROUNDS * 1e6:.0f} us, bare {quick / ROUNDS * 1e6:.0f} us, ratio {ratio:.2f} of {LIMIT}"
    )
    assert ratio <= LIMIT


async def _seconds(work: Callable[[], Awaitable[None]]) -> float:
    await work()
    started = time.perf_counter()
    for _ in range(ROUNDS):
        await work()
    return time.perf_counter() - started


if __name__ == "__main__":
    uvloop.run(main())
