"""Witnesses of the running log: asked over HTTP, their signatures in checkpoints, bundles and trust; whoever is away or lies."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.clock import to_us
from service.commands.serving import answering, free_port
from service.commands.witness import application
from service.settings import Settings, SettingsError
from service.trail import cosigning, exporter
from service.trail.cosigning import WitnessFailed, quorum_of, witnesses_of
from service.trail.extension import Extension
from service.trail.kept import LogRefused
from service.trail.note import COSIGNATURE, Checkpoint, Note, Signer, Vkey, signed_by
from service.trail.verify import verify_bundle
from service.trail.witness import Witness
from tests.conftest import Database
from tests.kit import MORNING, House

pytestmark = pytest.mark.anyio
#: Also the witness's: bundles are refused whose witness signed before the log did.
NOW = to_us(MORNING) // 1_000_000
ORIGIN = "mandate.localhost/trail/1"


@asynccontextmanager
async def served(app: Any, port: int = 0) -> AsyncIterator[str]:
    """An ASGI application on loopback; yields its URL."""
    port = port or free_port("127.0.0.1", 0)
    async with answering(app, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


class Place:
    """A witness in a folder, with the log's key once that is known."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.vkey = Witness.open(folder, "w.example/1", [], lambda: self.now).vkey
        self.logs: list[Vkey] = []

    def open(self) -> Witness:
        return Witness.open(self.folder, None, self.logs, lambda: self.now)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await application(self.open())(scope, receive, send)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "witness")


@pytest.fixture
async def house(database: Database, tmp_path: Path, place: Place) -> AsyncIterator[House]:
    """A house whose log is followed by one witness on loopback, with a group in it."""
    async with served(place) as url:
        witnesses = f"{url} {place.vkey}"
        async with House.open(database.service_dsn, tmp_path / "data", witnesses=witnesses) as house:
            place.logs = [house.app.state.sequencer.genesis.log_key]
            await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
            yield house


async def mute(house: House, seconds: int = 60) -> None:
    body = {"person_id": "dan", "seconds": seconds, "reason": "fraud"}
    await house.do("ben", "POST", "/v1/groups/g/mutes", body)


async def ask(house: House) -> list[Exception]:
    return await house.app.state.cosigning.once()


async def bundle(house: House, **asked: Any) -> bytes:
    body = {"subject_type": "group", "subject_id": "g", "purpose": "case 17", **asked}
    answer = await house.ask("au", "POST", "/v1/trail-exports", body)
    assert answer.status_code == 200, answer.text
    return answer.content


async def judged(house: House, folder: Path, found: bytes, **changed: Any) -> str:
    """The verifier's word by the trust file as the service gives it, with changes."""
    trust = await house.do("au", "GET", "/v1/trust") | changed
    (folder / "trust.json").write_text(json.dumps(trust))
    (folder / "bundle").write_bytes(found)
    verdict = verify_bundle(folder / "bundle", policy=folder / "trust.json")
    return verdict.text("en").splitlines()[0]


async def cosigners(house: House, size: int | None = None) -> list[str]:
    answer = await house.client.get("/checkpoint" if size is None else f"/checkpoint/{size}")
    assert answer.status_code == 200
    witnesses = house.app.state.witnesses
    return [line.key.name for line in signed_by(Note.parse(answer.text), [one.vkey for one in witnesses])]


async def metric(house: House, outcome: str) -> float:
    text = (await house.ask("co", "GET", "/metrics")).text
    want = f'mandate_cosignatures_total{{outcome="{outcome}",witness="w.example/1"}}'
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(want))


async def test_what_a_witness_signed_is_in_checkpoints_bundles_and_trust(
    house: House, tmp_path: Path
) -> None:
    """O3: without its line a bundle fails the trust file's quorum (E_QUORUM); once it signed, bundles are accepted."""
    await mute(house)
    size = await house.publish()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "_COSIGNED_SECONDS", 0.0)
        assert "E_QUORUM" in await judged(house, tmp_path, await bundle(house))
        assert await cosigners(house) == []
    await house.publish()
    assert await ask(house) == []
    assert await cosigners(house) == ["w.example/1"]
    assert (await judged(house, tmp_path, await bundle(house))).startswith("ACCEPTED")
    trust = (await house.client.get("/.well-known/mandate-trust.json")).json()
    assert trust["witnesses"] == [str(vkey.vkey) for vkey in house.app.state.witnesses]
    assert trust["quorum"] == 1
    assert await cosigners(house, size) == []
    assert (await house.client.get("/checkpoint/1")).status_code == 404
    assert (await house.client.get("/checkpoint/99999999999999999999")).status_code == 404
    text = (await house.ask("co", "GET", "/metrics")).text
    newest = Checkpoint.parse(Note.parse((await house.client.get("/checkpoint")).text).text).size
    assert f'mandate_cosigned_size{{witness="w.example/1"}} {newest}.0' in text


async def test_each_size_extends_the_one_before_it(house: House, place: Place) -> None:
    """O3: turn by turn, with proofs between, the witness signs a growing log; asked twice it signs once."""
    for turn in range(4):
        await mute(house, 60 + turn)
        size = await house.publish()
        assert await ask(house) == []
        assert await ask(house) == []
        assert [one.size for one in place.open().seen()] == [size]
        assert await cosigners(house) == ["w.example/1"]
    assert await metric(house, "done") == 4


async def test_the_log_goes_on_from_what_the_witness_saw(house: House, place: Place) -> None:
    """O3: where its answer was lost after it stored what it saw, the next one says its size (409), and all is well."""
    await house.publish()
    await ask(house)
    await mute(house)
    await house.publish()
    async with house.db.read() as db:
        newest = await cosigning.stored.sql.newest_checkpoint(db)
        assert newest is not None
        old = await cosigning.sql.seen_by(db, vkey=str(place.vkey))
    lost = await cosigning.request(house.db, newest["signed"], old)
    assert place.open().cosign(bytes(lost)).status == 200
    await mute(house, 90)
    await house.publish()
    assert await ask(house) == []
    assert await cosigners(house) == ["w.example/1"]


async def test_a_fork_is_told_of_and_not_signed(house: House, place: Place) -> None:
    """O3: where the witness signed another tree of the same size, we say that the log was forked, and keep nothing."""
    size = await house.publish()
    signer = Signer(ORIGIN, house.app.state["keys"].log_seed)
    text = str(Checkpoint(ORIGIN, size, bytes(32)))
    forked = str(Note(text, (signer.sign(text),)))
    assert place.open().cosign(bytes(Extension(0, (), forked))).status == 200
    [failed] = await ask(house)
    assert isinstance(failed, LogRefused)
    assert "forked" in str(failed)
    for command in ("mandate witness show", "mandate replay", "mandate new-log"):
        assert command in str(failed)
    assert await metric(house, "refused") == 1
    assert await cosigners(house) == []
    await mute(house)


async def test_a_restored_database_is_known_by_what_the_witness_saw(house: House, database: Database) -> None:
    """O3: with the kept file lost too, a start is refused when the witness saw more, and names the command that cures."""
    await house.publish()
    await ask(house)
    await mute(house)
    await house.publish()
    await ask(house)
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        size = await owner.fetchval("SELECT min(size) FROM checkpoint")
        for table in ("log_entry", "checkpoint", "cosignature"):
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await owner.execute("DELETE FROM cosignature WHERE size >= $1", size)
        await owner.execute("DELETE FROM checkpoint WHERE size > $1", size)
        await owner.execute("DELETE FROM log_entry WHERE idx >= $1", size)
        await owner.execute("UPDATE log_state SET size = $1", size)
    finally:
        await owner.close()
    with pytest.raises(LogRefused, match=r"MANDATE_ORIGIN=mandate\.localhost/trail/2 mandate new-log"):
        await house.app.state.cosigning.refuse_set_back()


async def test_acts_go_on_without_the_witness(database: Database, tmp_path: Path, place: Place) -> None:
    """O3: a witness that is away delays no start, act, checkpoint or export (after the first); when it is back it signs."""
    port = free_port("127.0.0.1", 0)
    witnesses = f"http://127.0.0.1:{port} {place.vkey}"
    quick = {"sequence_seconds": 0.01, "witnesses": witnesses}
    async with House.open(database.service_dsn, tmp_path / "data", **quick) as house:
        await house.has_group("g", "ann", ("ben",), ("dan",))
        place.logs = [house.app.state.sequencer.genesis.log_key]
        await mute(house)
        assert [type(one).__name__ for one in await ask(house)] in (["ConnectError"], [])
        await house.publish()
        await mute(house, 90)
        await house.publish()
        began = time.monotonic()
        await bundle(house)
        assert time.monotonic() - began < exporter._COSIGNED_SECONDS
        assert await metric(house, "unreachable") >= 1
        async with served(place, port):
            for _ in range(100):
                if await cosigners(house):
                    break
                await asyncio.sleep(0.1)
            assert await cosigners(house) == ["w.example/1"]
        await mute(house, 120)


Say = Callable[[bytes], tuple[int, str, bytes]]
STRANGER = Signer("w.example/1", bytes(32), COSIGNATURE)


def by_stranger(body: bytes) -> tuple[int, str, bytes]:
    text = Note.parse(body.decode().partition("\n\n")[2]).text
    return 200, "text/plain", str(STRANGER.cosign(text, NOW)).encode()


STRANGE: dict[str, tuple[str, Say]] = {
    "refused": ("status 403", lambda _: (403, "text/plain", b"no\n")),
    "broken": ("status 500", lambda _: (500, "text/plain", b"")),
    "moved": ("status 302", lambda _: (302, "text/plain", b"")),
    "no line": ("malformed", lambda _: (200, "text/plain", b"thank you\n")),
    "nothing": ("malformed", lambda _: (200, "text/plain", b"")),
    "a line by another key": ("malformed", by_stranger),
    "too long": ("malformed", lambda _: (200, "text/plain", b"x" * 100_000)),
    "no size": ("malformed", lambda _: (409, "text/x.tlog.size", b"many\n")),
    "409 of another type": ("malformed", lambda _: (409, "text/html", b"7\n")),
    "a size not ours": ("refused", lambda _: (409, "text/x.tlog.size", b"9007199254740991\n")),
    "another size each time": ("busy", lambda body: (409, "text/x.tlog.size", b"2\n" if b"old 1\n" in body else b"1\n")),
}  # fmt: skip


async def test_strange_answers_are_told_of_and_leave_nothing(
    database: Database, tmp_path: Path, place: Place
) -> None:
    """O3: whatever a witness answers, nothing is kept that a reader would not accept, and each kind of failure has its name."""
    said: list[Say] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        status, media, answer = said[0](body)
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", media.encode())]}
        )
        await send({"type": "http.response.body", "body": answer})

    async with (
        served(app) as url,
        House.open(database.service_dsn, tmp_path / "data", witnesses=f"{url} {place.vkey}") as house,
    ):
        await house.has_group("g", "ann", ("ben",), ("dan",))
        await house.publish()
        for case, (outcome, say) in STRANGE.items():
            said[:] = [say]
            [failed] = await ask(house)
            assert (failed.outcome if isinstance(failed, WitnessFailed) else "refused") == outcome, case
            assert await cosigners(house) == [], case
        assert await metric(house, "malformed") == 6
        await mute(house)


async def test_a_witness_whose_clock_is_behind_does_not_spoil_bundles(
    house: House, place: Place, tmp_path: Path
) -> None:
    """O3: a signature made before the log's own entry would make readers refuse the bundle (E_TIME); it is not kept."""
    await mute(house)
    await house.publish()
    place.now = NOW - 3600
    [failed] = await ask(house)
    assert isinstance(failed, WitnessFailed)
    assert failed.outcome == "clock"
    assert (await judged(house, tmp_path, await bundle(house), quorum=0)).startswith("ACCEPTED")
    place.now = NOW
    assert await ask(house) == []


async def test_an_export_waits_for_a_witness_that_is_about_to_sign(house: House, tmp_path: Path) -> None:
    """O3: a bundle asked for in the moment between publishing and the witness's answer has its signature all the same."""
    await mute(house)
    await house.publish()
    asking = asyncio.create_task(bundle(house))
    await asyncio.sleep(0.2)
    assert not asking.done()
    assert await ask(house) == []
    assert (await judged(house, tmp_path, await asking)).startswith("ACCEPTED")


async def test_the_service_may_not_change_what_witnesses_signed(house: House) -> None:
    """O3: under the service's role a cosignature cannot be updated or deleted."""
    await house.publish()
    await ask(house)
    for statement in ("UPDATE cosignature SET line = line", "DELETE FROM cosignature"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with house.db.transaction() as tx:
                await tx.execute(statement)


VKEY = STRANGER.vkey
LOG_VKEY = Signer("w", bytes(32)).vkey
NAMESAKE = Signer(VKEY.name, bytes([1]) * 32, COSIGNATURE).vkey
TWIN = Signer("w.example/2", bytes(32), COSIGNATURE).vkey


@pytest.mark.parametrize(
    "lines",
    [
        "http://w",
        f"w {VKEY}",
        f"http://w {LOG_VKEY}",
        f"http://w {VKEY}\nhttp://v {NAMESAKE}",
        f"http://w {VKEY}\nhttp://v {TWIN}",
        f"ftp://w {VKEY}",
    ],
)
def test_a_bad_list_of_witnesses_stops_the_start(lines: str) -> None:
    """A line that is no URL and witness key, or a name or key that stands twice, is named with the cure."""
    with pytest.raises(SettingsError, match="witnesses"):
        witnesses_of(Settings(witnesses=lines))


def test_the_quorum_is_more_than_half_of_those_with_a_network() -> None:
    """Unless set, readers are asked to demand more than half of the witnesses that can sign at once; more than all stops the start."""
    lines = [f"http://w{n} {Signer(f'w{n}', bytes([n]) * 32, COSIGNATURE).vkey}" for n in range(1, 5)]
    found = {n: Settings(witnesses="\n".join(lines[:n])) for n in range(5)}
    assert [quorum_of(one, witnesses_of(one)) for one in found.values()] == [0, 1, 2, 2, 3]
    carried = Settings(witnesses=f"{lines[0]}\n- {VKEY}\n")
    assert [one.url for one in witnesses_of(carried)] == ["http://w1", None]
    assert quorum_of(carried, witnesses_of(carried)) == 1
    assert quorum_of(Settings(witnesses=lines[0], witness_quorum=1), witnesses_of(found[1])) == 1
    with pytest.raises(SettingsError, match="witness_quorum: 9 cannot sign where witnesses names 1"):
        quorum_of(Settings(witnesses=lines[0], witness_quorum=9), witnesses_of(found[1]))
