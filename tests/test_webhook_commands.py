"""`mandate webhooks` and `mandate work webhooks` as an operator runs them: processes of their own, on a served house."""

import asyncio
import csv
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from service.commands.serving import free_port
from service.commands.webhooks import STANDINGS
from service.webhooks import FAMILIES
from tests.conftest import REPOSITORY, Database
from tests.kit import Founded, House
from tests.receiving import Post, Receiver, in_a_closed_network, receiving
from tests.served import Served, mandate, plain

pytestmark = pytest.mark.anyio
REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"


class Placed:
    """A house with group g, and what its commands need."""

    def __init__(self, house: House, env: dict[str, str]) -> None:
        self.house = house
        self.env = env

    async def run(self, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run `mandate webhooks …` while the receiver of this process goes on answering."""
        return await asyncio.to_thread(lambda: mandate("webhooks", *args, **(self.env | env)))

    async def said(self, *args: str) -> dict[str, Any]:
        """What a command says in JSON."""
        done = await self.run(*args, "--output", "json")
        [found] = json.loads(done.stdout)
        return found

    async def mute(self, whom: str, seconds: int = 60) -> None:
        body = {"person_id": whom, "seconds": seconds, "reason": "fraud"}
        await self.house.do("ann", "POST", "/v1/groups/g/mutes", body)

    async def _connected(self, connections: int) -> None:
        """Wait until so many are connected to the database: the house with four, each process with its two."""
        there = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        async with asyncio.timeout(20), self.house.db.read() as db:
            while await db.fetchval(there) < connections:  # noqa: ASYNC110  others connect
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def working(
        self, number: int, work: Sequence[str] = ("webhooks",), **env: str
    ) -> AsyncIterator[list[subprocess.Popen[bytes]]]:
        """So many `mandate work webhooks`, or of other work, which look ten times a second; killed at the end if they still run."""
        more = {
            "MANDATE_WEBHOOK_SECONDS": "0.1",
            "MANDATE_SEQUENCE_SECONDS": "0.1",
            "MANDATE_LOG_LEVEL": "warning",
            "MANDATE_POOL_SIZE": "2",
        }
        started = [
            subprocess.Popen(  # noqa: ASYNC220  it starts at once, and nobody waits for it here
                [sys.executable, "-m", "service", "work", *work],
                cwd=REPOSITORY, env=plain(**(self.env | more | env)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for _ in range(number)
        ]  # fmt: skip
        try:
            await self._connected(4 + 2 * number)
            yield started
        finally:
            for one in started:
                one.kill()
                await asyncio.to_thread(one.communicate)


@pytest.fixture
async def placed(database: Database, founded: Founded, tmp_path: Path) -> AsyncIterator[Placed]:
    data = tmp_path / "data"
    env = {"MANDATE_DSN": database.service_dsn, "MANDATE_DATA": str(data), "MANDATE_WEBHOOK_PRIVATE": "1"}
    async with in_a_closed_network(database, founded, data) as house:
        yield Placed(house, env)


async def until(true: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  what is waited for happens elsewhere
            await asyncio.sleep(0.02)


def test_the_families_are_those_of_all_effects() -> None:
    """Whatever an act tells a backend is of a noun that a webhook can choose, and there is no other."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "service").rglob("*.py"))
    assert set(re.findall(r"Effect\(\s*f?\"([a-z_]+)\.", code)) == set(FAMILIES)


async def test_a_webhook_is_handled_by_command(placed: Placed) -> None:
    """Added, tested, listed, rotated, paused, resumed, removed; the secret is shown twice: when it is made."""
    receiver = Receiver()
    async with receiving(receiver) as url:
        added = await placed.said(
            "add", f"{url}?token=hidden", "--name", "the IM", "--families", "group,account"
        )
        assert added["families"] == ["account", "group"]
        assert added["secret"].startswith("whsec_")
        webhook_id = added["webhook"]
        tested = await placed.said("test", webhook_id)
        assert (tested["answer"], tested["taken"]) == ("200", True)
        [event] = receiver.posts[0].events
        assert (event["type"], event["data"]) == ("mandate.ping", {"webhook_id": webhook_id})
        receiver.posts[0].verifies(added["secret"])
        rotated = await placed.said("rotate", webhook_id)
        receiver.answer = lambda _: 418
        failed = await placed.run("test", webhook_id)
        assert (failed.returncode, "418" in failed.stdout) == (1, True)
        receiver.posts[1].verifies(added["secret"])
        receiver.posts[1].verifies(rotated["secret"])
        with pytest.raises(WebhookVerificationError):
            receiver.posts[0].verifies(rotated["secret"])

        assert (await placed.run("pause", webhook_id)).stdout.startswith(f"{webhook_id} is paused.")
        await placed.mute("dan")
        table = (await placed.run("list")).stdout
        for words in (webhook_id, "the IM", "paused by operator", url):
            assert words in table
        [row] = csv.DictReader(io.StringIO((await placed.run("list", "--output", "csv")).stdout))
        assert list(row) == STANDINGS
        assert (row["behind"], row["families"], row["state"]) == ("1", "account|group", "paused by operator")
        for output in ("table", "json", "csv"):
            shown = await placed.run("list", "--output", output)
            assert not [one for one in ("hidden", "whsec", added["secret"][6:]) if one in shown.stdout]
        assert (await placed.run("resume", webhook_id)).returncode == 0
        assert (await placed.run("list", "--output", "json")).stdout.count("delivering") == 1
        assert (await placed.run("remove", webhook_id)).stdout == f"{webhook_id} is removed.\n"
        assert (await placed.run("list")).stdout == "There is no webhook.\n"


@pytest.mark.parametrize(
    ("args", "env", "words"),
    [
        (("add", "http://example.org/hook"), {"MANDATE_WEBHOOK_PRIVATE": "0"}, "only https"),
        (("add", "https://localhost/hook"), {"MANDATE_WEBHOOK_PRIVATE": "0"}, "loopback or private address"),
        (("add", "https://169.254.169.254/"), {}, "link-local"),
        (("add", "https://nowhere.invalid/"), {}, "no address"),
        (("add", "https://a:b@127.0.0.1/"), {}, "with a user"),
        (("add", "https://127.0.0.1/", "--families", "group,gruop"), {}, "no effect is of 'gruop'; known are account"),
        (("rotate", "wh-none"), {}, "no webhook wh-none"),
        (("pause", "wh-none"), {}, "no webhook wh-none"),
        (("test", "wh-none"), {}, "no webhook wh-none"),
        (("remove", "wh-none"), {}, "no webhook wh-none"),
        (("list",), {"MANDATE_DSN": "postgresql://u@127.0.0.1:1/m"}, "database is not available"),
        (("list",), {"MANDATE_DATA": "/nowhere"}, "no keys"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_one_line(
    placed: Placed, args: tuple[str, ...], env: dict[str, str], words: str
) -> None:
    """Exit code 2 and a sentence that says what to do; nothing is added."""
    done = await placed.run(*args, **env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    async with placed.house.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM webhook") == 0


async def test_there_is_a_most_of_webhooks(placed: Placed) -> None:
    """The thirty-third is refused: each costs every process a connection and a place to look at."""
    # A note is sealed, so there is a key by which the master key is known.
    body = {"person_id": "dan", "seconds": 60, "reason": "fraud", "note": "He was told before."}
    await placed.house.do("ann", "POST", "/v1/groups/g/mutes", body)
    async with placed.house.db.transaction() as tx:
        await tx.execute(
            "INSERT INTO webhook (webhook_id, name, url, families, created_at, wrapped, place, next_at)"
            " SELECT 'wh-' || n, '', 'https://127.0.0.1/', '{}', now(), '', 0, now() FROM generate_series(1, 32) n"
        )
    done = await placed.run("add", "https://127.0.0.1/")
    assert (done.returncode, "32 webhooks, which is the most" in done.stderr) == (2, True)


@pytest.mark.slow
async def test_a_process_killed_after_the_post_is_followed_by_one_that_posts_the_same(placed: Placed) -> None:
    """Killed with the post delivered and the place not moved: after the lease the next process posts it again, same id and bytes."""
    receiver = Receiver()

    async def never(_: Post) -> int:
        await asyncio.sleep(600)
        return 200

    async with receiving(receiver) as url:
        added = await placed.said("add", url)
        receiver.answer = never
        await placed.mute("dan")
        async with placed.working(1) as [first]:
            await asyncio.wait_for(receiver.came.wait(), 20)
            first.send_signal(signal.SIGKILL)
            await asyncio.to_thread(first.wait)
        receiver.answer = lambda _: 200
        await placed.mute("eve")
        async with placed.working(1):
            await asyncio.sleep(2)
            assert len(receiver.posts) == 1
            async with placed.house.db.transaction() as tx:
                # Half a minute, of which the test need not wait for the rest.
                await tx.execute("UPDATE webhook SET lease_until = now()")
            await until(lambda: len(receiver.effects) == 2)
    assert [one.message_id for one in receiver.posts[:2]] == [receiver.posts[0].message_id] * 2
    assert receiver.posts[0].body == receiver.posts[1].body
    for post in receiver.posts:
        post.verifies(added["secret"])


@pytest.mark.slow
async def test_two_processes_share_the_work_and_double_nothing(placed: Placed) -> None:
    """S001: beside each other they post every effect once and in order; one that is told to stop stops, and the other goes on."""
    receiver = Receiver()
    async with receiving(receiver) as url:
        hooks = [(await placed.said("add", f"{url}/{number}"))["webhook"] for number in range(2)]
        async with placed.working(2) as (one, other):
            for number in range(10):
                await asyncio.gather(*(placed.mute("dan", 60 + 10 * number + n) for n in range(8)))
                await asyncio.sleep(0.05)
            await until(lambda: len(receiver.taken) and sum(len(p.events) for p in receiver.posts) >= 160)
            one.terminate()
            assert await asyncio.to_thread(one.wait, 10) == 0
            await placed.mute("eve")
            await until(lambda: sum(len(p.events) for p in receiver.posts) >= 162)
            other.terminate()
            assert await asyncio.to_thread(other.wait, 10) == 0
    async with placed.house.db.read() as db:
        wanted = [
            f"{row['rid']}.{row['id']}" for row in await db.fetch("SELECT id, rid FROM outbox ORDER BY id")
        ]
    for number in range(len(hooks)):
        posts = [post for post in receiver.posts if post.path.endswith(f"/{number}")]
        assert [event["id"] for post in posts for event in post.events] == wanted[-81:]


@pytest.mark.slow
async def test_work_of_its_own_answers_prometheus_on_this_machine(placed: Placed) -> None:
    """What posts and what sequences alone tell how they fare; a port that is taken is said at once."""
    receiver, port = Receiver(), free_port("127.0.0.1", 0)

    async def told(metric: str) -> None:
        said = ""
        async with asyncio.timeout(20), httpx.AsyncClient() as client:
            while metric not in said:
                await asyncio.sleep(0.1)
                with suppress(httpx.TransportError):
                    said = (await client.get(f"http://127.0.0.1:{port}/metrics")).text

    async with receiving(receiver) as url:
        webhook = (await placed.said("add", url))["webhook"]
        async with placed.working(1, ("webhooks", "--metrics-port", str(port))) as [posting]:
            await placed.mute("dan")
            await told(f'mandate_webhook_deliveries_total{{outcome="taken",webhook="{webhook}"}} 1.0')
            taking = await asyncio.to_thread(
                lambda: mandate("work", "sequencer", "--metrics-port", str(port), **placed.env)
            )
            assert taking.returncode == 2
            assert f"cannot answer at 127.0.0.1:{port}: Address already in use" in taking.stderr
            posting.terminate()
            assert await asyncio.to_thread(posting.wait, 10) == 0
    async with placed.working(1, ("sequencer", "--metrics-port", str(port))) as [sequencing]:
        await told("mandate_log_stalled 0.0")
        sequencing.terminate()
        assert await asyncio.to_thread(sequencing.wait, 10) == 0


@pytest.mark.slow
async def test_who_serves_posts_too_and_tells_how_it_goes(tmp_path: Path) -> None:
    """`serve` alone delivers: the process that keeps time, whoever answers requests; and /metrics of all of them says so."""
    receiver = Receiver()
    env = {"MANDATE_DATA": str(tmp_path / "data"), "MANDATE_WEBHOOK_PRIVATE": "1"}
    served = await asyncio.to_thread(lambda: Served(Path(env["MANDATE_DATA"]), MANDATE_WEBHOOK_PRIVATE="1"))
    try:
        tokens = await asyncio.to_thread(served.keys)
        async with receiving(receiver) as url, httpx.AsyncClient(base_url=served.url) as client:
            added = await asyncio.to_thread(
                lambda: mandate("webhooks", "add", url, "--output", "json", **env)
            )
            [hook] = json.loads(added.stdout)
            headers = {"authorization": f"Bearer {tokens['im']}"}
            verified = {"status": "verified", "methods": ["mobile", "id_document"], "identity_ref": REF}
            account = {"account_id": "a", "operator_id": "o", "name": "Sunrise Kitchen", "class": "life"}
            place = {"jurisdiction": "CN-130200"}
            for number, (method, path, body) in enumerate(
                (
                    ("PUT", "/v1/people/ann", place),
                    ("PUT", "/v1/people/ann/identity", verified),
                    (
                        "POST",
                        "/v1/operators",
                        {"operator_id": "o", "kind": "media", "name": "唐山某某"} | place,
                    ),
                    ("PUT", "/v1/operators/o/identity", verified | {"methods": ["credit_code", "mobile"]}),
                    ("POST", "/v1/accounts", account | place),
                )
            ):
                more = {"idempotency-key": f"key-{number}"} | (
                    {"x-on-behalf-of": "ann"} if method == "POST" else {}
                )
                told = await client.request(method, path, json=body, headers=headers | more)
                assert told.status_code < 300, told.text
            await until(lambda: receiver.taken)
            receiver.taken[0].verifies(hook["secret"])
            await asyncio.sleep(0.3)
            metrics = (await client.get("/metrics")).text
            line = f'mandate_webhook_deliveries_total{{outcome="taken",webhook="{hook["webhook"]}"}}'
            assert line in metrics, metrics
    finally:
        await asyncio.to_thread(served.stop)


@pytest.mark.slow
async def test_nothing_secret_is_logged_when_a_post_fails(placed: Placed) -> None:
    """One line for each failed attempt: webhook, answer, how often. No URL or query of one, no secret, no person, no payload."""
    receiver = Receiver()
    receiver.answer = lambda _: 503
    async with receiving(receiver) as url:
        added = await placed.said("add", f"{url}?token=hidden-query")
        await placed.mute("dan")
        async with placed.working(1, MANDATE_LOG_LEVEL="debug") as [process]:
            await until(lambda: len(receiver.posts) >= 2)
            await asyncio.sleep(0.3)
            process.terminate()
            out, err = await asyncio.to_thread(process.communicate)
    lines = [json.loads(line) for line in err.splitlines()]
    failed = [line for line in lines if line["event"] == "webhook.failed"]
    assert [(one["webhook"], one["answer"], one["times"]) for one in failed] == [
        (added["webhook"], "503", times) for times in range(1, len(receiver.posts) + 1)
    ]
    for value in ("hidden-query", "/hook", added["secret"], added["secret"][6:], "dan", "person_id"):
        assert value.encode() not in out + err
