"""A bounded load on loopback: prepared HTTP requests over a fixed number of connections, each answer timed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Figures(NamedTuple):
    """What one run gave: requests per second, latencies in milliseconds, answers by status."""

    rate: float
    p50: float
    p99: float
    statuses: dict[int, int]


class _Connection(asyncio.Protocol):
    """One keep-alive connection that sends the next request as soon as it has an answer."""

    def __init__(
        self, requests: Iterator[bytes], took: list[float], statuses: dict[int, int], until: float
    ) -> None:
        self.requests, self.took, self.statuses, self.until = requests, took, statuses, until
        self.buffer = b""
        self.sent = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        request = next(self.requests, None)
        self.sent = time.perf_counter()
        if request is None or self.sent > self.until:
            self.transport.close()
            return
        self.transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        place = head.find(b"content-length: ")
        length = int(head[place + 16 :].split(b"\r", 1)[0]) if place >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        status = int(head[9:12])
        self.buffer = self.buffer[end + 4 + length :]
        self.took.append(time.perf_counter() - self.sent)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(exc)


async def run(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Figures:
    """Send the requests, each once, until they or `seconds` are used up."""
    took: list[float] = []
    statuses: dict[int, int] = {}
    queue = deque(requests)
    feed = iter(queue)
    since = time.perf_counter()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda: _Connection(feed, took, statuses, since + seconds), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    took.clear()
    await asyncio.gather(*(protocol.done for _, protocol in made))
    lasted = time.perf_counter() - since
    took.sort()
    if not took:
        raise SystemExit("no answer at all")
    return Figures(
        len(took) / lasted, took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3, statuses
    )


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """The bytes of one HTTP/1.1 request."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
