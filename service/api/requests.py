"""Every request has an id, every answer carries it and what the key has left; each leaves a line, but for health and metrics."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Code, Refusal
from service.watch import Watching

_NAME = re.compile(r"[a-z_]{1,40}")
WHICH = "*"
"""The method as which OPTIONS is asked inside. No route has it, so the answer is that of a wrong method: the ones there are."""
#: AuthZEN takes any text for an id and wants it back; what could not stand in a header or a line of the log is not one.
_SOUND = re.compile(rb"[!-~]{1,255}")


def numbered(app: ASGIApp) -> ASGIApp:
    """Wrap the app, what it says of unknown routes too: take the caller's X-Request-Id where it is sound, else make one.

    Those made here share a random beginning and are numbered, so that no two processes give the same.
    """
    beginning, numbers = secrets.token_hex(8).encode(), count(1)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        since = time.perf_counter()
        inside: Any = scope
        state = inside["app"].state
        if inside["method"] == "HEAD":
            # As GET (RFC 9110, 9.3.2); the server, which has the scope as it came, leaves the body out.
            inside = {**inside, "method": "GET"}
        elif inside["method"] == "OPTIONS":
            inside = {**inside, "method": WHICH}
        given = next((value for name, value in inside["headers"] if name == b"x-request-id"), None)
        request_id = given if given and _SOUND.fullmatch(given) else b"%b-%x" % (beginning, next(numbers))
        inside["request_id"] = request_id.decode()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                answering: Any = message
                status = answering["status"]
                # Whose key it was is known once `Callers.caller` has told him by it.
                key_id = inside.get("key_id")
                left = () if key_id is None else state.callers.left(key_id)
                answering["headers"] = [*answering["headers"], (b"x-request-id", request_id), *left]
            await send(message)

        try:
            await app(inside, receive, answer)
        finally:
            opt = getattr(inside.get("route_handler"), "opt", {})
            if "uncounted" not in opt:
                watch: Watching = state.watch
                watch.answered(
                    method=scope["method"],
                    route=_route(inside),
                    status=status,
                    request_id=inside["request_id"],
                    seconds=time.perf_counter() - since,
                    timed="untimed" not in opt,
                )

    return serve


def refuse_nul(scope: Any, given: Mapping[str, Any]) -> None:
    """Refuse `malformed` a NUL in the path or the query; `given`: the path's parameters. PostgreSQL's text holds none."""
    if "\x00" not in scope["path"] and b"%00" not in scope["query_string"]:
        return
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for name, value in (*given.items(), *query):
        if "\x00" in name or "\x00" in str(value):
            raise Refusal(Code.MALFORMED, pointer=name if _NAME.fullmatch(name) else "", why="no NUL")


def _route(scope: Any) -> str:
    """The route's template, never the path itself: that holds ids."""
    return str(scope.get("path_template", "")) or "none"
