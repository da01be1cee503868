"""How much does the log cost a record: CPU of the sequencer and of its backend, records a second, bytes?

Run as `python -m bench.sequencer [set …]`; it starts a database of its own, fsync on. Records are those of `bench.actions`:
four subjects, of which three are seldom the same, in sets of so many waiting records (3,000: the acts of one second). CPU is
also told in hashes of an inner node, measured beside it, which says more than microseconds where others use the machine.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import resource
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import uvloop

from service.clock import Clock
from service.db import Db, Embedded, migrate
from service.trail.keys import TrailKeys
from service.trail.sequencer import Sequencer

GROUPS = 20_000
ROUNDS = 3
MEASURED = 12_000
BODY = 900
_NEW = ("rid", "body", "at", "act", "out")
_TABLES = ("record", "pending", "log_entry", "log_tile", "subject", "subject_leaf")
_PLACE = os.urandom(32)
_SUBJECTS = [tuple(os.urandom(32) for _ in range(3)) for _ in range(GROUPS)]


async def waiting(db: Db, groups: list[int]) -> None:
    """Records as the door leaves them: a group, its owner, a member, and the jurisdiction of all."""
    at = Clock().now()
    rows: list[Any] = []
    tags: dict[str, bytes] = {}
    for group in groups:
        rid = f"00000000-0000-7000-8000-{os.urandom(6).hex()}"
        tags[rid] = b"".join(sorted((*_SUBJECTS[group], _PLACE)))
        rows.append((rid, os.urandom(BODY // 2).hex().encode(), at, "group.mute", "done"))
    async with db.transaction() as tx:
        await tx.copy("record", _NEW, rows)
        new = await tx.fetch("SELECT id, rid FROM record WHERE rid = ANY($1)", list(tags))
        waits = [(row["id"], os.urandom(32), tags[row["rid"]]) for row in new]
        await tx.copy("pending", ("id", "record_hash", "tags"), waits)


def hash_us() -> float:
    """Microseconds for one inner node, now."""
    began = time.thread_time()
    for _ in range(100_000):
        sha256(b"\x01" + _PLACE + _PLACE).digest()
    return (time.thread_time() - began) * 10


async def measure(db: Db, log: Sequencer, backend: psutil.Process, size: int) -> None:
    """Print what sets of `size` records cost."""
    ours = theirs = wall = 0.0
    groups = random.sample(range(GROUPS), MEASURED)
    unit = hash_us()
    for at in range(0, MEASURED, size):
        await waiting(db, groups[at : at + size])
        used, since = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        there = backend.cpu_times()
        await log.once()
        wall += time.perf_counter() - since
        now, then = resource.getrusage(resource.RUSAGE_SELF), backend.cpu_times()
        ours += now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        theirs += then.user + then.system - there.user - there.system
    unit = (unit + hash_us()) / 2
    each, backend_us = ours / MEASURED * 1e6, theirs / MEASURED * 1e6
    print(
        f"sets of {size:>5,}: {each + backend_us:4.0f} us of CPU a record (Python {each:.0f}, backend {backend_us:.0f}), "
        f"{(each + backend_us) / unit:.0f} hashes; {MEASURED / wall:,.0f} records/s"
    )


async def main(sizes: list[int]) -> None:
    """Give every subject some records, then measure."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        with Embedded.start(Path(folder) / "pg") as server:
            migrate(server.owner_dsn, say=None)
            db, own = await Db.open(server.service_dsn, size=1), await Db.open(server.service_dsn, size=1)
            keys = TrailKeys.load_or_create(Path(folder) / "keys", may_create=True)
            settings = {"origin": "bench/1", "folder": Path(folder), "map_bits": 20, "mmd_us": 10_000_000}
            log = Sequencer(own, keys, Clock(), edition=lambda: "0" * 64, **settings)
            await log.start()
            for _ in range(ROUNDS):
                await waiting(db, random.sample(range(GROUPS), GROUPS))
                await log.once()
            async with own.read() as reader:
                backend = psutil.Process(await reader.fetchval("SELECT pg_backend_pid()"))
            # As the service does, whose collector would else look through all that is kept.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            for size in sizes:
                await measure(db, log, backend, size)
            await storage(db)
            await db.close()
            await own.close()


async def storage(db: Db) -> None:
    """Print bytes a record by table, indexes and all."""
    async with db.read() as reader:
        records = await reader.fetchval("SELECT count(*) FROM record")
        for name in _TABLES:
            size = await reader.fetchval("SELECT pg_total_relation_size($1::text::regclass)", name)
            print(f"  {name:<13}{size / records:7.0f} bytes a record")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[200, 600, 3000], help="records that wait")
    uvloop.run(main(parser.parse_args().sizes))
