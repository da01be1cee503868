"""A founded house to load: its own PostgreSQL, a served process, and many groups whose owner and members are known."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import subprocess
import sys
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg

from service.app import create_app
from service.db import Embedded, migrate
from service.founding import Founder, found
from service.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
STAFF = [Founder("co", ["compliance"]), Founder("ap", ["approver"]), Founder("cl", ["classifier"])]


def interpreter() -> str:
    """Which Python this is, and how quick: builds of one version differ by half, and half of an act's CPU time is the interpreter's."""
    seconds = min(timeit.repeat("{n: str(n) for n in (1, 2, 3)}", number=100_000, repeat=5))
    return f"{platform.python_implementation()} {platform.python_version()}, a dict of three in {seconds * 1e4:.0f} ns"


class Served(NamedTuple):
    """A running service and what one needs to ask it."""

    folder: Path
    port: int
    pid: int
    tokens: dict[str, str]
    embedded: Embedded


@contextmanager
def served(folder: Path, *, groups: int, members: int, **environment: str) -> Iterator[Served]:
    """Start PostgreSQL in `folder`, arrange `groups` of `members` each (g0: g0-p0 owns it), serve, and stop at the end."""
    with Embedded.start(folder / "pg") as embedded:
        migrate(embedded.owner_dsn, say=None)
        tokens = asyncio.run(_found(embedded, folder))
        asyncio.run(_arrange(embedded, groups, members))
        with serving(embedded.service_dsn, folder, **environment) as (port, pid):
            yield Served(folder, port, pid, tokens, embedded)


@contextmanager
def serving(dsn: str, data: Path, **environment: str) -> Iterator[tuple[int, int]]:
    """Serve as an operator would, in a process of its own; yield its port and process id."""
    with _running("serve", "--port", "0", MANDATE_DSN=dsn, MANDATE_DATA=str(data), **environment) as process:
        yield _port(process), process.pid


@contextmanager
def sequencing(house: Served) -> Iterator[None]:
    """Bring records into the log in a process of its own."""
    dsn, data = house.embedded.service_dsn, str(house.folder)
    with _running("work", "sequencer", MANDATE_DSN=dsn, MANDATE_DATA=data):
        yield


@contextmanager
def _running(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MANDATE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "service", *command],
        cwd=REPOSITORY,
        env=env | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"http://[^:]+:(\d+)", line):
            return int(match[1])
    raise SystemExit("the service ended before it served")


async def _found(embedded: Embedded, folder: Path) -> dict[str, str]:
    app = create_app(Settings(dsn=embedded.service_dsn, data=folder))
    async with app.lifespan():
        fresh = await found(app.state.door, app.state.db, STAFF, ["im"])
    return {key.key_id: key.token for key in fresh}


async def _arrange(embedded: Embedded, groups: int, members: int) -> None:
    """Fill the tables past the door: what is measured is the acts on them."""
    connection = await asyncpg.connect(embedded.owner_dsn)
    await connection.execute(
        f"""
        INSERT INTO person (person_id, jurisdiction, created_at, version, identity_status, identity_methods, verified_at,
            minor, bot, terms_accepted)
        SELECT 'g' || g || '-p' || p, 'CN-110000', now(), 1, 'verified', '["mobile"]', now(), 'no', false, '[]'
        FROM generate_series(0, {groups - 1}) g, generate_series(0, {members - 1}) p;
        INSERT INTO groups (group_id, code, name, klass, jurisdiction, created_at, version, owner_id, capacity, member_count,
            admin_count, messages_per_day, join_mode, discoverable, link_open, minors, tier, tier_basis, successors,
            imported, by_record, preserved)
        SELECT 'g' || g, 'code' || g, 'group', 'community', 'CN-110000', now(), 1, 'g' || g || '-p0', 200, {members},
            0, 0, 'approval', false, false, 'unknown', 2, '{{}}', '[]', false, 'arranged', false
        FROM generate_series(0, {groups - 1}) g;
        INSERT INTO role (by_record, person_id, group_id, rank, from_at)
        SELECT 'arranged', 'g' || g || '-p' || p, 'g' || g, CASE p WHEN 0 THEN 3 ELSE 1 END, now()
        FROM generate_series(0, {groups - 1}) g, generate_series(0, {members - 1}) p;
        """
    )
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
