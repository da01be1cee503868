"""Logs that were ended: their tables stand, whole, in schemas of their own (succession.py), and are read by the same queries.

Their records and subjects' names are still those of the house; only what proves them stands apart.
"""

from __future__ import annotations

from service.db import Reader, queries
from service.trail.beginning import entry_0
from service.trail.entry import Genesis

sql = queries(__file__)


async def logs(db: Reader) -> list[str]:
    """The logs of this house as `look_in` takes them: those that were ended, the oldest first, then the one that stands."""
    return await sql.logs(db)


async def look_in(db: Reader, log: str) -> None:
    """Let this snapshot, until it ends, see the tables of one of `logs`."""
    # For this transaction only, so behind a pooler too.
    await sql.look_in(db, path=log)


async def enter(db: Reader, origin: str) -> Genesis | None:
    """Let this snapshot, until it ends, see the tables of the ended log of that name; return its entry 0. None: no such log."""
    *ended, here = await logs(db)
    for log in ended:
        await look_in(db, log)
        genesis = await entry_0(db)
        if genesis is not None and genesis.origin == origin:
            return genesis
    await look_in(db, here)
    return None
