"""What the log announces by itself: each adopted edition, and how long bodies are kept; once, whoever crashes."""

import base64
import datetime as dt
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.clock import instant_text, to_us
from service.policy import digest
from service.trail.record import canonical
from tests.api.test_log import another, check, crash_after
from tests.kit import MORNING, POLICIES, House
from tests.logcheck import dump
from tests.taking import agreed, body, export, lines, verify

pytestmark = pytest.mark.anyio
TERM_OVER = {"legal_basis": ["pipl:art.19"]}
RETIRE = "/v1/record-retirements"
FOURTEEN_MONTHS = 430 * 86_400


async def told(house: House) -> list[tuple[str, dict[str, Any]]]:
    """The notices of the log, in order."""
    async with house.db.read() as db:
        rows = await db.fetch("SELECT entry FROM log_entry WHERE record_id IS NULL AND idx > 0 ORDER BY idx")
    said = [json.loads(row["entry"][21:]) for row in rows if row["entry"][0] == 3]
    return [(one["code"], one["p"]) for one in said if one["kind"] == "notice"]


def first(house: House) -> list[tuple[str, dict[str, Any]]]:
    """What a founded house announces: its first edition, and the term that this edition says."""
    adopted = {"digest": house.edition, "effective_us": to_us(MORNING)}
    return [("edition.adopted", adopted), ("retention.period", {"digest": house.edition, "months": 13})]


async def adopt(house: House, months: int) -> str:
    """Adopt an edition of another term, in force in an hour; return its digest."""
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(POLICIES.iterdir())}
    parameters = files["parameters.csv"].replace(
        "log_retention_months,13,", f"log_retention_months,{months},"
    )
    files["parameters.csv"] = parameters
    number = digest({name: text.encode() for name, text in files.items()})
    at = instant_text(house.clock.now() + dt.timedelta(hours=1))
    asked = {"digest": number, "effective_at": at, "files": files}
    await agreed(house, await house.do("co", "POST", "/v1/editions", asked), "ap")
    return number


async def test_an_edition_is_announced_when_adopted_and_a_term_when_it_is_in_force(house: House) -> None:
    """9.1: the log holds one notice of each adopted edition, and one of the term of keeping bodies each time it is another."""
    before = first(house)
    await house.publish()
    assert await told(house) == before
    assert await house.publish() == await house.publish(), "nothing is announced twice"
    number = await adopt(house, 24)
    await house.publish()
    in_force_us = to_us(house.clock.now() + dt.timedelta(hours=1))
    adopted = ("edition.adopted", {"digest": number, "effective_us": in_force_us})
    assert await told(house) == [*before, adopted]
    house.clock.advance(3600)
    await house.app.state.editions.refresh()
    size = await house.publish()
    assert await told(house) == [*before, adopted, ("retention.period", {"digest": number, "months": 24})]
    assert await house.publish() == size
    again = another(house)
    again.in_force = house.app.state.sequencer.in_force
    await again.start()
    assert await again.once() == 0
    assert await house.publish() == size, "a process that knows of nothing reads it in the log"
    await check(house)


async def test_a_notice_is_neither_lost_nor_written_twice_in_a_crash(house: House) -> None:
    """9.1: whatever statement the sequencer dies after, the next turn announces all, once."""
    before, crashes = await dump(house.db), 0
    while (await dump(house.db))["log_entry"] == before["log_entry"]:
        crashes += 1
        with crash_after(crashes), suppress(ZeroDivisionError):
            await house.app.state.sequencer.once()
    assert crashes > 6
    await house.publish()
    assert await told(house) == first(house)
    await check(house)


async def test_a_body_is_retired_only_after_a_term_that_the_log_announced(
    house: House, tmp_path: Path
) -> None:
    """S199, S200: no body goes while no notice names the term in force; the record names the notice, which bundles show."""
    announcing = house.app.state.sequencer.in_force
    house.app.state.sequencer.in_force = None
    await house.has_group("g", "ann", ("ben",), ("dan",))
    mute = {"person_id": "dan", "seconds": 60, "reason": "fraud", "note": "again and again"}
    act = await house.do("ben", "POST", "/v1/groups/g/mutes", mute)
    # Another notice is none of the term.
    other = {"code": "repair.report", "kind": "notice", "p": {"months": 13}}
    await house.app.state.sequencer.add(lambda _: canonical(other))
    async with house.db.read() as db:
        place = await db.fetchval(
            "SELECT idx FROM log_entry e JOIN record r ON r.id = e.record_id WHERE rid = $1", act["record_id"]
        )
    house.clock.advance(FOURTEEN_MONTHS)
    asked = {"from_index": place, "to_index": place + 1} | TERM_OVER
    problem = await house.refused("retention_runs", "co", "POST", RETIRE, asked)
    assert problem["data"] == {"announced": None, "months": 13}
    house.app.state.sequencer.in_force = announcing
    await house.publish()
    await agreed(house, await house.do("co", "POST", RETIRE, asked), "ap", "co2")
    await house.publish()
    bundle = await export(house, "group:g")
    assert (await verify(house, tmp_path, bundle)).exit_code == 0
    assert [one["gone"] is not None for one in lines(bundle, "record")] == [True]
    [cited] = lines(bundle, "cited")
    shown = {one["index"]: base64.b64decode(one["entry"]) for one in lines(bundle, "config")}
    assert b'"code":"retention.period"' in shown[body(cited)["p"]["notice"]]
    # A changed term counts from its own notice on.
    await adopt(house, 24)
    house.clock.advance(3600)
    await house.app.state.editions.refresh()
    problem = await house.refused("retention_runs", "co", "POST", RETIRE, asked | {"to_index": place + 12})
    assert problem["data"] == {"announced": 13, "months": 24}
