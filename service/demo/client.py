"""What an IM backend and its staff do: send one request, read one answer. Knows nothing of the service but its API."""

from __future__ import annotations

import datetime as dt
import http.client
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

HOST = "mandate.example"
"""The name by which the service is reached, in what it answers about itself: else a port that is free by chance."""
_JSON = ("application/json", "application/problem+json")


class Heard(NamedTuple):
    """One answer as it came: what was asked, its status and media type, and its bytes."""

    method: str
    path: str
    status: int
    media: str
    raw: bytes


class Answer(NamedTuple):
    """One answer: status, JSON body, and the version of what was read, from its ETag.

    Of a file, `body` is its first line and the record of its taking, and `raw` is all of it. Of a text, `body` is its lines.
    """

    status: int
    body: dict[str, Any]
    version: int | None
    raw: bytes = b""

    @property
    def code(self) -> str:
        """The refusal's code; empty when done. (A group has a public code of its own.)"""
        return str(self.body.get("code", "")) if self.status >= 400 else ""


class Client:
    """Speaks for everybody of the story: people through the backend's key, staff through their own."""

    def __init__(self, host: str, port: int, tokens: dict[str, str], clock: Path) -> None:
        """`tokens` by key id, more may join; `im` is the backend's. `clock`: the file the service takes for its clock."""
        self._connection = http.client.HTTPConnection(host, port, timeout=30)
        self.tokens = tokens
        self._clock = clock
        self._keys = count(1)
        self.now: dt.datetime | None = None
        self.hears: Callable[[Heard], None] | None = None

    def at(self, instant: dt.datetime) -> None:
        """Set the clock of the whole house."""
        if instant == self.now:
            return
        self.now = instant
        draft = self._clock.with_suffix(".draft")
        draft.write_text(instant.isoformat(timespec="milliseconds").replace("+00:00", "Z"), encoding="ascii")
        draft.replace(self._clock)

    def ask(
        self,
        who: str,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        version: int | None = None,
    ) -> Answer:
        """Send one request. `who`: a staff id, `im` for the backend itself, else a person the backend acts for."""
        headers = {"host": HOST, "authorization": f"Bearer {self.tokens.get(who, self.tokens['im'])}"}
        if who not in self.tokens:
            headers["x-on-behalf-of"] = who
        if method != "GET":
            headers["idempotency-key"] = key or f"demo-{next(self._keys)}"
        if version is not None:
            headers["if-match"] = f'"{version}"'
        content = None
        if body is not None:
            content = json.dumps(body, ensure_ascii=False).encode()
            headers["content-type"] = "application/json"
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        media = response.getheader("content-type", "").partition(";")[0]
        raw = self._first_event(response) if media == "text/event-stream" else response.read()
        if self.hears is not None:
            self.hears(Heard(method, path, response.status, media, raw))
        if media == "application/jsonl":
            first: dict[str, Any] = json.loads(raw.splitlines()[0])
            taken = {"record_id": response.getheader("x-record-id")}
            return Answer(response.status, first | taken, None, raw)
        if media not in _JSON:
            return Answer(response.status, {"lines": raw.decode(errors="replace").splitlines()}, None)
        etag = response.getheader("etag", "").strip('"')
        return Answer(response.status, json.loads(raw), int(etag) if etag.isdigit() else None)

    def _first_event(self, stream: http.client.HTTPResponse) -> bytes:
        """What a stream without end says up to its first event. Hangs up."""
        read = b""
        while b"\ndata: " not in read or not read.endswith(b"\n\n"):
            line = stream.readline()
            if not line:
                break
            read += line
        self._connection.close()
        return read
