"""Metrics in the text format of Prometheus: to this machine itself, and to whoever shows a key of staff."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.documentation import shows
from service.api.reading import reader
from service.errors import Code, Refusal

_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})


@get("/metrics", operation_id="metrics", tags=["health"], opt={"uncounted": True} | shows(media="text/plain"))
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Counts of acts, refusals and requests, and how long they took. No label is a subject's id or a value of a caller's choice."""
    if not _on_this_machine(request):
        caller = await reader(request)
        if caller.kind != "staff":
            raise Refusal(Code.REFUSED)
    return Response(request.app.state.watch.metrics(), media_type=CONTENT_TYPE_LATEST)


def _on_this_machine(request: Request[Any, Any, Any]) -> bool:
    """Whether the caller sits here, and is not a proxy that speaks for somebody elsewhere."""
    client = request.scope.get("client")
    if client is None or client[0] not in _LOOPBACK:
        return False
    return not any(name in _FORWARDED for name, _ in request.scope["headers"])


ROUTES = [metrics]
