"""What backends must carry out or know, in record order: by pages, or as it comes (server-sent events)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.response import Stream

from service.api.documentation import shows
from service.api.reading import KnownCaller, Parameters, reader, shown
from service.clock import InstantText
from service.errors import Code, Refusal
from service.outbox import Handed, Outbox

HEARTBEAT_SECONDS = 15.0
"""A stream without news says that it lives, and looks whether the key still holds."""
LONGEST_SECONDS = 600.0
"""Then a stream ends, and the caller comes back with Last-Event-ID."""
_POLL_SECONDS = 0.25
_BEYOND = "newer than anything here: of another database, or of this one before it was restored; begin anew, or from one before"
_LOOK_SECONDS = 1.0
"""A key that was revoked gets nothing more after so long."""

_encode = msgspec.json.Encoder().encode
"""Payloads pass as they were kept; instants are text in them and around them."""


class ChangeItem(msgspec.Struct, frozen=True, kw_only=True):
    """One effect: its own cursor, the act's instant and record, what it is and what it says."""

    cursor: str
    at: InstantText
    record_id: str
    kind: str
    payload: msgspec.Raw


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """A page of effects; `next` is where to go on, also when there was nothing."""

    changes: list[ChangeItem]
    next: str | None


@get(
    "/v1/changes",
    operation_id="changes",
    tags=["changes"],
    opt=shows(
        Changes,
        query={"after": "`cursor` of the last effect seen, or `next`.", "limit": "Effects on a page."},
    ),
)
async def read_changes(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Effects after a cursor, in record order, none skipped and none twice. Without `after`: from the oldest kept."""
    asked = Parameters(request, "after", "limit", query="changes")
    caller = await _backend(request)
    limit = asked.limit()
    place = await _place(request, asked)
    outbox: Outbox = request.app.state.outbox
    found = await outbox.page(after=place, limit=limit, families=caller.families)
    last = found[-1].place if found else place
    body = Changes(changes=[_item(asked, one) for one in found], next=asked.cursor_to(last) if last else None)
    return shown(_encode(body))


@get(
    "/v1/changes/stream",
    operation_id="changes.stream",
    tags=["changes"],
    opt={"untimed": True}
    | shows(media="text/event-stream", query={"after": "`cursor` of the last effect seen."}),
)
async def stream_changes(request: Request[Any, Any, Any]) -> Stream:
    """The same as server-sent events: `id` is the cursor, `event` the kind, `data` one effect. Ends after ten minutes."""
    asked = Parameters(request, "after", query="changes", last_event_id="after")
    caller = await _backend(request)
    place = await _place(request, asked)
    return Stream(
        _events(request, asked, caller, place),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


ROUTES = [read_changes, stream_changes]


async def _backend(request: Request[Any, Any, Any]) -> KnownCaller:
    """The backend that asks in its own name. A key limited to territories or tiers cannot have the whole feed."""
    caller = await reader(request)
    if caller.kind != "backend":
        raise Refusal(Code.REFUSED)
    for lacks, limited in (("jurisdiction", caller.jurisdictions), ("tier", caller.tiers)):
        if limited:
            raise Refusal(Code.KEY_SCOPE, lacks=lacks)
    return caller


async def _place(request: Request[Any, Any, Any], asked: Parameters) -> int:
    """After which place. Raises Refusal `malformed` for one that never was: what comes would be passed over until it is."""
    place = asked.cursor(int, name="after")
    if place is None:
        return 0
    outbox: Outbox = request.app.state.outbox
    if not await outbox.drawn(place[0]):
        raise Refusal(Code.MALFORMED, pointer="after", why=_BEYOND)
    return place[0]


def _item(asked: Parameters, one: Handed) -> ChangeItem:
    return ChangeItem(
        cursor=asked.cursor_to(one.place),
        at=one.at,
        record_id=one.record_id,
        kind=one.kind,
        payload=one.payload,
    )


async def _events(
    request: Request[Any, Any, Any], asked: Parameters, caller: KnownCaller, place: int
) -> AsyncIterator[bytes]:
    """Look again and again until the service stops, the key ends, or it has lasted long enough."""
    outbox: Outbox = request.app.state.outbox
    stopping: asyncio.Event = request.app.state.stopping
    began = spoke = looked = time.monotonic()
    yield b"retry: 1000\n\n"
    while not stopping.is_set() and time.monotonic() - began < LONGEST_SECONDS:
        found = await outbox.page(after=place, limit=500, families=caller.families)
        silent = time.monotonic() - spoke > HEARTBEAT_SECONDS
        if silent or (found and time.monotonic() - looked > _LOOK_SECONDS):
            try:
                await _backend(request)
            except Refusal:
                return
            looked = time.monotonic()
        for one in found:
            item = _item(asked, one)
            place, spoke = one.place, time.monotonic()
            yield b"id: %s\nevent: %s\ndata: %s\n\n" % (
                item.cursor.encode(),
                item.kind.encode(),
                _encode(item),
            )
        if found:
            continue
        if silent:
            spoke = time.monotonic()
            yield b": still here\n\n"
        try:
            await asyncio.wait_for(stopping.wait(), _POLL_SECONDS)
        except TimeoutError:
            continue
