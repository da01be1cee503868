"""How long records wait for their entries: measured by who keeps time and by who sequences, and told when it is too long."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
from msgspec.structs import replace

from service.app import post_alone, sequence_alone
from service.db import Embedded
from service.watch import Watching
from tests.conftest import Database
from tests.kit import House, out_of_reach
from tests.served import Served

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(house: House) -> House:
    """Group g; the founding is in the log, which promises ten seconds."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    await house.publish()
    return house


async def mute(house: House, whom: str = "dan") -> None:
    body = {"person_id": whom, "seconds": 600, "reason": "fraud"}
    await house.do("ben", "POST", "/v1/groups/g/mutes", body)


def told(of: House | Watching, name: str) -> str | None:
    """The value of a metric, None where it is not published."""
    watch: Watching = of.app.state.watch if isinstance(of, House) else of
    lines = watch.metrics().decode().splitlines()
    return next((line.split()[1] for line in lines if line.startswith(f"{name} ")), None)


async def measured(house: House) -> tuple[str | None, list[tuple[str, str]]]:
    """What one measuring publishes, and level and event of what it logs."""
    with structlog.testing.capture_logs() as said:
        await house.app.state.waiting.measure()
    return told(house, "mandate_log_waiting_seconds"), [(one["log_level"], one["event"]) for one in said]


async def test_the_age_of_the_oldest_waiting_record_is_measured_and_told_once(group: House) -> None:
    """O3: 0 where none waits, the age of the oldest where any does; past the promise one critical line, and one when it is over."""
    assert await measured(group) == ("0.0", [])
    await mute(group)
    group.clock.advance(3)
    await mute(group, "eve")
    group.clock.advance(7)
    assert await measured(group) == ("10.0", [])
    group.clock.advance(2)
    with structlog.testing.capture_logs() as said:
        await group.app.state.waiting.measure()
    [line] = said
    assert (line["log_level"], line["event"], line["seconds"], line["promised_seconds"]) == (
        "critical", "log.late", 12, 10,
    )  # fmt: skip
    assert "mandate work sequencer" in line["do"]
    group.clock.advance(5)
    assert await measured(group) == ("17.0", [])
    await group.publish()
    assert await measured(group) == ("0.0", [("warning", "log.in_time")])


async def test_while_the_database_is_out_of_reach_the_age_grows(
    group: House, database: Database, postgres: Embedded
) -> None:
    """O3: who cannot look does not say 0: others may commit what he does not see. Nor is the log called fit meanwhile."""
    await measured(group)
    async with out_of_reach(postgres.admin_dsn, database.name):
        await group.app.state.sequencer._take_turn()
        assert told(group, "mandate_log_stalled") is None
        group.clock.advance(8)
        assert await measured(group) == ("8.0", [])
        group.clock.advance(8)
        assert await measured(group) == ("16.0", [("critical", "log.late")])
    assert await measured(group) == ("0.0", [("warning", "log.in_time")])
    await group.app.state.sequencer._take_turn()
    assert told(group, "mandate_log_stalled") == "0.0"


async def test_while_the_database_answers_with_an_error_the_age_grows(
    group: House, database: Database
) -> None:
    """O3: a table that somebody keeps locked is as good as a database out of reach, and its words are not logged."""
    await measured(group)
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE record IN ACCESS EXCLUSIVE MODE")
            group.clock.advance(11)
            with structlog.testing.capture_logs() as said:
                assert await group.app.state.waiting.measure() == 11
            [line] = said
            assert (line["event"], line["lost"]) == ("log.late", "LockNotAvailableError")
    finally:
        await owner.close()
    assert await measured(group) == ("0.0", [("warning", "log.in_time")])


async def test_a_turn_without_database_leaves_what_was_said_of_the_log(
    group: House, database: Database, postgres: Embedded
) -> None:
    """O3: a log that may not go on is not called fit because the database went away."""
    group.app.state.watch.sequenced(stalled=True)
    async with out_of_reach(postgres.admin_dsn, database.name):
        await group.app.state.sequencer._take_turn()
    assert told(group, "mandate_log_stalled") == "1.0"


async def test_who_never_looked_publishes_nothing(group: House, database: Database, tmp_path: Path) -> None:
    """O3: neither who only answers nor who only posts says of the log what he never measured; who sequences alone says both."""
    stalled, waits = "mandate_log_stalled", "mandate_log_waiting_seconds"
    settings = replace(group.app.state.settings, sequence_seconds=0.05)
    async with House.reopen(database.service_dsn, settings.data, sweep_seconds=0) as answering:
        assert (told(answering, stalled), told(answering, waits)) == (None, None)
    assert await alone(post_alone, settings) == (None, None)
    await mute(group)
    told_stalled, told_waits = await alone(sequence_alone, settings)
    assert told_stalled == "0.0"
    assert told_waits is not None


async def alone(work: Any, settings: Any) -> tuple[str | None, str | None]:
    watch = Watching()
    with suppress(TimeoutError):
        await asyncio.wait_for(work(settings, watch), 2)
    return told(watch, "mandate_log_stalled"), told(watch, "mandate_log_waiting_seconds")


@pytest.mark.slow
async def test_several_processes_tell_that_nobody_sequences(group: House, database: Database) -> None:
    """O3: `serve` that leaves the log to others says how long records wait, and not that the log goes on."""
    await mute(group)
    env = {"MANDATE_DSN": database.service_dsn, "MANDATE_WORKERS": "2", "MANDATE_SEQUENCE_SECONDS": "0"}
    folder = group.app.state.settings.data
    served = await asyncio.to_thread(lambda: Served(folder, **env))
    try:
        async with asyncio.timeout(15), httpx.AsyncClient(base_url=served.url) as client:
            said = ""
            while "mandate_log_waiting_seconds" not in said:
                await asyncio.sleep(0.1)
                said = (await client.get("/metrics")).text
        [age] = [line for line in said.splitlines() if line.startswith("mandate_log_waiting_seconds ")]
        assert float(age.split()[1]) > 10
        assert "mandate_log_stalled" not in said
    finally:
        await asyncio.to_thread(served.stop)
