"""Answers over a real connection: in one piece where they are small, at once where they last, whole where they are large."""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.commands.serving import answering, free_port

pytestmark = pytest.mark.anyio
LARGE = 8_000_000


class Told:
    """An ASGI application whose streams go on when they are told."""

    def __init__(self) -> None:
        self.on = asyncio.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        start: dict[str, Any] = {"type": "http.response.start", "status": 200}
        if scope["path"] == "/small":
            await send(start | {"headers": [(b"content-length", b"5")]})
            await send({"type": "http.response.body", "body": b"small"})
        elif scope["path"] == "/large":
            await send(start | {"headers": [(b"content-length", b"%d" % LARGE)]})
            for _ in range(8):
                await send({"type": "http.response.body", "body": b"x" * (LARGE // 8), "more_body": True})
            await send({"type": "http.response.body"})
        else:
            await send(start)
            await self.on.acquire()
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await self.on.acquire()
            await send({"type": "http.response.body", "body": b"second"})


@asynccontextmanager
async def asked(
    path: str, app: Told, more: str = ""
) -> AsyncIterator[tuple[asyncio.StreamReader, socket.socket]]:
    """A connection on which this was asked, to read from, and its socket."""
    port = free_port("127.0.0.1", 0)
    async with answering(app, "127.0.0.1", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n{more}\r\n".encode())
            yield reader, writer.get_extra_info("socket")
        finally:
            writer.close()
            app.on.release()
            app.on.release()


@pytest.mark.skipif(
    not hasattr(socket, "TCP_INFO"), reason="this system does not count a connection's segments"
)
async def test_a_small_answer_comes_in_one_piece() -> None:
    """Head and body in one packet."""
    async with asyncio.timeout(10), asked("/small", Told()) as (reader, client):
        assert (await reader.readuntil(b"small")).startswith(b"HTTP/1.1 200 OK\r\n")
        told = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
        # tcpi_data_segs_in, as linux/tcp.h has it since 4.6.
        assert struct.unpack_from("I", told, 152) == (1,)


async def test_a_connection_that_ends_with_its_answer_gives_it_whole() -> None:
    """What is held when the connection is closed is sent before."""
    async with asyncio.timeout(10), asked("/small", Told(), "connection: close\r\n") as (reader, _):
        assert (await reader.read()).endswith(b"\r\n\r\nsmall")


async def test_a_stream_gives_each_part_when_it_is_there() -> None:
    """Neither the head nor a part waits for what follows."""
    app = Told()
    async with asyncio.timeout(10), asked("/stream", app) as (reader, _):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        app.on.release()
        assert await reader.readuntil(b"first\r\n") == b"5\r\nfirst\r\n"
        app.on.release()
        assert await reader.readuntil(b"0\r\n\r\n") == b"6\r\nsecond\r\n0\r\n\r\n"


async def test_a_large_answer_comes_whole_to_whoever_reads_late() -> None:
    """The one who writes waits for the one who reads."""
    async with asyncio.timeout(30), asked("/large", Told()) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        assert len(await reader.readexactly(LARGE)) == LARGE


async def test_whoever_goes_away_leaves_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """What is written to nobody is dropped."""
    app = Told()
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(10), asked("/stream", app) as (reader, _):
            await reader.readuntil(b"\r\n\r\n")
    assert caplog.records == []


async def test_who_says_no_more_is_answered_still() -> None:
    """A client may close its side as soon as it has asked."""
    async with asyncio.timeout(10), asked("/small", Told()) as (reader, client):
        # The transport's own socket may not; a copy of it is the same connection.
        with client.dup() as copy:
            copy.shutdown(socket.SHUT_WR)
        assert (await reader.read()).endswith(b"\r\n\r\nsmall")
