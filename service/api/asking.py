"""Plain reads: who asks, what the answer carries, and where a list goes on."""

from __future__ import annotations

import base64
from typing import Any, TypeVar

from litestar import Request, Response

from service.action import ID_PATTERN
from service.caller import Caller
from service.errors import Code, Refusal

T = TypeVar("T")


async def asker(request: Request[Any, Any, Any]) -> Caller:
    """Who asks. Raises Refusal `key_invalid`, `malformed`, `too_many`."""
    headers = {name.lower(): value for name, value in request.scope["headers"]}
    caller: Caller = await request.app.state.callers.caller(headers)
    return caller


def answer_of(content: T, version: int) -> Response[T]:
    """One subject, with its version as ETag: what an act may expect in If-Match (S012)."""
    return Response(content, headers={"etag": f'"{version}"'})


def cursor_of(last_id: str) -> str:
    """Where the next page begins, opaque to callers."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> str | None:
    """The id after which a page begins; None: at the start. Raises Refusal `malformed`."""
    if cursor is None:
        return None
    try:
        place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        place = ""
    if not ID_PATTERN.fullmatch(place):
        raise Refusal(Code.MALFORMED, pointer="cursor")
    return place
