"""Who asks, over HTTP: a bearer key, and the person a backend acts for. What he may do is found by the door."""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from service.action import ID_PATTERN
from service.caller import Caller
from service.db import Db, queries
from service.domain.keys import ApiKey
from service.errors import Code, Refusal

sql = queries(__file__)
_REMEMBERED = 10_000
_WINDOW_S = 60


class _Window:
    """How often a key asked in the present minute. The package for this starts a timer thread at every request."""

    __slots__ = ("asked", "ends")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.asked = 0

    def seconds_left(self) -> int:
        """Whole seconds until it ends, never 0: who waits so long is served."""
        return max(1, math.ceil(self.ends - time.monotonic()))


class Callers:
    """Tells callers by their keys, and how often each asks.

    Which key a token belongs to never changes, so it is remembered; whether the key still holds is asked by the door,
    inside the act's transaction, and by `reading` for reads.
    """

    def __init__(self, db: Db, per_minute: int) -> None:
        """`per_minute`: requests per key in one process."""
        self._db = db
        self._known: OrderedDict[bytes, ApiKey] = OrderedDict()
        self._limit = per_minute
        self._windows: dict[str, _Window] = {}

    async def caller(self, scope: Any, headers: Mapping[bytes, bytes]) -> Caller:
        """Return who asks; `scope`, the request's, is told which key it was: what that has left is said with every answer.

        Raises Refusal `key_invalid`, `malformed`, `too_many`, or DatabaseUnavailable.
        """
        key = await self._key(headers)
        scope["key_id"] = key.key_id
        window = self._window(key.key_id)
        window.asked += 1
        if window.asked > self._limit:
            raise Refusal(Code.TOO_MANY, seconds=window.seconds_left())
        person = headers.get(b"x-on-behalf-of")
        if key.kind == "backend":
            if person is None:
                return Caller(kind="backend", key_id=key.key_id)
            return Caller(kind="person", key_id=key.key_id, person_id=_id(person))
        if person is not None:
            raise Refusal(
                Code.MALFORMED, pointer="X-On-Behalf-Of", why="only a backend's key acts for people"
            )
        return Caller(kind=key.kind, key_id=key.key_id, staff_id=key.staff_id or "")

    def left(self, key_id: str) -> list[tuple[bytes, bytes]]:
        """The standard headers that tell a key how much it has left."""
        window = self._window(key_id)
        return [
            (b"ratelimit-limit", b"%d" % self._limit),
            (b"ratelimit-remaining", b"%d" % max(0, self._limit - window.asked)),
            (b"ratelimit-reset", b"%d" % window.seconds_left()),
        ]

    def _window(self, key_id: str) -> _Window:
        window = self._windows.get(key_id)
        if window is None or time.monotonic() >= window.ends:
            window = self._windows[key_id] = _Window(time.monotonic() + _WINDOW_S)
        return window

    async def _key(self, headers: Mapping[bytes, bytes]) -> ApiKey:
        digest = _digest(headers.get(b"authorization", b""))
        if digest is None:
            raise Refusal(Code.KEY_INVALID)
        key = self._known.get(digest)
        if key is None:
            async with self._db.read() as db:
                record = await sql.key_of_token(db, token_sha256=digest)
            if record is None:
                raise Refusal(Code.KEY_INVALID)
            key = ApiKey.from_record(record)
            self._known[digest] = key
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return key


def _digest(authorization: bytes) -> bytes | None:
    """SHA-256 of the bearer token, or None where there is none."""
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    return hashlib.sha256(token).digest() if token and scheme.lower() == b"bearer" else None


def _id(raw: bytes) -> str:
    text = raw.decode("latin-1")
    if not ID_PATTERN.fullmatch(text):
        raise Refusal(
            Code.MALFORMED, pointer="X-On-Behalf-Of", why="an id: 1 to 128 of A-Z a-z 0-9 . _ : @ -"
        )
    return text
