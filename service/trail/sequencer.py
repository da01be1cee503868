"""Brings records into the log, and signs what the log has become (trail-format section 12, stage 2 and publishing).

`sequence` is one transaction: entries, subject trees, map and tiles are all there or none, and the map entry at the end says
what the subjects are then. `publish` signs only what is committed, and keeps the checkpoint on disk outside the database
before anyone gets it. If we crash anywhere, the next turn goes on from what is committed: a record waits in `pending` until
its entry is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
import structlog

from service.clock import Clock, to_us
from service.db import DatabaseUnavailable, Db, Reader, Tx, queries
from service.settings import Settings
from service.trail import beginning, logkeys, stored
from service.trail.entry import MAP, Genesis, bucket_of, encode_config
from service.trail.growth import Edge, Growth, members_of, tiles
from service.trail.kept import Kept, LogRefused
from service.trail.keys import TrailKeys
from service.trail.logkeys import Config, KeyRange
from service.trail.merkle import TILE_WIDTH
from service.trail.note import Checkpoint, Note, Signer
from service.trail.notices import InForce, due

sql = queries(__file__)
_log = structlog.get_logger("mandate.sequencer")

BATCH: Final = 4_000
"""Most records of one transaction."""
HEARTBEAT_US: Final = 3_600_000_000
"""A log that does not grow is signed anew so often, so that a reader knows it lives."""
_OVERTAKEN_SECONDS: Final = 0.02
_BUILDING_SECONDS: Final = 0.05
_OFF_THE_LOOP: Final = 200
"""From so many records on, a batch is computed in a thread, so that requests are answered meanwhile."""


class _Overtaken(Exception):
    """Another sequencer was quicker; what we did never came to be."""


class Sequencer:
    """The one writer of the log. Several processes may have one; they take turns and cannot harm each other."""

    def __init__(
        self,
        db: Db,
        keys: TrailKeys,
        clock: Clock,
        *,
        origin: str,
        folder: Path,
        edition: Callable[[], str],
        map_bits: int,
        mmd_us: int,
    ) -> None:
        """`folder` is where the last checkpoint is kept. `map_bits`, `mmd_us` and `edition` count for a new log only.

        `mmd_us`: how long a record may wait for its entry, microseconds. `edition`: digest of the policy in force.
        """
        self.on_publish: Callable[[], None] = lambda: None
        """Called when a checkpoint was published here; it must not block."""
        self.on_turn: Callable[[bool], None] = lambda _stalled: None
        """Called after each turn: whether the log may not go on as it is; it must not block."""
        self.in_force: Callable[[], InForce] | None = None
        """Which edition is in force now: what the log announces of editions; None announces nothing."""
        self._announced: tuple[int, InForce] | None = None
        self._unannounced = False
        self._db = db
        self._keys = keys
        self._clock = clock
        self.origin = origin
        self.log_seeds = keys.log_seeds
        self._edition = edition
        self._new_log = (map_bits, mmd_us)
        self._kept = Kept(folder / "checkpoint")
        self._signers = [Signer(origin, seed) for seed in self.log_seeds()]
        self._map: stored.StoredMap | None = None
        self._began = 0
        self._updated = False
        self._turn = asyncio.Lock()
        self._closing = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self.genesis: Genesis | None = None
        """Entry 0, once `start` has read or written it."""

    @classmethod
    def of(
        cls, settings: Settings, db: Db, keys: TrailKeys, clock: Clock, edition: Callable[[], str]
    ) -> Self:
        """The sequencer that these settings ask for."""
        return cls(
            db,
            keys,
            clock,
            origin=settings.origin,
            folder=settings.data,
            edition=edition,
            map_bits=settings.map_bits,
            mmd_us=settings.merge_seconds * 1_000_000,
        )

    # Start

    async def start(self) -> Genesis:
        """Refuse a log that was set back or is not ours; write entry 0 if there is no log yet. Raises LogRefused."""
        async with self._db.read(snapshot=True) as db:
            genesis = await beginning.entry_0(db)
            state = await stored.sql.log_state(db)
            await beginning.refuse_set_back(db, self._kept, self.origin, genesis, state["size"])
            newest = await stored.sql.newest_checkpoint(db)
            if genesis is not None:
                beginning.refuse_other(genesis, self.origin, self._keys)
                self.signers(await logkeys.read(db), state["size"])
        if newest is not None and self._kept.read() is None:
            _log.warning("checkpoint.kept_anew", size=newest["size"], path=str(self._kept.path))
            self._kept.keep(newest["note"])
        while genesis is None:
            if await self.sequence() is None:
                await asyncio.sleep(_OVERTAKEN_SECONDS)
            async with self._db.read() as db:
                genesis = await beginning.entry_0(db)
        beginning.refuse_other(genesis, self.origin, self._keys)
        self.genesis = genesis
        self._map = stored.StoredMap(genesis.map_bits)
        return genesis

    def _first_entry(self) -> bytes:
        map_bits, mmd_us = self._new_log
        log_key = self._signers[0].vkey
        return beginning.genesis_body(log_key, self._keys, map_bits, mmd_us, self._edition(), None)

    # The background

    def open(self, seconds: float) -> None:
        """Take a turn every so many seconds, in the running event loop."""
        self._working = asyncio.create_task(self.run(seconds), name="sequencer")

    async def run(self, seconds: float) -> None:
        """Take turns until closed. What fails is told of and tried again; a log that may not go on is told of each time."""
        building = asyncio.create_task(self._own_map().build(), name="map")
        try:
            while not self._closing.is_set():
                since = time.monotonic()
                if self._own_map().built:
                    await self._take_turn()
                with suppress(TimeoutError):
                    # From beginning to beginning, so that a long turn makes no record wait longer.
                    left = max(0.0, seconds - (time.monotonic() - since))
                    await asyncio.wait_for(
                        self._closing.wait(), left if self._own_map().built else _BUILDING_SECONDS
                    )
        finally:
            building.cancel()

    async def _take_turn(self) -> None:
        stalled = True
        try:
            await self.once()
            stalled = False
        except DatabaseUnavailable as gone:
            stalled = False
            _log.warning("sequencer", lost=str(gone))
        except LogRefused as refused:
            _log.critical("sequencer.refused", why=str(refused))
        except Exception as error:  # noqa: BLE001 - a log that stops for ever is worse than one that tries again
            _log.critical("sequencer", exc_info=error)
        self.on_turn(stalled)

    async def close(self) -> None:
        """End after the turn under way, and take a last one: a record that waits till the next start is late."""
        self._closing.set()
        if self._working is not None:
            await self._working
            if self._own_map().built:
                await self._take_turn()

    # One turn

    async def once(self) -> int:
        """Log what waits, and sign the log if it grew or was quiet for an hour. Returns records logged.

        Raises DatabaseUnavailable, LogRefused.
        """
        async with self._turn:
            logged = 0
            while True:
                async with self._db.read() as db:
                    found = await sql.waiting(db)
                    self._unannounced = await self._has_notices(db, found["editions"])
                quiet_us = to_us(self._clock.now()) - found["last_time_us"]
                if found["pending"] or self._unannounced or not found["mapped"] or quiet_us >= HEARTBEAT_US:
                    taken = await self.sequence()
                else:
                    taken = 0
                await self.publish()
                logged += taken or 0
                if taken != BATCH:
                    return logged

    async def sequence(self, config: Config | None = None) -> int | None:
        """Log one batch of waiting records, and the map entry that makes the log fit to be signed.

        `config` makes a config entry, which stands between them. In an empty database only entry 0 is written.

        Returns how many records were logged; None where another sequencer is at work. One transaction. Raises LogRefused
        where somebody else wrote what stands in the way.
        """
        try:
            async with self._db.transaction() as tx:
                taken, size = await self._grow(tx, config)
        except _Overtaken:
            self._forget()
            return None
        except asyncpg.UniqueViolationError as taken_before:
            self._forget()
            await self._refuse_forged(taken_before)
            # The other one wrote the same places before us.
            _log.warning("sequencer.overtaken", why=str(taken_before))
            return None
        except BaseException:
            self._forget()
            raise
        if self._map is not None and size:
            self._map.settle(size)
        return taken

    async def add(self, config: Config) -> int:
        """Append a config entry and sign the log with it; return the size published. Raises as `once` does."""
        async with self._turn:
            while await self.sequence(config) is None:  # noqa: ASYNC110 - who overtook us is another process
                await asyncio.sleep(_OVERTAKEN_SECONDS)
            return await self.publish()

    async def _has_notices(self, db: Reader, editions: int) -> bool:
        """Whether notices are due; looked for only where an edition was adopted or came into force since."""
        now = None if self.in_force is None else (editions, self.in_force())
        if now is None or now == self._announced:
            return False
        if await due(db, now[1]):
            return True
        self._announced = now
        return False

    def _forget(self) -> None:
        if self._map is not None and self._updated:
            self._map.forget()

    async def _refuse_forged(self, taken: asyncpg.UniqueViolationError) -> None:
        """Raise LogRefused where a place was taken though the log did not move on: no sequencer wrote that row."""
        async with self._db.read() as db:
            state = await stored.sql.log_state(db)
        if state["size"] == self._began:
            raise LogRefused(
                f"a row of {taken.table_name} that no sequencer wrote stands where the log of {self._began} entries goes on "
                f"({taken.detail}): nothing more can be logged or signed; keep a copy of the row, find out who wrote it, "
                "and let the owner of the tables delete it"
            )

    async def _grow(self, tx: Tx, config: Config | None) -> tuple[int, int]:
        """All of stage 2 inside one transaction; returns records taken, and the new size if it ends in a map entry."""
        self._updated = False
        if not await sql.try_lock(tx):
            raise _Overtaken
        state = await stored.sql.log_state(tx)
        old = self._began = state["size"]
        time_us = max(state["last_time_us"], to_us(self._clock.now()))
        growth = Growth(stored.edge_of_log(state), time_us, state["subjects"])
        if old == 0:
            growth.append(encode_config(0, time_us, self._first_entry()))
            made = growth.grow()
            taken = 0
        elif self.genesis is None:
            raise _Overtaken
        else:
            rows = await sql.take_pending(tx, most=BATCH)
            taken = len(rows)
            others, edges = await self._subjects(tx, rows)
            # Asked again under the lock: another sequencer may have written them since.
            notices = await due(tx, self.in_force()) if self._unannounced and self.in_force else []
            tree = self._own_map()
            await tree.catch_up(tx, old)

            def work() -> list[tuple[int, list[bytes]]]:
                growth.append_records(rows, edges)
                growth.settle(edges.values())
                for notice in notices:
                    growth.append(encode_config(growth.size, time_us, notice))
                if config is not None:
                    growth.append(encode_config(growth.size, time_us, config(growth.size)))
                self._updated = True
                now = [(edge.bucket, edge.tag, edge.held) for edge in edges.values()]
                growth.append_map(tree.update(members_of(chain(others, now))))
                return growth.grow()

            made = await asyncio.to_thread(work) if taken > _OFF_THE_LOOP else work()
            await self._keep_edges(tx, edges.values())
            if growth.chunks:
                await tx.copy("subject_leaf", ("tag", "chunk", "places"), growth.chunks)
        await tx.copy("log_entry", ("idx", "record_id", "entry"), growth.entries)
        await self._keep_tiles(tx, made)
        moved = await sql.advance(
            tx,
            old=old,
            size=growth.size,
            frontier=growth.frontier.serialise(),
            last_time_us=time_us,
            subjects=growth.subjects,
        )
        if moved != "UPDATE 1":
            raise _Overtaken
        return taken, growth.size if old else 0

    async def _subjects(
        self, tx: Tx, rows: Sequence[Any]
    ) -> tuple[list[tuple[int, bytes, bytes]], dict[bytes, Edge]]:
        """The subjects of these records, known and new, by tag; and first those who share their buckets, as `members_of` takes them."""
        bits = self._bits
        wanted = {tag: bucket_of(tag, bits) for row in rows for tag in stored.split(row["tags"])}
        others: list[tuple[int, bytes, bytes]] = []
        edges: dict[bytes, Edge] = {}
        for bucket, tag, held, place in await sql.edges(tx, buckets=list(set(wanted.values()))):
            if tag in wanted:
                edges[tag] = Edge(bucket, tag, place, held)
            else:
                others.append((bucket, tag, held))
        for tag, bucket in wanted.items():
            if tag not in edges:
                edges[tag] = Edge(bucket, tag)
        return others, edges

    async def _keep_edges(self, tx: Tx, edges: Collection[Edge]) -> None:
        fresh = [(edge.bucket, edge.tag, edge.held) for edge in edges if edge.row is None]
        if fresh:
            await tx.copy("subject", ("bucket", "tag", "edge"), fresh)
        moved = [edge for edge in edges if edge.row is not None]
        if moved:
            rows, held = [edge.row for edge in moved], [edge.held for edge in moved]
            if await sql.keep_edges(tx, rows=rows, edges=held) != f"UPDATE {len(moved)}":
                raise _Overtaken

    async def _keep_tiles(self, tx: Tx, made: Sequence[tuple[int, list[bytes]]]) -> None:
        """Store the tiles that have become full, on every level."""
        bits = TILE_WIDTH.bit_length() - 1
        full = [level for level in range(bits, len(made), bits) if made[level][1]]
        begun = {
            level // bits - 1: await self._begun(tx, level // bits - 1, made[level - bits][0])
            for level in full
        }
        if begun:
            await tx.copy("log_tile", ("level", "n", "root", "hashes"), tiles(made, begun, bits))

    @staticmethod
    async def _begun(tx: Tx, level: int, first: int) -> list[bytes]:
        """The hashes of the tile of which number `first` is the next."""
        number, inside = divmod(first, TILE_WIDTH)
        return (await stored.tile(tx, level, number))[:inside] if inside else []

    def _own_map(self) -> stored.StoredMap:
        if self._map is None:
            raise RuntimeError("start the sequencer first")
        return self._map

    @property
    def _bits(self) -> int:
        if self.genesis is None:
            raise RuntimeError("start the sequencer first")
        return self.genesis.map_bits

    # Publishing

    async def publish(self) -> int:
        """Sign the log if it ends in a map entry and is not signed yet; return the size that is published now.

        Only what is committed is signed, and it is on disk outside the database before anyone can get it.
        Raises LogRefused if the log was set back since.
        """
        async with self._db.read(snapshot=True) as db:
            state = await stored.sql.log_state(db)
            newest = await stored.sql.newest_checkpoint(db)
            size = state["size"]
            published = newest["size"] if newest is not None else 0
            if published >= size:
                return published
            last = await stored.sql.entries(db, start=size - 1, end=size)
            known = await logkeys.read(db)
        kept = self._kept.read()
        if kept is not None and size < kept.size:
            raise LogRefused(
                f"the database lost entries: it holds {size}, but {kept.size} were signed; stop the service"
            )
        if not last or last[0]["entry"][0] != MAP:
            return published
        text = str(Checkpoint(self.origin, size, stored.edge_of_log(state).root()))
        note = str(Note(text, tuple(signer.sign(text) for signer in self.signers(known, size))))
        await asyncio.to_thread(self._kept.keep, note)
        async with self._db.transaction() as tx:
            await sql.keep_checkpoint(tx, size=size, note=note)
        self.on_publish()
        return size

    # Keys

    def signers(self, known: Sequence[KeyRange], size: int) -> list[Signer]:
        """Those of our keys that may sign a tree of this size. Raises LogRefused where there is none."""
        valid = {one.vkey for one in known if one.valid_at(size)}
        if valid - {one.vkey for one in self._signers}:
            # Another process may have rotated the key since.
            self._signers = [Signer(self.origin, seed) for seed in self.log_seeds()]
        if missing := valid - {one.vkey for one in self._signers}:
            _log.warning("log_key.missing", vkeys=sorted(map(str, missing)), size=size)
        found = [one for one in self._signers if one.vkey in valid]
        if not found:
            raise LogRefused(
                f"log.key is not the key of the log {self.origin}: a log of {size} entries is signed by "
                f"{' or '.join(sorted(map(str, valid)))}; put back the copy of the keys folder made since that key"
            )
        return found
