"""HTTP/1.1 as uvicorn speaks it, but for two things.

Answers leave in one piece: uvicorn writes head and body apart, and uvloop sends each write at once, which is two system
calls and two packets where a small answer needs one. And who offers to speak another protocol is answered in this one (RFC
9110, section 7.8), body and all: every Java client offers HTTP/2 so, and httptools ends a request with the head of the offer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class _Joined:
    """A transport that holds what is written until the loop's next turn, and is otherwise the one it stands for."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        held, self._held = self._held, []
        # Whoever has gone away meanwhile hears nothing more.
        if held and not self.is_closing():
            self._transport.write(b"".join(held))


class _Parser(httptools.HttpRequestParser):
    """A parser that, where it meets an offer, leaves the rest of the connection to a new one."""

    def __init__(self, protocol: Http1, target: Any) -> None:
        super().__init__(target)
        self.set_dangerous_leniencies(lenient_data_after_close=True)
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:
        """Parse. Raises HttpParserError."""
        parser = self
        while True:
            try:
                super(_Parser, parser).feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self._protocol.framing() + data[offer.args[0] :]
                parser = self._protocol.parser = _Parser(self._protocol, _Resumed(self._protocol))
            else:
                return


class _Resumed:
    """What a new parser tells: nothing of the head, which the one before it has told, and all that follows."""

    def __init__(self, protocol: Http1) -> None:
        self._protocol = protocol
        self._head = True

    def on_message_begin(self) -> None:
        if not self._head:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._head:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._head:
            self._protocol.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        self._head = False
        self._protocol.on_message_complete()


class Http1(HttpToolsProtocol):
    """One connection."""

    _joined: _Joined

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  as uvicorn's own
        """Begin a connection."""
        self.parser = _Parser(self, self)
        self._joined = _Joined(transport, self.loop)
        super().connection_made(self._joined)  # type: ignore[arg-type]  it has all that one has

    def on_message_complete(self) -> None:
        """End a request, unless only its head ends in an offer."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def framing(self) -> bytes:
        """A head that says of the body what the request's own says, and makes no offer."""
        head = [b"POST / HTTP/%b" % self.parser.get_http_version().encode()]
        head += [b"%b: %b" % (name, value) for name, value in self.headers if name in _FRAMING]
        return b"\r\n".join([*head, b"\r\n"])

    def eof_received(self) -> None:
        """Send what is held to one who says nothing more, before his connection is closed."""
        self._joined.flush()
