"""What is killed loses nothing that was acknowledged: the database under load, and the service between commit and answer."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import asyncpg
import httpx
import msgspec
import psutil
import pytest

from service.db import Embedded, migrate
from tests.kit import House

KILLS = 10
PEOPLE = 40


@pytest.fixture
def server() -> Iterator[Path]:
    """The data folder of a PostgreSQL of the test's own, which may be killed; fsync and synchronous_commit are on."""
    with tempfile.TemporaryDirectory(prefix="mandate-faults-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with Embedded.start(folder) as embedded:
            migrate(embedded.owner_dsn, say=None)
            yield folder


def kill(folder: Path) -> None:
    """Cut PostgreSQL off as a power failure would, and start it again on the same folder."""
    postmaster = psutil.Process(int((folder / "postgresql" / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children()]
    os.kill(postmaster.pid, signal.SIGKILL)
    # Its children notice within a second; until the last is gone no other server may use the folder.
    psutil.wait_procs(processes, timeout=10)
    Embedded.start(folder)


async def mute_until_told_to_stop(
    house: House, number: int, acknowledged: dict[str, str], stop: asyncio.Event
) -> int:
    """Mute one member again and again, each act retried under its own key until it is acknowledged; count the 503s."""
    turned_away = 0
    turn = 0
    while not stop.is_set():
        turn += 1
        key = f"{number}-{turn}"
        body = {"person_id": f"p{number}", "seconds": 60 + turn, "reason": "spam"}
        while True:
            answer = await house.ask("ann", "POST", "/v1/groups/g/mutes", body, key=key)
            if answer.status_code == 200:
                acknowledged[key] = answer.json()["record_id"]
                break
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            turned_away += 1
            await asyncio.sleep(0.05)
    return turned_away


async def reconcile(dsn: str) -> tuple[set[str], set[str], set[str]]:
    """Record ids of mutes in the log, in the table of mutes, and among the effects."""
    connection = await asyncpg.connect(dsn)
    recorded = await connection.fetch("SELECT rid FROM record WHERE act = 'group.mute' AND out = 'done'")
    applied = await connection.fetch("SELECT by_record FROM mute")
    told = await connection.fetch("SELECT rid FROM outbox WHERE kind = 'group.muted'")
    lost = await connection.fetchval(
        "SELECT count(*) FROM record r WHERE NOT EXISTS (SELECT FROM pending p WHERE p.id = r.id)"
        " AND NOT EXISTS (SELECT FROM log_entry e WHERE e.record_id = r.id)"
    )
    answers = await connection.fetch("SELECT answer FROM request_key WHERE status = 200")
    await connection.close()
    assert lost == 0
    answered = {msgspec.json.decode(row[0])["record_id"] for row in answers}
    assert {row[0] for row in recorded} == answered
    return {row[0] for row in recorded}, {row[0] for row in applied}, {row[0] for row in told}


@pytest.mark.slow
async def test_acts_survive_a_database_that_is_killed_under_load(server: Path, tmp_path: Path) -> None:
    """S001, S009: callers get 503 while it is away; every acknowledged act is there exactly once, with its record."""
    with Embedded.start(server) as embedded:
        dsn, owner = embedded.service_dsn, embedded.owner_dsn
    async with House.open(dsn, tmp_path) as house:
        await house.has_group("g", "ann", (), tuple(f"p{number}" for number in range(PEOPLE)))
        acknowledged: dict[str, str] = {}
        stop = asyncio.Event()
        load = [
            asyncio.create_task(mute_until_told_to_stop(house, number, acknowledged, stop))
            for number in range(PEOPLE)
        ]
        for _ in range(KILLS):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(kill, server)
        await asyncio.sleep(0.4)
        stop.set()
        turned_away = sum(await asyncio.gather(*load))
    recorded, applied, told = await reconcile(owner)
    assert turned_away > 0
    assert recorded == applied == told
    assert set(acknowledged.values()) == recorded
    assert len(acknowledged) == len(recorded)


@pytest.fixture
async def arranged(server: Path, tmp_path: Path) -> tuple[str, str, dict[str, str]]:
    """A founded house with group g, not served: addresses of the service's role and the owner, and the keys."""
    with Embedded.start(server) as embedded:
        dsn, owner = embedded.service_dsn, embedded.owner_dsn
    async with House.open(dsn, tmp_path) as house:
        await house.has_group("g", "ann", (), tuple(f"p{number}" for number in range(PEOPLE)))
        return dsn, owner, house.tokens


def serving(
    dsn: str, data: Path, said: int | IO[bytes] = subprocess.DEVNULL, **more: str
) -> tuple["subprocess.Popen[str]", str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MANDATE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        cwd=Path(__file__).resolve().parents[1],
        env={
            **environment,
            "MANDATE_DSN": dsn,
            "MANDATE_DATA": str(data),
            "MANDATE_LOG_LEVEL": "error",
            **more,
        },
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" in line:
            return process, "http://" + line.split("http://", 1)[1].split()[0]
    raise AssertionError(f"serve ended with code {process.wait()}")


def kill_all_of(process: "subprocess.Popen[str]") -> None:
    """Kill what `mandate serve` started together with it, in the midst of what they do."""
    workers = psutil.Process(process.pid).children()
    for one in (process, *workers):
        one.kill()
    psutil.wait_procs(workers, 10)


@pytest.mark.slow
async def test_a_worker_that_is_killed_is_replaced(
    arranged: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    """Several processes answer; one that is killed is missed by nobody who asks again, and soon there is another."""
    dsn, _, _ = arranged
    process, url = await asyncio.to_thread(serving, dsn, tmp_path, MANDATE_WORKERS="2")
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    assert [one.cpu_affinity() for one in workers] == [psutil.Process().cpu_affinity()] * 2
    workers[0].kill()
    for _ in range(100):
        await asyncio.sleep(0.1)
        now = psutil.Process(process.pid).children()
        if (
            len(now) == 2
            and workers[0] not in now
            and all(len(one.net_connections("tcp")) > 0 for one in now)
        ):
            break
    else:
        raise AssertionError("the worker was not replaced")
    for _ in range(20):
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/health/ready")).status_code == 200
    process.terminate()
    assert process.wait(15) == 0
    assert not any(one.is_running() for one in now)


@pytest.mark.slow
async def test_each_core_has_a_worker_that_stays_on_it(
    arranged: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    """Unless a number is asked for, there is one for each core, also where one was replaced."""
    cores = psutil.Process().cpu_affinity()
    if len(cores) == 1:
        pytest.skip("on one core one process answers")
    dsn, _, _ = arranged
    process, _ = await asyncio.to_thread(serving, dsn, tmp_path)
    main = psutil.Process(process.pid)
    assert main.cpu_affinity() == cores
    workers = main.children()
    assert sorted(one.cpu_affinity() for one in workers) == [[core] for core in cores]
    workers[0].kill()
    now: list[list[int]] = []
    for _ in range(200):
        await asyncio.sleep(0.1)
        # The one that was killed may still be listed.
        with suppress(psutil.Error):
            now = sorted(one.cpu_affinity() for one in main.children() if one != workers[0])
        if len(now) == len(cores) and all(len(one) == 1 for one in now):
            break
    assert now == [[core] for core in cores]
    process.terminate()
    assert process.wait(15) == 0


@pytest.mark.slow
async def test_workers_that_cannot_be_replaced_at_once_are_replaced_later(
    arranged: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    """Where there are no files left to open, the workers that ended come back once there are."""
    dsn, _, _ = arranged
    with (tmp_path / "said").open("wb") as said:
        process, url = await asyncio.to_thread(serving, dsn, tmp_path, said, MANDATE_WORKERS="2")
    main = psutil.Process(process.pid)
    _, most = main.rlimit(psutil.RLIMIT_NOFILE)
    main.rlimit(psutil.RLIMIT_NOFILE, (3, most))
    for worker in main.children():
        worker.kill()
    for _ in range(600):
        await asyncio.sleep(0.1)
        if (tmp_path / "said").read_bytes().count(b"worker.failed") >= 2:
            break
    else:
        raise AssertionError((tmp_path / "said").read_text())
    main.rlimit(psutil.RLIMIT_NOFILE, (most, most))
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=url) as client:
        ready = 0
        while len(main.children()) < 2 or not ready:
            await asyncio.sleep(0.1)
            with suppress(httpx.HTTPError):
                ready = (await client.get("/health/ready")).status_code == 200
    process.terminate()
    assert process.wait(15) == 0


@pytest.mark.slow
async def test_acts_survive_a_service_that_is_killed_under_load(
    arranged: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    """S010: who asks again after a crash between commit and answer gets the first answer, and nothing is done twice."""
    dsn, owner, tokens = arranged
    acknowledged: dict[str, bytes] = {}

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        key = f"crash-{number}"
        answer = await client.post(
            "/v1/groups/g/mutes",
            json={"person_id": f"p{number % PEOPLE}", "seconds": 60 + number, "reason": "spam"},
            headers={
                "authorization": f"Bearer {tokens['im']}",
                "x-on-behalf-of": "ann",
                "idempotency-key": key,
            },
        )
        assert answer.status_code == 200, answer.text
        assert acknowledged.setdefault(key, answer.content) == answer.content

    asked = 0
    for _ in range(3):
        process, url = await asyncio.to_thread(serving, dsn, tmp_path)
        async with httpx.AsyncClient(base_url=url, timeout=10) as client:
            load = [asyncio.create_task(ask(client, number)) for number in range(asked, asked + 300)]
            asked += 300
            await asyncio.sleep(0.25)
            kill_all_of(process)
            await asyncio.gather(*load, return_exceptions=True)
        process.wait(10)
    process, url = await asyncio.to_thread(serving, dsn, tmp_path)
    # Not all at once: the client looks through all that wait each time that one is answered.
    few = asyncio.Semaphore(50)

    async def ask_again(client: httpx.AsyncClient, number: int) -> None:
        async with few:
            await ask(client, number)

    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await asyncio.gather(*(ask_again(client, number) for number in range(asked)))
    process.terminate()
    process.wait(15)
    recorded, applied, told = await reconcile(owner)
    assert recorded == applied == told
    assert {msgspec.json.decode(body)["record_id"] for body in acknowledged.values()} == recorded
    assert len(recorded) == asked
