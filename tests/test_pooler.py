"""Behind PgBouncer in transaction mode: a real one, where the machine has it; two messages may then reach two servers."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from service.settings import Settings
from service.trail.sequencer import Sequencer
from tests.conftest import Database
from tests.kit import House
from tests.logcheck import check_log
from tests.taking import export, verify

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SERVERS = 2
"""Connections that the pooler opens to the database: fewer than the service has to the pooler."""
CONFIG = """\
[databases]
{name} = host={socket} dbname={name}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {servers}
"""


@pytest.fixture
def pooler(database: Database) -> Iterator[str]:
    """The service's address through a PgBouncer in transaction mode; the database was migrated past it."""
    if PROGRAM is None:
        pytest.skip("no pgbouncer is installed on this machine")
    place = Path(parse_qs(urlsplit(database.service_dsn).query)["host"][0])
    # It refuses to be root, and only the user of the database's server may pass to its socket.
    user = pwd.getpwuid(place.stat().st_uid) if os.geteuid() == 0 else None
    folder = Path("/tmp") / f"mandate-pooler-{os.getpid()}"  # noqa: S108  pytest's own folders are closed to others
    folder.mkdir(mode=0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "users").write_text('"mandate_service" ""\n')
    text = CONFIG.format(name=database.name, socket=place, port=port, folder=folder, servers=SERVERS)
    (folder / "pgbouncer.ini").write_text(text)
    as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [PROGRAM, folder / "pgbouncer.ini"], stdout=said, stderr=subprocess.STDOUT, cwd="/", **as_user
        )
    try:
        for _ in range(100):
            with socket.socket() as knocking:
                if knocking.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "said").read_text()
            time.sleep(0.05)
        yield f"postgresql://mandate_service@127.0.0.1:{port}/{database.name}?sslmode=disable"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


@pytest.mark.anyio
async def test_a_house_behind_a_pooler_acts_logs_signs_and_proves(
    pooler: str, database: Database, tmp_path: Path
) -> None:
    """O3: through PgBouncer in transaction mode a house is founded, acts at once, logs and signs by itself beside a second
    sequencer, and hands out a bundle that verifies.
    """
    quick = {"sequence_seconds": 0.02, "statement_cache": 0}
    async with House.open(pooler, tmp_path, **quick) as house:
        await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
        state = house.app.state
        settings = Settings(dsn=pooler, data=tmp_path, map_bits=4)
        second = Sequencer.of(settings, state.db, state["keys"], house.clock, lambda: house.edition)
        await second.start()

        async def mute(number: int) -> None:
            body = {"person_id": ("dan", "eve")[number % 2], "seconds": 60 + number, "reason": "fraud"}
            await house.do("ben", "POST", "/v1/groups/g/mutes", body)

        for turn in range(5):
            await asyncio.gather(*(mute(10 * turn + n) for n in range(10)), second.once())
        owner = await asyncpg.connect(database.owner_dsn)
        try:
            servers = await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename = 'mandate_service'",
                database.name,
            )
        finally:
            await owner.close()
        assert 0 < servers <= SERVERS < state.settings.pool_size
        bundle = await export(house, "group:g")
        verdict = await verify(house, tmp_path, bundle)
        assert verdict.exit_code == 0, verdict.text("en")
        assert (await house.client.get("/health/ready")).status_code == 200
        await house.reconcile()
    async with House.reopen(pooler, tmp_path, statement_cache=0) as house:
        log_key = str(house.app.state.sequencer.genesis.log_key)
        replay = await check_log(house.db, house.app.state.settings.origin, log_key)
        assert replay.size > 50
        assert not await house.db._pool.fetch("SELECT id FROM pending")
