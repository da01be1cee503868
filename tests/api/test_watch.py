"""Logs and metrics: what is told of every act and request, and what never is."""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from service import log
from service.caller import Caller
from service.db import Embedded
from service.domain.staff import AppointStaff
from service.errors import Refusal
from tests.conftest import Database
from tests.kit import House, out_of_reach, plain_logs

pytestmark = pytest.mark.anyio
NOTE, NAME, PERSON, PURPOSE = "zebra-note", "zebra-name", "zebra-person", "zebra-purpose"


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    """Everything that is logged during a test, as an operator would see it."""
    kept, level = logging.root.handlers[:], logging.root.level
    stream = io.BytesIO()
    log.set_up("debug", stream)
    # The loggers of modules outlive a test; cached, they would write to the first test's stream for ever.
    structlog.configure(cache_logger_on_first_use=False)
    yield stream
    logging.root.handlers[:] = kept
    logging.root.setLevel(level)
    logging.captureWarnings(capture=False)
    plain_logs()


@pytest.fixture
async def house(lines: io.BytesIO, database: Database, tmp_path: Path) -> AsyncIterator[House]:
    """A house that is founded while the lines are kept: they tell of its first keys too."""
    async with House.open(database.service_dsn, tmp_path) as house:
        yield house
        await house.reconcile()


@pytest.fixture
async def group(lines: io.BytesIO, house: House) -> House:
    """Group g with a marked name: ann owns it, ben is admin, dan and a marked person are members."""
    await house.has_group("g", "ann", ("ben",), ("dan", PERSON), name=NAME)
    return house


def told(lines: io.BytesIO, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [line for line in found if line["event"] == event]


def metrics(house: House) -> str:
    return house.app.state.watch.metrics().decode()


async def mute(house: House, who: str, whom: str, seconds: Any = 60, **more: Any) -> Any:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud", **more}
    return await house.ask(who, "POST", "/v1/groups/g/mutes", body)


async def test_each_act_and_each_request_leaves_one_line(group: House, lines: io.BytesIO) -> None:
    """S005: an act's line names act, outcome, code, rule and record; the request's line has the same request id."""
    answer = await mute(group, "ben", "dan")
    [act] = [line for line in told(lines, "act") if line["act"] == "group.mute"]
    receipt = answer.json()
    assert (act["outcome"], act["code"], act["rule"]) == ("done", "", receipt["rule"])
    assert act["record_id"] == receipt["record_id"]
    assert act["ms"] > 0
    [request] = told(lines, "request")
    assert (request["method"], request["route"], request["status"]) == (
        "POST",
        "/v1/groups/{group_id}/mutes",
        200,
    )
    assert request["request_id"] == act["request_id"] == answer.headers["x-request-id"]


async def test_metrics_count_acts_requests_and_sets(group: House) -> None:
    """S005: acts by act, outcome and code; requests by method, route and status; sizes of sets and times."""
    await mute(group, "ben", "dan")
    await mute(group, "ben", "ann")
    await mute(group, "ben", "dan", 0)
    text = metrics(group)
    for line in (
        'mandate_actions_total{act="group.mute",code="",outcome="done"} 1.0',
        'mandate_actions_total{act="group.mute",code="rank_not_lower",outcome="refused"} 1.0',
        'mandate_actions_total{act="group.mute",code="duration_zero",outcome="refused"} 1.0',
        'mandate_requests_total{method="POST",route="/v1/groups/{group_id}/mutes",status="200"} 1.0',
        'mandate_requests_total{method="POST",route="/v1/groups/{group_id}/mutes",status="403"} 1.0',
        "mandate_door_waiting 0.0",
    ):
        assert line in text
    for name in (
        "mandate_set_size",
        "mandate_action_seconds",
        "mandate_request_seconds",
        "mandate_set_seconds",
    ):
        assert f"{name}_count" in text


async def test_a_set_that_fails_tells_how_many_wait_too(
    group: House, database: Database, postgres: Embedded
) -> None:
    """S005: while the database is away the count of waiting acts is that of now, not that of the last set that went through."""
    group.app.state.watch.ran(acts=1, seconds=0.1, waiting=7)
    assert "mandate_door_waiting 7.0" in metrics(group)
    async with out_of_reach(postgres.admin_dsn, database.name):
        with pytest.raises(Refusal, match="trail_unavailable"):
            await group.app.state.door.act(
                AppointStaff(staff_id="zoe", standing="auditor"), caller=Caller.founding()
            )
        assert "mandate_door_waiting 0.0" in metrics(group)


async def test_refusals_of_strangers_are_counted_and_only_counted(group: House) -> None:
    """S006: who has no standing fills no log; his tries show in a count, those of members in a record."""
    await group.has_people("zoe")
    for _ in range(3):
        await mute(group, "zoe", "dan")
    await mute(group, "dan", "ann")
    text = metrics(group)
    assert 'mandate_strangers_refused_total{act="group.mute",code="refused"} 3.0' in text
    assert len(await group.records("group.mute")) == 1


async def test_no_personal_value_reaches_logs_metrics_or_problems(
    group: House, lines: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1, S019: notes, names, people in free text, purposes and tokens stay out of every log line, metric and problem."""
    token = group.tokens["im"]
    answers = [
        await mute(group, "ben", "dan", note=f"{NOTE} about {PERSON}"),
        await mute(group, "ben", "ann", note=NOTE),
        await mute(group, PERSON, "dan", note=NOTE),
        await mute(group, "ben", "dan", NOTE, note=NOTE),
        await mute(group, "ben", "dan", reason=NOTE),
        await group.ask("ben", "POST", "/v1/groups/g/mutes", f'{{"person_id": "{NOTE}'.encode()),
        await group.ask("ben", "POST", "/v1/batches", {"items": [{"action": NOTE, NOTE: 1}]}),
        await group.ask("ben", "POST", "/v1/checks", {"action": "group.mute", "note": NOTE}),
        await group.ask("ben", "GET", f"/v1/{NOTE}/{PERSON}"),
        await group.ask("au", "GET", f"/v1/trails/group/g?purpose={PURPOSE}&limit={NOTE}"),
        await group.ask("reg", "GET", f"/v1/trails/group/g?purpose={PURPOSE}"),
        await group.client.get("/v1/changes", headers={"authorization": f"Bearer {NOTE}"}),
        await group.ask("au", "GET", f"/v1/responsibility/group/g?purpose={PURPOSE}&at={NOTE}"),
    ]
    answers.append(await broken_row(group, monkeypatch))
    answers.append(await broken_code(group, monkeypatch))
    assert {500, 503} <= {answer.status_code for answer in answers}
    logging.getLogger("asyncio").error("lost\ntask=%s", NOTE)
    for answer in answers:
        for value in (NOTE, NAME, PURPOSE, token):
            assert value not in answer.text, answer.text
    written = lines.getvalue().decode()
    assert (len(told(lines, "broken")), len(told(lines, "request"))) == (2, len(answers))
    assert len(told(lines, "act")) >= 5
    for value in (NOTE, NAME, PERSON, PURPOSE, token):
        assert value not in written
        assert value not in metrics(group)


async def broken_row(house: House, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the database refuse a whole row, which its message quotes."""
    from service.domain.groups.mutes import Mute

    async def bad(tx: Any, writes: Any) -> None:
        await tx.execute("UPDATE groups SET join_mode = $1 WHERE group_id = 'g'", NOTE)

    with monkeypatch.context() as patched:
        patched.setattr(Mute, "apply", bad)
        return await mute(house, "ben", "dan", 90, note=NOTE)


async def broken_code(house: House, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a handler fail with an error whose message, cause and locals hold what must not be seen."""

    async def bad(*_: Any, **__: Any) -> Any:
        secret = NOTE
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError(f"{secret} {house.tokens['im']}") from error

    with monkeypatch.context() as patched:
        patched.setattr(house.app.state.door, "check", bad)
        act = {"action": "group.mute", "group_id": "g", "person_id": "dan", "seconds": 60}
        return await house.ask("ben", "POST", "/v1/checks", act)


async def test_an_error_is_told_by_kind_place_and_cause(
    group: House, lines: io.BytesIO, monkeypatch: Any
) -> None:
    """S009: the log says where an error of ours arose and what the database's code was; the caller learns neither."""
    answer = await broken_row(group, monkeypatch)
    assert (answer.status_code, answer.json()["code"]) == (503, "trail_unavailable")
    [line] = told(lines, "broken")
    assert "sqlstate=23514" in line["trace"]
    assert "constraint_name=groups_join_mode_check" in line["trace"]
    assert "door.py" in line["trace"]


async def test_metrics_are_for_this_machine_and_for_staff(group: House) -> None:
    """S021: from elsewhere, or through a proxy, metrics need a key of staff; reading them counts as no request."""
    local = await group.client.get("/metrics")
    assert local.status_code == 200
    assert local.headers["content-type"].startswith("text/plain")
    proxied = {"x-forwarded-for": "203.0.113.9"}
    assert (await group.client.get("/metrics", headers=proxied)).status_code == 401
    assert (await group.ask("mo", "GET", "/metrics", headers=proxied)).status_code == 200
    assert (await group.ask("im", "GET", "/metrics", headers=proxied)).status_code == 403
    assert 'route="/metrics"' not in metrics(group)


async def test_the_labels_of_metrics_do_not_grow_with_what_callers_send(group: House) -> None:
    """S006: unknown paths and methods share one label each, so nobody can fill the metrics from outside."""
    for number in range(5):
        await group.ask("im", "GET", f"/v1/nothing/{number}")
        await group.client.request(f"ODD{number}", "/v1/changes")
        assert "x-request-id" in (await group.ask("im", "GET", "/nowhere")).headers
    text = metrics(group)
    assert 'mandate_requests_total{method="GET",route="none",status="404"} 10.0' in text
    assert "nothing" not in text
    assert "ODD" not in text
