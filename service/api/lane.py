"""The fast lane: governed routes answered before the framework's own machinery, for they are asked all day.

The routes stay Litestar's, documented and tested as such; this only shortens the way to the same `perform`. Everything
else, and every error that is not a refusal, goes on to the framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from service.api.acting import Asking, perform
from service.api.problems import JSON, PROBLEM, said
from service.errors import Code, Refusal

_ANY = "{}"
_MOST_SEGMENTS = 12


class Lane:
    """A tree of path segments; a leaf holds, per method, the action and the names of its parameters."""

    def __init__(self, app: ASGIApp, routes: Sequence[HTTPRouteHandler]) -> None:
        """Take the governed ones among `routes`; `app` answers the rest."""
        self._app = app
        self._tree: dict[str, Any] = {}
        for route in routes:
            if "action" not in route.opt:
                continue
            for path in route.paths:
                node = self._tree
                for segment in path.strip("/").split("/"):
                    node = node.setdefault(_ANY if segment.startswith("{") else segment, {})
                for method in route.http_methods:
                    node[f"/{method}"] = (route.opt["action"], route.opt["parameters"], path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a governed route; hand everything else on."""
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        (action, names, path), values = found
        given = dict(zip(names, values, strict=True))
        state = scope["app"].state
        inside: Any = scope
        inside["path_template"] = path
        headers = {name: value for name, value in scope["headers"]}  # noqa: C416 - later wins, as everywhere here
        try:
            body = await _body(receive, headers, state.settings.body_limit)
            status, answer, extra = await perform(Asking(state, headers, body, inside["request_id"]), action, given)
        except Refusal as refusal:
            status, answer, extra = said(refusal)
        media = PROBLEM if status >= 400 else JSON
        sent = [(b"content-type", media.encode()), (b"content-length", str(len(answer)).encode())]
        sent += [(name.encode(), value.encode()) for name, value in extra.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    def _find(self, scope: Any) -> tuple[Any, list[str]] | None:
        node = self._tree
        values: list[str] = []
        raw = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1") or scope["path"]
        segments = raw.strip("/").split("/", _MOST_SEGMENTS)
        for segment in segments:
            following = node.get(segment)
            if following is None:
                following = node.get(_ANY)
                if following is None or not segment:
                    return None
                values.append(unquote(segment) if "%" in segment else segment)
            node = following
        leaf = node.get(f"/{scope['method']}")
        return None if leaf is None else (leaf, values)


async def _body(receive: Receive, headers: dict[bytes, bytes], limit: int) -> bytes:
    """Read the body. Raises Refusal `body_too_large` before reading more than `limit` bytes."""
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise Refusal(Code.BODY_TOO_LARGE, limit=limit)
    message: Any = await receive()
    body = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise Refusal(Code.BODY_TOO_LARGE, limit=limit)
    return b"".join(parts)
