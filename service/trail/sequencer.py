"""Brings records into the log, and signs what the log has become (trail-format section 12, stage 2 and publishing).

`sequence` is one transaction: entries, subject trees, map and tiles are all there or none, and the map entry at the end says
what the subjects are then. `publish` signs only what is committed, and keeps the checkpoint on disk outside the database
before anyone gets it. If we crash anywhere, the next turn goes on from what is committed: a record waits in `pending` until
its entry is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
import structlog

from service.clock import Clock, to_us
from service.db import DatabaseUnavailable, Db, Reader, Tx, queries
from service.settings import Settings
from service.trail import beginning, logkeys, rowed, stored
from service.trail.entry import MAP, Genesis, encode_config
from service.trail.growth import Growth, members_of
from service.trail.kept import Damaged, Kept, LogRefused
from service.trail.keys import TrailKeys
from service.trail.logkeys import Config, KeyRange
from service.trail.note import Checkpoint, Note, Signer
from service.trail.notices import InForce, due

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
    ) -> None:
        """`folder` is where the last checkpoint is kept. `map_bits`, `mmd_us` and `edition` count for a new log only.

        `mmd_us`: how long a record may wait for its entry, microseconds. `edition`: digest of the policy in force.
        """
        self.on_publish: Callable[[], None] = lambda: None
        """Called when a checkpoint was published here; it must not block."""
        self.on_turn: Callable[[bool], None] = lambda _stalled: None
        """Called after each turn that reached the database: whether the log may not go on as it is; it must not block."""
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
        self._ready = False
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
        closing = asyncio.create_task(self._closing.wait(), name="sequencer closing")
        await asyncio.wait((building, closing), return_when=asyncio.FIRST_COMPLETED)
        self._ready = building.done()
        building.cancel()
        while not self._closing.is_set():
            since = time.monotonic()
            await self._take_turn()
            # From beginning to beginning, so that a long turn makes no record wait longer.
            await asyncio.wait((closing,), timeout=max(0.0, seconds - (time.monotonic() - since)))
        closing.cancel()

    async def _take_turn(self) -> None:
        stalled = True
        try:
            await self.once()
            stalled = False
        except DatabaseUnavailable as gone:
            # Nothing is known of the log then, and nothing told.
            _log.warning("sequencer", lost=str(gone))
            return
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
            if self._ready:
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
        if self._map is not None:
            await self._map.build()
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
            said: Any = taken
            raise LogRefused(
                f"a row of {said.table_name} that no sequencer wrote stands where the log of {self._began} entries goes on "
                f"({said.detail}): nothing more can be logged or signed; keep a copy of the row, find out who wrote it, "
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
            others, edges = await rowed.read(tx, (row["tags"] for row in rows), self._bits)
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
            if not await rowed.keep(tx, edges.values()):
                raise _Overtaken
            if growth.chunks:
                await tx.copy("subject_leaf", ("tag", "chunk", "places"), growth.chunks)
        await tx.copy("log_entry", ("idx", "record_id", "entry"), growth.entries)
        await rowed.keep_tiles(tx, made)
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
        # Read before the database: another process may sign more in between.
        kept = self._kept.read()
        async with self._db.read(snapshot=True) as db:
            state = await stored.sql.log_state(db)
            newest = await stored.sql.newest_checkpoint(db)
            size = state["size"]
            published = newest["size"] if newest is not None else 0
            if published == size:
                return published
            last = await stored.sql.entries(db, start=size - 1, end=size)
            known = await logkeys.read(db)
        if kept is not None and size < kept.size:
            raise LogRefused(
                f"the database lost entries: it holds {size}, but {kept.size} were signed; stop the service"
            )
        if published > size:
            raise Damaged(
                f"checkpoint {published}: the log has {size} entries, no sequencer signed more; let the owner delete the row"
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
