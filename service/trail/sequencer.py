"""Brings records into the log, and signs what the log has become (trail-format section 12, stage 2 and publishing).

`sequence` is one transaction: entries, subject trees, map and tiles are all there or none. `publish` signs only what is
committed, and keeps the checkpoint on disk outside the database before anyone gets it. If we crash anywhere, the next turn
goes on from what is committed: a record waits in `pending` until its entry is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

import asyncpg
import structlog

from service.clock import Clock, to_us
from service.db import DatabaseUnavailable, Db, Tx, queries
from service.settings import Settings
from service.trail import beginning, logkeys, stored
from service.trail.entry import Genesis, encode_config, encode_map
from service.trail.growth import Edge, Growth, Pending, placed
from service.trail.kept import Kept, LogRefused
from service.trail.keys import TrailKeys
from service.trail.logkeys import Config, KeyRange
from service.trail.merkle import TILE_WIDTH, Frontier
from service.trail.merkle import root as root_of
from service.trail.note import Checkpoint, Note, Signer

sql = queries(__file__)
_log = structlog.get_logger("mandate.sequencer")

BATCH: Final = 4_000
"""Most records of one transaction."""
HEARTBEAT_US: Final = 3_600_000_000
"""A log that does not grow is signed anew so often, so that a reader knows it lives."""
_OVERTAKEN_SECONDS: Final = 0.02
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
        publish_seconds: float = 1.0,
    ) -> None:
        """`folder` is where the last checkpoint is kept. `map_bits`, `mmd_us` and `edition` count for a new log only.

        `mmd_us`: how long a record may wait for its entry, microseconds. `edition`: digest of the policy in force.
        """
        self.on_publish: Callable[[], None] = lambda: None
        """Called when a checkpoint was published here; it must not block."""
        self._db = db
        self._keys = keys
        self._clock = clock
        self.origin = origin
        self.log_seeds = keys.log_seeds
        self._edition = edition
        self._new_log = (map_bits, mmd_us)
        self._publish_seconds = publish_seconds
        self._mapped_at = 0.0
        self._kept = Kept(folder / "checkpoint")
        self._signers = [Signer(origin, seed) for seed in self.log_seeds()]
        self._map: stored.StoredMap | None = None
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
            publish_seconds=settings.publish_seconds,
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
            await self.sequence()
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
            await self._take_turns(seconds)
        finally:
            building.cancel()

    async def _take_turns(self, seconds: float) -> None:
        while not self._closing.is_set():
            due = time.monotonic() - self._mapped_at >= self._publish_seconds
            try:
                await self.once(publish=due and self._own_map().built)
            except DatabaseUnavailable as gone:
                _log.warning("sequencer", lost=str(gone))
            except LogRefused as refused:
                _log.critical("sequencer.refused", why=str(refused))
            except Exception as error:  # noqa: BLE001 - a log that stops for ever is worse than one that tries again
                _log.error("sequencer", exc_info=error)
            try:
                await asyncio.wait_for(self._closing.wait(), seconds)
            except TimeoutError:
                continue

    async def close(self) -> None:
        """End after the turn under way, and take a last one: a record that waits till the next start is late."""
        self._closing.set()
        if self._working is not None:
            await self._working
            try:
                await self.once(publish=self._own_map().built)
            except (DatabaseUnavailable, LogRefused) as fault:
                _log.warning("sequencer", unfinished=str(fault))

    # One turn

    async def once(self, *, publish: bool) -> int:
        """Log what waits; with `publish`, end the log with a map entry if it grew, and sign it. Returns records logged.

        Raises DatabaseUnavailable, LogRefused.
        """
        async with self._turn:
            logged = 0
            while True:
                async with self._db.read() as db:
                    found = await sql.waiting(db)
                quiet_us = to_us(self._clock.now()) - found["mapped_us"]
                grew = found["pending"] or found["size"] > found["mapped_size"]
                due = publish and (grew or quiet_us >= HEARTBEAT_US)
                if not found["pending"] and not due:
                    break
                taken = await self.sequence(map_entry=due)
                if taken is None:
                    return logged
                logged += taken
                if taken < BATCH:
                    break
            await self.publish()
            return logged

    async def sequence(self, *, map_entry: bool = False, config: Config | None = None) -> int | None:
        """Log one batch of waiting records, and with `map_entry` the map entry that makes the log fit to be signed.

        `config` makes a config entry, which stands behind the records.

        Returns how many records were logged; None where another sequencer is at work. One transaction.
        """
        try:
            async with self._db.transaction() as tx:
                taken, mapped = await self._grow(tx, map_entry=map_entry, config=config)
        except _Overtaken:
            self._forget()
            return None
        except asyncpg.UniqueViolationError as taken_before:
            # The other one wrote the same places before us.
            _log.warning("sequencer.overtaken", why=str(taken_before))
            self._forget()
            return None
        except BaseException:
            self._forget()
            raise
        if mapped:
            self._mapped_at = time.monotonic()
            if self._map is not None:
                self._map.settle(mapped)
        return taken

    async def add(self, config: Config) -> int:
        """Append a config entry and sign the log with it; return the size published. Raises as `once` does."""
        while await self.sequence(config=config) is None:  # noqa: ASYNC110 - who overtook us is another process
            await asyncio.sleep(_OVERTAKEN_SECONDS)
        await self.once(publish=True)
        return await self.publish()

    def _forget(self) -> None:
        if self._map is not None and self._updated:
            self._map.forget()
        self._updated = False

    async def _grow(self, tx: Tx, *, map_entry: bool, config: Config | None) -> tuple[int, int]:
        """All of stage 2 inside one transaction; returns records taken, and the new size if it ends in a map entry."""
        self._updated = False
        if not await sql.try_lock(tx):
            raise _Overtaken
        state = await stored.sql.log_state(tx)
        old = state["size"]
        rows = [Pending(*row) for row in await sql.take_pending(tx, most=BATCH)]
        growth = Growth(
            Frontier.parse(state["frontier"]),
            max(state["last_time_us"], to_us(self._clock.now())),
            state["subjects"],
        )
        if old == 0:
            growth.append(encode_config(0, growth.time_us, self._first_entry()))
        if rows:
            edges = await self._edges(tx, rows)
            if len(rows) > _OFF_THE_LOOP:
                await asyncio.to_thread(growth.append_records, rows, edges)
            else:
                growth.append_records(rows, edges)
            await self._keep_edges(tx, edges)
            await tx.copy("subject_leaf", ("subject_id", "seq", "idx"), growth.subject_leaves)
        if config is not None:
            growth.append(encode_config(growth.size, growth.time_us, config(growth.size)))
        mapped = {name: state[name] for name in ("mapped_size", "mapped_root", "mapped_us")}
        if map_entry:
            map_root = await self._keep_map(tx, state["mapped_size"], growth)
            growth.append(encode_map(growth.size, growth.time_us, growth.subjects, map_root))
            mapped = {
                "mapped_size": growth.size,
                "mapped_root": growth.frontier.root(),
                "mapped_us": growth.time_us,
            }
        if not growth.entries:
            return 0, 0
        await tx.copy("log_entry", ("idx", "record_id", "entry"), growth.entries)
        await self._keep_tiles(tx, old, growth.leaves)
        moved = await sql.advance(
            tx,
            old=old,
            size=growth.size,
            frontier=growth.frontier.serialise(),
            last_time_us=growth.time_us,
            subjects=growth.subjects,
            **mapped,
        )
        if moved != "UPDATE 1":
            raise _Overtaken
        return len(rows), growth.size if map_entry else 0

    async def _edges(self, tx: Tx, rows: list[Pending]) -> dict[bytes, Edge]:
        tags = {tag for row in rows for tag in stored.split(row.tags)}
        found = await sql.edges(tx, tags=list(tags))
        return {row["tag"]: Edge(row["id"], Frontier.parse(row["frontier"])) for row in found}

    async def _keep_edges(self, tx: Tx, edges: dict[bytes, Edge]) -> None:
        fresh = [
            (edge.number, tag, edge.frontier.size, edge.frontier.serialise())
            for tag, edge in edges.items()
            if edge.is_new
        ]
        if fresh:
            await tx.copy("subject", ("id", "tag", "n", "frontier"), fresh)
        moved = [edge for edge in edges.values() if not edge.is_new]
        if moved:
            await sql.keep_edges(
                tx,
                ids=[edge.number for edge in moved],
                ns=[edge.frontier.size for edge in moved],
                frontiers=[edge.frontier.serialise() for edge in moved],
            )

    async def _keep_map(self, tx: Tx, mapped_size: int, growth: Growth) -> bytes:
        """Bring the buckets of all subjects touched since the last map entry up to date; return the map root."""
        tree = self._own_map()
        await tree.catch_up(tx, mapped_size)
        earlier = await stored.sql.entries(tx, start=mapped_size, end=growth.size - len(growth.entries))
        touched = stored.tags_of(
            [*(row["entry"] for row in earlier), *(entry for _, _, entry in growth.entries)]
        )
        subjects = await sql.edges(tx, tags=list(touched))
        bits = self._bits
        changed = placed({row["tag"]: Frontier.parse(row["frontier"]) for row in subjects}, bits)
        held = {
            row["bucket"]: stored.members_of(row["members"])
            for row in await stored.sql.buckets(tx, numbers=list(changed))
        }
        buckets = {
            bucket: b"".join(part for pair in sorted((held.get(bucket, {}) | new).items()) for part in pair)
            for bucket, new in sorted(changed.items())
        }
        if buckets:
            await sql.keep_buckets(tx, numbers=list(buckets), members=list(buckets.values()))
        self._updated = True
        return tree.update(buckets)

    def _own_map(self) -> stored.StoredMap:
        if self._map is None:
            raise RuntimeError("start the sequencer first")
        return self._map

    @property
    def _bits(self) -> int:
        if self.genesis is None:
            raise RuntimeError("start the sequencer first")
        return self.genesis.map_bits

    async def _keep_tiles(self, tx: Tx, size: int, fresh: list[bytes]) -> None:
        """Store the tiles that have become full, on every level; `size` and `fresh` as before and since."""
        tiles: list[tuple[int, int, bytes, bytes]] = []
        level = 0
        while (size + len(fresh)) // TILE_WIDTH > size // TILE_WIDTH:
            first, inside = divmod(size, TILE_WIDTH)
            begun = (await stored.tile(tx, level, first))[:inside] if inside else []
            hashes = begun + fresh
            above: list[bytes] = []
            for at in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH):
                full = hashes[at : at + TILE_WIDTH]
                above.append(root_of(full))
                tiles.append((level, first + len(above) - 1, above[-1], b"".join(full)))
            size, fresh, level = first, above, level + 1
        if tiles:
            await tx.copy("log_tile", ("level", "n", "root", "hashes"), tiles)

    # Publishing

    async def publish(self) -> int:
        """Sign the last map entry's tree if it is not signed yet; return the size that is published now.

        Only what is committed is signed, and it is on disk outside the database before anyone can get it.
        Raises LogRefused if the log was set back since.
        """
        async with self._db.read(snapshot=True) as db:
            state = await stored.sql.log_state(db)
            newest = await stored.sql.newest_checkpoint(db)
            known = await logkeys.read(db)
        size = state["mapped_size"]
        if size == 0 or (newest is not None and newest["size"] >= size):
            return newest["size"] if newest is not None else 0
        kept = self._kept.read()
        if kept is not None and state["size"] < kept.size:
            raise LogRefused(
                f"the database lost entries: it holds {state['size']}, but {kept.size} were signed; stop the service"
            )
        text = str(Checkpoint(self.origin, size, state["mapped_root"]))
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
