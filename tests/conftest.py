"""One embedded PostgreSQL for all test workers, one migrated template, one copy of it per test."""

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import asyncpg
import msgspec
import pytest
import structlog

from service.db import Embedded, migrate
from service.db.migrations import digests
from tests.kit import House

REPOSITORY = Path(__file__).resolve().parents[1]
SERVER = REPOSITORY / ".cache" / "tests-pg"
_numbers = count(1)
# Tracebacks in colour, with every local, take minutes where something is nested a thousand deep.
structlog.configure(
    processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()]
)


class Database(msgspec.Struct, frozen=True):
    """A migrated database of one test's own."""

    name: str
    owner_dsn: str
    """For arranging what the service itself may not do."""
    service_dsn: str
    """What the service gets."""


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Embedded]:
    """The server of this test run and of those running beside it; stopped by the last one."""
    # Tests never cut the power, and each copies a database: waiting for the disk was most of their time. What must survive
    # a kill is tested on a server of its own (test_faults.py), where nothing of this is switched off.
    swift = {
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
    }
    with Embedded.start(SERVER, swift) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Embedded) -> str:
    """The name of a migrated database to copy; made once for each state of the migrations."""
    content = "".join(f"{name}{digest}" for name, digest in digests().items())
    name = f"template_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    with (SERVER / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if postgres.query(f"SELECT 1 FROM pg_database WHERE datname = '{name}' AND datistemplate") != "1":
            # A killed run may have left a half-migrated one; only a finished one is marked as template.
            postgres.query(f"DROP DATABASE IF EXISTS {name}")
            postgres.query(f"CREATE DATABASE {name} OWNER mandate_owner")
            migrate(postgres.address("mandate_owner", name), say=None)
            postgres.query(f"ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false")
    return name


@pytest.fixture
async def database(postgres: Embedded, template: str) -> AsyncIterator[Database]:
    """A migrated database of the test's own, gone afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(postgres.admin_dsn)
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER mandate_owner")
        yield Database(
            name, postgres.address("mandate_owner", name), postgres.address("mandate_service", name)
        )
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def house(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """A founded service of the test's own; see tests/kit.py. What the test leaves behind must fit together."""
    async with House.open(database.service_dsn, tmp_path) as house:
        yield house
        if request.node.get_closest_marker("unreconciled") is None:
            await house.reconcile()
