"""The fast lane: governed acts and hot reads are answered before the framework's own machinery, for they are asked all day.

The routes stay Litestar's, documented by it; this only shortens the way to the same `perform`, or to the same handler, by
some 150 us a request. Whatever else is asked goes on to the framework.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from service.action import Action
from service.api.acting import perform, read_body
from service.api.problems import HANDLERS, media_of
from service.api.requests import refuse_nul

_ANY = object()
_PARAMETER = re.compile(r"\{(\w+):str\}")
HOT = {"hot": True}
"""Marks a handler that goes through the lane: it takes the request and the path's parameters, and answers with bytes."""


class _Leaf(NamedTuple):
    action: type[Action] | None
    names: Sequence[str]
    path: str
    handler: HTTPRouteHandler


class Lane:
    """The governed routes and the hot ones as a tree of path segments; a leaf stands under its method."""

    def __init__(self, app: ASGIApp, routes: Sequence[Any]) -> None:
        """Take the hot ones among `routes`, and the governed ones but for those that work before they ask; `app` answers the rest."""
        self._app = app
        self._tree: dict[Any, Any] = {}
        for route in routes:
            governed = "action" in route.opt and "checked_before" not in route.opt
            if not governed and "hot" not in route.opt:
                continue
            for path in route.paths:
                node = self._tree
                for segment in path.strip("/").split("/"):
                    node = node.setdefault(_ANY if segment.startswith("{") else segment, {})
                for method in route.http_methods:
                    node[f"/{method}"] = _Leaf(
                        route.opt["action"] if governed else None,
                        _PARAMETER.findall(path),
                        path.replace(":str", ""),
                        route,
                    )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a governed act; hand everything else on."""
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        leaf, values = found
        inside: Any = scope
        inside["path_template"], inside["route_handler"] = leaf.path, leaf.handler
        given = dict(zip(leaf.names, values, strict=True))
        try:
            if leaf.action is None:
                # The ids of an act are members of it, judged with the others.
                refuse_nul(inside, given)
                shown = await leaf.handler.fn(Request(inside, receive), **given)
                await _send(
                    send,
                    shown.status_code or leaf.handler.status_code,
                    str(shown.media_type),
                    shown.content,
                    shown.headers,
                )
                return
            answer = await perform(inside, await read_body(receive, inside), leaf.action, given)
            await _send(send, answer.status, media_of(answer), answer.body)
        except Exception as error:  # noqa: BLE001 - told as the framework would tell it
            handler = next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)
            response = handler(Request(inside), error)
            await _send(
                send, response.status_code, str(response.media_type), response.content, response.headers
            )

    def _find(self, scope: Any) -> tuple[_Leaf, list[str]] | None:
        """The leaf of a path and its parameters' values."""
        node = self._tree
        values: list[str] = []
        for segment in scope["path"].strip("/").split("/"):
            following = node.get(segment)
            if following is None:
                following = node.get(_ANY)
                if following is None or not segment:
                    return None
                values.append(segment)
            node = following
        leaf = node.get(f"/{scope['method']}")
        return None if leaf is None else (leaf, values)


async def _send(
    send: Send, status: int, media: str, content: bytes, more: Mapping[str, str] = MappingProxyType({})
) -> None:
    headers = [
        (b"content-type", media.encode()),
        (b"content-length", b"%d" % len(content)),
        *((name.encode(), value.encode()) for name, value in more.items()),
    ]
    start: Any = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": content, "more_body": False})
