"""Ending a log that cannot go on, after a restore for instance, and beginning one that names its last checkpoint as `prev`.

The tables of the old log are not emptied but moved, whole, into a schema of their own, so that what they prove stays
provable; new ones, with the same rules, take their place. Records that wait for an entry get it in the new log. All of it,
with entry 0, is one transaction of the tables' owner: whoever sequences meanwhile finds the old log or the new one.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from service.trail.entry import encode_config
from service.trail.merkle import Frontier, leaf

TABLES: Final = (
    "log_state",
    "log_entry",
    "log_tile",
    "subject",
    "subject_leaf",
    "checkpoint",
    "cosignature",
)

_TRIGGERS = """
SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND c.oid = $1::regclass ORDER BY t.tgname
"""
_GRANTS = """
SELECT format('GRANT %s ON %s TO %I', privilege_type, $1::text, grantee)
FROM information_schema.role_table_grants
WHERE table_schema = current_schema() AND table_name = $1::text AND grantee <> current_user
"""


async def begin_anew(owner_dsn: str, time_us: int, body: bytes) -> str:
    """Move the log aside and write entry 0 of a new one; `body` is its JSON. Returns the schema the old one is in."""
    connection = await asyncpg.connect(owner_dsn)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
            schema = await _move_aside(connection)
            data = encode_config(0, time_us, body)
            frontier = Frontier(1, [leaf(data)]).serialise()
            await connection.execute("INSERT INTO log_entry (idx, entry) VALUES (0, $1)", data)
            await connection.execute("INSERT INTO log_state VALUES (true, 1, $1, $2, 0)", frontier, time_us)
            return schema
    finally:
        await connection.close()


async def last_checkpoint(owner_dsn: str) -> str | None:
    """The last checkpoint the database knows of, for a start without the file that keeps it."""
    connection = await asyncpg.connect(owner_dsn)
    try:
        return await connection.fetchval("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
    finally:
        await connection.close()


async def _move_aside(connection: asyncpg.Connection) -> str:
    number = await connection.fetchval(
        "SELECT count(*) + 1 FROM pg_namespace WHERE nspname LIKE 'ended\\_log\\_%'"
    )
    schema, here = f"ended_log_{number}", await connection.fetchval("SELECT current_schema()")
    await connection.execute(f"CREATE SCHEMA {schema}")
    for table in TABLES:
        triggers = [row[0] for row in await connection.fetch(_TRIGGERS, table)]
        grants = [row[0] for row in await connection.fetch(_GRANTS, table)]
        await connection.execute(f"ALTER TABLE {table} SET SCHEMA {schema}")
        await connection.execute(f"CREATE TABLE {here}.{table} (LIKE {schema}.{table} INCLUDING ALL)")
        for statement in (*triggers, *grants):
            await connection.execute(statement)
        # Read by exports, and written by nobody.
        await connection.execute(f"REVOKE INSERT, UPDATE ON {schema}.{table} FROM mandate_service")
    await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO mandate_service")
    return schema
