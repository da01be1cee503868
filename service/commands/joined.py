"""Answers leave in one piece: what is written to a connection in one turn of the loop is sent by one call.

uvicorn writes the head and the body of an answer apart, and uvloop sends each write at once: two system calls and two
packets, where a small answer needs one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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


class JoinedAnswers(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, with joined writes."""

    _joined: _Joined

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  as uvicorn's own
        """Begin a connection."""
        self._joined = _Joined(transport, self.loop)
        super().connection_made(self._joined)  # type: ignore[arg-type]  it has all that one has

    def eof_received(self) -> None:
        """Send what is held to one who says nothing more, before his connection is closed."""
        self._joined.flush()
