"""One embedded PostgreSQL for all test workers, one migrated and one founded template, one copy of either per test."""

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import asyncpg
import msgspec
import pytest

from service.db import Embedded, migrate
from service.db.migrations import digests
from tests.kit import Founded, House, plain_logs

REPOSITORY = Path(__file__).resolve().parents[1]
SERVER = REPOSITORY / ".cache" / "tests-pg"
_numbers = count(1)
plain_logs()


class Database(msgspec.Struct, frozen=True):
    """A migrated database of one test's own."""

    name: str
    owner_dsn: str
    """For arranging what the service itself may not do."""
    service_dsn: str
    """What the service gets."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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


# By files, not through the write-ahead log: it takes half the time where nobody waits for the disk.
_COPY = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy OWNER mandate_owner"


def _database(postgres: Embedded, name: str) -> Database:
    return Database(name, postgres.address("mandate_owner", name), postgres.address("mandate_service", name))


@pytest.fixture(scope="session")
def founding(postgres: Embedded, template: str) -> Iterator[Database]:
    """A database of this worker, for `founded`."""
    database = _database(postgres, f"founded_{os.getpid()}")
    postgres.query(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")
    postgres.query(_COPY.format(database.name, template))
    yield database
    postgres.query(f"DROP DATABASE {database.name} WITH (FORCE)")


@pytest.fixture(scope="session")
async def founded(founding: Database, tmp_path_factory: pytest.TempPathFactory) -> Founded:
    """A founded house that was looked through and closed again, for the tests of this worker to copy."""
    data = tmp_path_factory.mktemp("founded")
    async with House.open(founding.service_dsn, data) as house:
        await house.reconcile()
        await house.rebuild()
    return Founded(founding.name, data, house.tokens)


@pytest.fixture
async def database(
    postgres: Embedded, template: str, request: pytest.FixtureRequest
) -> AsyncIterator[Database]:
    """A migrated database of the test's own, gone afterwards; a founded one where the test asks for a house."""
    database = _database(postgres, f"test_{os.getpid()}_{next(_numbers)}")
    if "founded" in request.fixturenames:
        template = request.getfixturevalue("founded").name
    admin = await asyncpg.connect(postgres.admin_dsn)
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")
        await admin.execute(_COPY.format(database.name, template))
        yield database
        await admin.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def house(
    database: Database, founded: Founded, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[House]:
    """A founded service of the test's own; see tests/kit.py. What the test leaves behind must fit together."""
    async with House.join(database.service_dsn, tmp_path, founded) as house:
        yield house
        if request.node.get_closest_marker("unreconciled") is None:
            await house.reconcile()
            await house.rebuild()
