"""The log on the database: every record once, in order, signed only when committed, whoever runs and whatever crashes."""

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.app import sequence_alone
from service.db.pool import Tx
from service.settings import Settings
from service.trail import rowed, stored
from service.trail import sequencer as sequencers
from service.trail.kept import Kept, LogRefused
from service.trail.merkle import Tree, leaf
from service.trail.note import Checkpoint, Note, Signer, Vkey, signed_by
from service.trail.replay import read_stream
from service.trail.sequencer import Sequencer
from service.watch import Watching
from tests.conftest import Database
from tests.kit import House
from tests.logcheck import check_log, dump

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(house: House) -> House:
    """Group g: ann owns it, ben is admin, dan and eve members."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    return house


async def mute(house: House, whom: str = "dan", seconds: int = 60) -> dict[str, Any]:
    body = {"person_id": whom, "seconds": seconds, "reason": "fraud"}
    return await house.do("ben", "POST", "/v1/groups/g/mutes", body)


async def check(house: House) -> Any:
    settings: Settings = house.app.state.settings
    return await check_log(house.db, settings.origin, str(house.app.state.sequencer.genesis.log_key))


def another(house: House, **changed: Any) -> Sequencer:
    """The sequencer of a second process."""
    state = house.app.state
    settings = Settings(**({"data": state.settings.data, "map_bits": 4} | changed))
    edition = state.editions.at(house.clock.now()).edition
    return Sequencer.of(settings, state.db, state["keys"], house.clock, lambda: edition)


async def test_every_record_is_in_the_log_once_and_each_signed_tree_ends_with_a_true_map(
    group: House,
) -> None:
    """O3: acts and refusals, over several turns, are the log; replay of all entries agrees with every table."""
    sizes = [await group.publish()]
    for seconds in (60, 70, 80):
        await mute(group, seconds=seconds)
        await group.refused(
            "refused", "dan", "POST", "/v1/groups/g/mutes", {"person_id": "eve", "seconds": 60}
        )
        sizes.append(await group.publish())
        sizes.append(await group.publish())
    assert sizes == sorted(sizes)
    assert sizes[1] == sizes[2], "a log that did not grow is not signed anew"
    replay = await check(group)
    assert replay.size == sizes[-1]


async def test_a_quiet_log_is_signed_once_an_hour(group: House) -> None:
    """O3: a log that does not grow still says each hour that it lives, by a map entry of its own."""
    first = await group.publish()
    group.clock.advance(3599)
    assert await group.publish() == first
    group.clock.advance(1)
    assert await group.publish() == first + 1
    await check(group)


async def test_tiles_are_kept_on_every_level_however_the_log_grew(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O3: with tiles of two hashes in place of 256, batches of any size fill tiles on all levels as they should."""
    for module in (rowed, stored):
        monkeypatch.setattr(module, "TILE_WIDTH", 2)
    monkeypatch.setattr(stored, "_TILE_BITS", 1)
    async with House.open(database.service_dsn, tmp_path) as house:
        await house.has_group("g", "ann", ("ben",), ("dan",))
        for turn in range(7):
            for _ in range(turn % 5):
                await mute(house, seconds=60 + turn)
            await house.publish()
        async with house.db.read(snapshot=True) as db:
            entries = [row["entry"] for row in await stored.sql.entries(db, start=0, end=1000)]
            levels = {row["level"] for row in await db.fetch("SELECT level FROM log_tile")}
            size = len(entries)
            spans = [(a, n) for a in range(size) for n in (1, 2, 4, 8, 16) if a % n == 0 and a + n <= size]
            spans += [(0, n) for n in range(1, size + 1)]
            found = await stored.log_hashes(db, spans)
    tree = Tree(map(leaf, entries))
    assert levels >= {0, 1, 2, 3}
    assert found == [tree.hash_of(start, count) for start, count in spans]


@contextmanager
def crash_after(statements: int) -> Iterator[list[str]]:
    """The process dies after so many statements of transactions; yields what was said."""
    said: list[str] = []
    kept = {name: getattr(Tx, name) for name in ("fetch", "fetchrow", "fetchval", "execute", "copy")}

    def dying(name: str) -> Callable[..., Any]:
        async def call(tx: Any, *args: Any, **more: Any) -> Any:
            answer = await kept[name](tx, *args, **more)
            if isinstance(tx, Tx):
                said.append(f"{name} {args[0][:40]}")
                if len(said) == statements:
                    raise ZeroDivisionError
            return answer

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in kept:
            patch.setattr(Tx, name, dying(name))
        yield said


async def test_a_crash_after_any_statement_leaves_the_log_as_it_was_or_as_it_should_be(group: House) -> None:
    """S022: whatever statement the sequencer dies after, nothing of its turn is there, and the next turn does all of it."""
    await group.publish()
    await mute(group)
    await mute(group, "eve")
    before = await dump(group.db)
    sequencer: Sequencer = group.app.state.sequencer
    statements, logged = 0, None
    while logged is None:
        statements += 1
        with crash_after(statements) as said:
            try:
                logged = await sequencer.sequence()
            except ZeroDivisionError:
                assert await dump(group.db) == before, said[-1]
    assert statements > 8
    assert logged == 2
    await group.publish()
    await check(group)


async def test_a_crash_between_signing_and_storing_repeats_the_same_checkpoint(group: House) -> None:
    """O3: a checkpoint that is on disk but not yet in the database is made again, byte for byte the same."""
    sequencer: Sequencer = group.app.state.sequencer
    await sequencer.sequence()
    with crash_after(1), pytest.raises(ZeroDivisionError):
        await sequencer.publish()
    kept = (group.app.state.settings.data / "checkpoint").read_text()
    async with group.db.read() as db:
        assert await db.fetchval("SELECT count(*) FROM checkpoint") == 0
    await another(group).start()
    await sequencer.publish()
    answer = await group.client.get("/checkpoint")
    assert answer.text == kept
    await check(group)


async def test_two_sequencers_at_once_do_no_harm(group: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """O3: two that run at the same time, even with the lock broken, make one log with every record once."""
    second = another(group)
    await second.start()
    first: Sequencer = group.app.state.sequencer
    for broken in (False, True):
        if broken:

            async def no_lock(tx: Any) -> bool:
                return True

            monkeypatch.setattr(sequencers.sql, "try_lock", no_lock)
        for turn in range(4):
            await asyncio.gather(*(mute(group, seconds=60 + turn + n) for n in range(3)))
            await asyncio.gather(first.once(), second.once(), mute(group))
        await group.publish()
        await check(group)


@pytest.mark.unreconciled("a record stays whose entry was taken away")
async def test_a_database_set_back_is_refused_with_a_cure(group: House, database: Database) -> None:
    """O3: a log smaller than was signed, or another one, is neither continued nor signed, and the message says what to do."""
    await group.publish()
    await mute(group)
    await group.publish()
    with pytest.raises(LogRefused, match="speaks of the log"):
        await another(group, origin="elsewhere.example/trail/1").start()
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        size = await owner.fetchval("SELECT min(size) FROM checkpoint")
        for table in ("log_entry", "checkpoint"):
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await owner.execute("DELETE FROM checkpoint WHERE size > $1", size)
        await owner.execute("DELETE FROM log_entry WHERE idx >= $1", size)
        await owner.execute("UPDATE log_state SET size = $1", size)
        with pytest.raises(LogRefused, match="restored from an older backup"):
            await another(group).start()
        await owner.execute("DELETE FROM checkpoint")
        with pytest.raises(LogRefused, match="lost entries"):
            await another(group).publish()
    finally:
        await owner.close()


async def test_a_fork_is_not_signed(group: House, tmp_path: Path) -> None:
    """O3: another tree of a size that was signed is refused, at the start and when it would be signed."""
    size = await group.publish()
    kept = Kept(group.app.state.settings.data / "checkpoint")
    origin = group.app.state.settings.origin
    signer = Signer(origin, group.app.state["keys"].log_seed)
    text = str(Checkpoint(origin, size, bytes(32)))
    forked = str(Note(text, (signer.sign(text),)))
    with pytest.raises(LogRefused, match="another one than was signed"):
        kept.keep(forked)
    kept.path.write_text(forked)
    with pytest.raises(LogRefused, match="another one than was signed"):
        await another(group).start()
    kept.path.write_text("nonsense")
    with pytest.raises(LogRefused, match="no signed checkpoint"):
        await another(group).start()


async def test_the_service_may_not_change_the_log(group: House) -> None:
    """O3: under the service's role entries and checkpoints cannot be updated or deleted."""
    await group.publish()
    for statement in (
        "UPDATE log_entry SET entry = entry",
        "DELETE FROM log_entry",
        "DELETE FROM checkpoint",
        "UPDATE checkpoint SET note = note",
        "TRUNCATE log_tile",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with group.db.transaction() as tx:
                await tx.execute(statement)


async def test_the_background_logs_and_signs_by_itself_also_without_prepared_statements(
    database: Database, tmp_path: Path
) -> None:
    """O3: a serving house brings its acts into a signed log by itself, as behind a pooler too, and the last ones when it ends."""
    quick = {"sequence_seconds": 0.01, "statement_cache": 0}
    async with House.open(database.service_dsn, tmp_path, **quick) as house:
        await house.has_group("g", "ann", ("ben",), ("dan",))
        await mute(house)
        for _ in range(300):
            if (await house.client.get("/checkpoint")).status_code == 200 and not (await dump(house.db))[
                "pending"
            ]:
                break
            await asyncio.sleep(0.02)
        await mute(house, seconds=90)
    async with House.reopen(database.service_dsn, tmp_path) as house:
        assert not (await dump(house.db))["pending"]
        await check(house)


async def test_the_checkpoint_and_the_tiles_are_for_everyone(group: House) -> None:
    """O3: anyone can get the signed checkpoint and the tiles under it (C2SP tlog-tiles), and compute its root from them."""
    await mute(group)
    size = await group.publish()
    answer = await group.client.get("/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    note = Note.parse(answer.text)
    key: Vkey = group.app.state.sequencer.genesis.log_key
    assert [line.key for line in signed_by(note, [key])] == [key]
    checkpoint = Checkpoint.parse(note.text)
    assert checkpoint.size == size
    tile = await group.client.get(f"/tile/0/000.p/{size}")
    hashes = [tile.content[at : at + 32] for at in range(0, len(tile.content), 32)]
    assert len(hashes) == size
    assert tile.headers["content-type"] == "application/octet-stream"
    assert Tree(hashes).root() == checkpoint.root
    assert (await group.client.get(f"/tile/0/000.p/{size - 1}")).content == tile.content[:-32]
    for absent in (
        f"/tile/0/000.p/{size + 1}",
        "/tile/0/000",
        "/tile/1/000",
        "/tile/0/0",
        "/tile/9/x/y",
        "/tile/0/001",
    ):
        assert (await group.client.get(absent)).status_code == 404, absent


async def test_a_process_that_only_sequences_does_what_a_serving_one_leaves_to_it(
    group: House, database: Database
) -> None:
    """O3: `mandate work sequencer` alone logs and signs, and when it is stopped nothing that was there still waits."""
    settings = Settings(
        dsn=database.service_dsn,
        data=group.app.state.settings.data,
        policies=group.app.state.settings.policies,
        pool_size=2,
        sequence_seconds=0.01,
    )
    working = asyncio.create_task(sequence_alone(settings, Watching()))
    await mute(group)
    for _ in range(300):
        if not (await dump(group.db))["pending"] and (await dump(group.db))["checkpoint"]:
            break
        await asyncio.sleep(0.02)
    await mute(group, seconds=90)
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    assert not (await dump(group.db))["pending"]
    await check(group)


async def test_entries_are_handed_to_auditors_as_they_stand_in_the_log(group: House) -> None:
    """S197, S189: auditors and compliance get every entry up to the newest checkpoint, in order, and nobody else any."""
    await mute(group)
    size = await group.publish()
    await mute(group, "eve")
    async with group.db.read() as reader:
        held = [row["entry"] for row in await stored.sql.entries(reader, start=0, end=size)]
    for who in ("au", "co"):
        answer = await group.ask(who, "GET", "/v1/log-entries")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert list(read_stream(io.BytesIO(answer.content))) == held
    part = await group.ask("au", "GET", "/v1/log-entries?start=2&end=4")
    assert list(read_stream(io.BytesIO(part.content))) == held[2:4]
    for query in (f"start={size}", "start=3&end=3", "start=4&end=2"):
        assert (await group.ask("au", "GET", f"/v1/log-entries?{query}")).content == b""
    assert (await group.ask("au", "GET", f"/v1/log-entries?end={size + 9}")).content == answer.content
    for who in ("mo", "im", "ann", "reg"):
        await group.refused("refused", who, "GET", "/v1/log-entries")
    await group.refused("malformed", "au", "GET", "/v1/log-entries?start=-1")


async def test_before_the_first_checkpoint_there_are_no_entries_to_replay(house: House) -> None:
    """S197: what nobody signed yet is handed to nobody."""
    assert (await house.refused("trail_unavailable", "au", "GET", "/v1/log-entries"))["status"] == 503
