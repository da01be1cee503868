"""Over a real connection: answers in one piece where they are small, at once where they last, whole where they are large;
and requests whole, whatever other protocol their sender offers.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.commands import CommandError
from service.commands.serving import answering, free_port, held_port

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


OFFER = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQBAAAA\r\n"
"""What Java's client says with every request over plain HTTP, since it would rather speak HTTP/2."""
SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"


class Repeating:
    """An ASGI application that answers with what it was told."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        told = b"%b %b %b" % (scope["method"].encode(), scope["path"].encode(), body)
        start = {"type": "http.response.start", "status": 200}
        await send(start | {"headers": [(b"content-length", b"%d" % len(told))]})
        await send({"type": "http.response.body", "body": told})


async def answers(number: int, *packets: str) -> list[str]:
    """What so many requests in these packets are answered, and nothing else."""
    port = free_port("127.0.0.1", 0)
    async with asyncio.timeout(20), answering(Repeating(), "127.0.0.1", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for packet in packets:
            writer.write(packet.encode())
            await asyncio.sleep(0.02)
        told: list[str] = []
        for _ in range(number):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            told.append((await reader.readexactly(length)).decode())
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    return told


def sent(path: str, body: str, more: str = OFFER) -> str:
    """A request with a body."""
    return f"POST {path} HTTP/1.1\r\nhost: a\r\n{more}content-length: {len(body)}\r\n\r\n{body}"


async def test_who_offers_another_protocol_is_answered_in_this_one() -> None:
    """With the body, in whatever packets it comes."""
    whole = sent("/a", "some body")
    assert await answers(1, whole) == ["POST /a some body"]
    for cut in (whole.index("upgrade"), len(whole) - 9, len(whole) - 4):
        assert await answers(1, whole[:cut], whole[cut:]) == ["POST /a some body"]


async def test_a_body_in_chunks_comes_with_an_offer_too() -> None:
    """As Java's client sends what it does not know the length of."""
    head = f"POST /a HTTP/1.1\r\nhost: a\r\n{OFFER}transfer-encoding: chunked\r\n\r\n"
    assert await answers(1, head, "5\r\nsome \r\n", "4\r\nbody\r\n0\r\n\r\n") == ["POST /a some body"]


async def test_the_connection_goes_on_after_an_offer() -> None:
    """With and without another offer, in one packet or in several."""
    each = [
        sent("/a", "one"),
        sent("/b", "two", ""),
        sent("/c", "three"),
        f"GET /d HTTP/1.1\r\nhost: a\r\n{OFFER}\r\n",
    ]
    expected = ["POST /a one", "POST /b two", "POST /c three", "GET /d "]
    assert await answers(4, *each) == expected
    assert await answers(4, "".join(each)) == expected


async def test_a_body_is_no_request_because_of_an_offer() -> None:
    """What somebody wrote into a body must never be carried out as a request of its own."""
    assert await answers(1, sent("/a", SMUGGLED)) == [f"POST /a {SMUGGLED}"]
    head, body = sent("/a", SMUGGLED).split("\r\n\r\n", 1)
    assert await answers(2, head + "\r\n\r\n", body + sent("/b", "")) == [f"POST /a {SMUGGLED}", "POST /b "]


async def test_many_offers_in_one_packet_are_answered_each() -> None:
    """None of them costs a frame of the stack."""
    assert await answers(1_200, sent("/a", "x") * 1_200) == ["POST /a x"] * 1_200


async def test_an_offer_of_a_websocket_is_answered_as_a_request(caplog: pytest.LogCaptureFixture) -> None:
    """There are none here, and nobody is told of it again and again in the log."""
    offer = (
        "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n"
    )
    with caplog.at_level(logging.WARNING):
        assert await answers(1, f"GET /a HTTP/1.1\r\nhost: a\r\n{offer}\r\n") == ["GET /a "]
    assert caplog.records == []


async def test_a_head_that_says_two_lengths_is_refused_with_an_offer_too() -> None:
    """Nobody knows then where the body ends."""
    port = free_port("127.0.0.1", 0)
    async with asyncio.timeout(20), answering(Repeating(), "127.0.0.1", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        two = f"{OFFER}transfer-encoding: chunked\r\n"
        writer.write(sent("/a", "5\r\nsome \r\n0\r\n\r\n", two).encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_a_port_is_held_before_anything_listens_on_it() -> None:
    """Of two services started at once at one port the second is refused, and the first's servers share it all the same."""
    with held_port("127.0.0.1", 0) as port:
        with pytest.raises(CommandError, match="choose another"), held_port("127.0.0.1", port):
            pass
        async with answering(Told(), "127.0.0.1", port), answering(Told(), "127.0.0.1", port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /small HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"small")
            writer.close()
        with pytest.raises(CommandError, match="choose another"), held_port("127.0.0.1", port):
            pass
    with held_port("127.0.0.1", port) as again:
        assert again == port
