"""How many reads of one group's state a second, against a bare ASGI app on the same server? Of a mute? Checks of an act (S014)?

Run as `python -m bench.checks [--seconds 5]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench import actions
from bench.house import served
from bench.load import request, run


async def bare(_: Any, receive: Any, send: Any) -> None:
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def _serve_bare(port: int) -> None:
    from uvicorn import Config, Server

    await Server(Config(bare, port=port, http="httptools", lifespan="off", log_config=None)).serve()


def main() -> None:
    """Print the bare rate, then the reads and checks as ratios to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each run")
    parser.add_argument("--bare", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        uvloop.run(_serve_bare(args.bare))
        return
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        with served(Path(name), groups=2_000, members=3) as house:
            port = house.port + 1 if house.port < 65_000 else house.port - 1
            process = subprocess.Popen([sys.executable, "-m", "bench.checks", "--bare", str(port)])
            try:
                time.sleep(2)
                headers = {"authorization": f"Bearer {house.tokens['im']}"}
                number = int(args.seconds * 25_000)
                plain = uvloop.run(
                    run(port, [request("GET", "/", {})] * number, connections=64, seconds=args.seconds)
                )
            finally:
                process.terminate()
                process.wait(10)
            print(f"bare ASGI app:     {plain.rate:7.0f}/s")
            reads = [request("GET", f"/v1/groups/g{n % 2_000}", headers) for n in range(number // 5)]
            body = (
                b'{"action":"group.mute","group_id":"g%d","person_id":"g%d-p1","seconds":60,"reason":"spam"}'
            )
            asks = [
                request("POST", "/v1/checks", headers | {"x-on-behalf-of": f"g{n % 2_000}-p0"}, body % (n % 2_000, n % 2_000))
                for n in range(number // 5)
            ]  # fmt: skip
            muted = [
                request("GET", f"/v1/groups/g{n % 2_000}/mutes/g{n % 2_000}-p1", headers)
                for n in range(number // 5)
            ]
            for what, requests in (
                ("a group's state", reads),
                ("is he muted", muted),
                ("check of a mute", asks),
            ):
                figures = uvloop.run(run(house.port, requests, connections=64, seconds=args.seconds))
                assert set(figures.statuses) == {200}, figures.statuses
                print(
                    f"{what + ':':<18} {figures.rate:7.0f}/s, p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms; "
                    f"{figures.rate / plain.rate:.3f} of bare"
                )


if __name__ == "__main__":
    actions.GROUPS = 2_000

    main()
