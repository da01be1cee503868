"""Logs that were ended: their tables stand, whole, in schemas of their own (succession.py), and are read by the same queries.

Their records and subjects' names are still those of the house; only what proves them stands apart.
"""

from __future__ import annotations

from service.db import Reader, queries
from service.trail.beginning import entry_0
from service.trail.entry import Genesis

sql = queries(__file__)


async def enter(db: Reader, origin: str) -> Genesis | None:
    """Let this snapshot, until it ends, see the tables of the ended log of that name; return its entry 0. None: no such log."""
    here = await sql.here(db)
    for row in await sql.ended(db):
        # For this transaction only, so behind a pooler too.
        await sql.look_in(db, path=f"{row['schema']}, {here}")
        genesis = await entry_0(db)
        if genesis is not None and genesis.origin == origin:
            return genesis
    await sql.look_in(db, path=here)
    return None
