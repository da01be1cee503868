"""How many effects a second reach a receiver on loopback, against the same bodies posted by the bare client in the same run?

Run as `python -m bench.webhooks [--effects 20000]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import asyncpg
import uvloop

from bench.checks import bare
from service.commands.serving import answering, free_port
from service.commands.webhooks import House
from service.db import Db, Embedded, migrate
from service.guard import Poster
from service.outbox import Outbox
from service.settings import Settings
from service.trail.keys import TrailKeys
from service.watch import Watching
from service.webhooks import MOST_EVENTS, Webhooks, batch_of, signed_headers, source_of, sql

PAYLOAD = (
    '{"group_id": "g-'
    + "7" * 12
    + '", "person_id": "p-'
    + "9" * 12
    + '", "until": "2026-11-02T08:01:00.000Z"}'
)


class Took(NamedTuple):
    """What one way of posting took: seconds by the clock, and of this process's CPU."""

    seconds: float
    cpu: float


async def _timed(work: Callable[[], Awaitable[None]]) -> Took:
    began, cpu = time.perf_counter(), time.process_time()
    await work()
    return Took(time.perf_counter() - began, time.process_time() - cpu)


async def _compare(embedded: Embedded, folder: Path, url: str, effects: int) -> None:
    settings = Settings(dsn=embedded.service_dsn, data=folder, webhook_private=True)
    db = await Db.open(settings)
    keyring = TrailKeys.load_or_create(folder / "keys", may_create=True).keyring
    await House(settings, db, keyring).add(url, "bench", [])
    owner = await asyncpg.connect(embedded.owner_dsn)
    await owner.execute(
        "INSERT INTO outbox (rid, at, kind, payload)"
        f" SELECT 'r' || n, now(), 'group.muted', '{PAYLOAD}' FROM generate_series(1, {effects}) n"
    )
    await owner.execute("VACUUM ANALYZE outbox")
    outbox = Outbox(db)
    webhooks = Webhooks(db, outbox, keyring, Watching(), origin=settings.origin, private=True)
    ours = await _timed(webhooks.once)
    left = await owner.fetchval("SELECT count(*) FROM outbox WHERE id > (SELECT place FROM webhook)")
    assert left == 0, f"{left} effects were not taken"

    async with db.read() as reader:
        row = await sql.one(reader, webhook_id=await owner.fetchval("SELECT webhook_id FROM webhook"))
    batch = batch_of(source_of(settings.origin), await outbox.page(after=0, limit=MOST_EVENTS))
    headers = signed_headers(
        keyring, await owner.fetchval("SELECT webhook_id FROM webhook"), row, "msg", batch.body
    )
    poster = Poster(private=True)

    async def post() -> None:
        for _ in range(effects // MOST_EVENTS):
            assert await poster.post(url, headers, batch.body) == 200

    client = await _timed(post)
    print(
        f"bare client: {effects / client.seconds:,.0f} effects/s, {client.cpu / effects * 1e6:.1f} us of CPU each"
    )
    print(
        f"webhooks:    {effects / ours.seconds:,.0f} effects/s, {ours.cpu / effects * 1e6:.1f} us of CPU each"
    )
    print(
        f"ratio: {client.seconds / ours.seconds:.2f} by the clock, {client.cpu / ours.cpu:.2f} by CPU; {len(batch.body):,} bytes a post"
    )
    await poster.close()
    await webhooks.close()
    await owner.close()
    await db.close()


async def _receive(port: int) -> None:
    async with answering(bare, "127.0.0.1", port) as ended:
        await ended


def main() -> None:
    """Print the rate of the bare client, that of the webhooks, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effects", type=int, default=20_000, help="effects to post, in hundreds")
    parser.add_argument("--receive", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        uvloop.run(_receive(args.receive))
        return
    port = free_port("127.0.0.1", 0)
    process = subprocess.Popen([sys.executable, "-m", "bench.webhooks", "--receive", str(port)])
    try:
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o711)
            with Embedded.start(Path(name) / "pg") as embedded:
                migrate(embedded.owner_dsn, say=None)
                uvloop.run(_compare(embedded, Path(name), f"http://127.0.0.1:{port}/hook", args.effects))
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()
