"""The log: for everyone its newest signed checkpoint and the hashes of its tree (C2SP tlog-tiles), for auditors its entries.

Entries are not public: they name subjects by tag, and tags tell who holds a tag key which of them were busy when.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.params import QueryParameter
from litestar.response import Stream

from service.api.documentation import shows
from service.api.reading import Parameters, reader
from service.caller import Standing
from service.db import Db
from service.errors import Code, Refusal
from service.trail import stored
from service.trail.merkle import TILE_WIDTH, tile_path
from service.trail.note import LARGEST_SIZE
from service.trail.replay import write_stream

_INDEX = re.compile(r"/((?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_FOR_EVER = "public, max-age=31536000, immutable"
_LEVELS = 6
_AT_ONCE = 4_000
FirstEntry = Annotated[int | None, QueryParameter(ge=0, description="Index of the first entry; 0 if none.")]
LastEntry = Annotated[int | None, QueryParameter(ge=0, description="Index behind the last entry.")]
_SIGNED = {"public": True, "untimed": True} | shows(media="text/plain")
_ENTRIES = {"untimed": True} | shows(media="application/octet-stream")
_HASHES = {"public": True, "untimed": True} | shows(media="application/octet-stream")


@get("/checkpoint", operation_id="log.checkpoint", tags=["log"], opt=_SIGNED)
async def read_checkpoint(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Get the newest signed checkpoint of the log, a signed note; 404 before the first."""
    db: Db = request.app.state.db
    async with db.read() as reader:
        newest = await stored.sql.newest_checkpoint(reader)
    if newest is None:
        raise Refusal(Code.UNKNOWN)
    headers = {"cache-control": "no-cache"}
    return Response(newest["note"].encode(), media_type="text/plain", headers=headers)


@get("/checkpoint/{size:int}", operation_id="log.checkpoint_of", tags=["log"], opt=_SIGNED)
async def read_checkpoint_of(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Get the signed checkpoint of an earlier size, with what witnesses signed under it since."""
    size = int(request.path_params["size"])
    db: Db = request.app.state.db
    async with db.read() as reader:
        found = await stored.sql.checkpoint_of(reader, size=size) if 0 < size <= LARGEST_SIZE else None
    if found is None:
        raise Refusal(Code.UNKNOWN)
    headers = {"cache-control": "no-cache"}
    return Response(found["note"].encode(), media_type="text/plain", headers=headers)


@get(
    "/tile/{level:int}/{index:path}",
    operation_id="log.tile",
    tags=["log"],
    opt=_HASHES,
)
async def read_tile(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Get a tile of the log tree: up to 256 hashes of 32 bytes; a partial one by its width, as in `000.p/17`."""
    level = int(request.path_params["level"])
    named = _INDEX.fullmatch(str(request.path_params["index"]))
    width = int(named[2] or TILE_WIDTH) if named else 0
    if named is None or not 0 <= level < _LEVELS or not 1 <= width <= TILE_WIDTH:
        raise Refusal(Code.UNKNOWN)
    number = int(named[1].replace("x", "").replace("/", ""))
    # One way to write each tile: caches hold one copy, and nobody asks for x000/001.
    asked = tile_path(level, number, width)
    if request.scope["path"] != f"/{asked}":
        raise Refusal(Code.UNKNOWN)
    db: Db = request.app.state.db
    async with db.read() as reader:
        hashes = await stored.tile(reader, level, number)
    if len(hashes) < width:
        raise Refusal(Code.UNKNOWN)
    headers = {"cache-control": _FOR_EVER}
    return Response(b"".join(hashes[:width]), media_type="application/octet-stream", headers=headers)


@get("/v1/log-entries", operation_id="log.entries", tags=["log"], opt=_ENTRIES)
async def read_entries(
    request: Request[Any, Any, Any], start: FirstEntry = None, end: LastEntry = None
) -> Stream:
    """Get the entries of the log for `mandate replay`: a stream of u32 length and entry, without personal data.

    From `start` (0) up to `end`, which is at most the size of the newest checkpoint. For auditors and compliance: entries
    tell which tags were busy when, and a holder of tag keys could tell whose. Whoever has the stream may hand it on, for it
    is checked against signed checkpoints.
    """
    del start, end
    asked = Parameters(request, "start", "end")
    known = await reader(request)
    if not {Standing.AUDITOR, Standing.COMPLIANCE} & set(known.standings):
        raise Refusal(Code.REFUSED)
    db: Db = request.app.state.db
    async with db.read() as connection:
        newest = await stored.sql.newest_checkpoint(connection)
    if newest is None:
        raise Refusal(Code.TRAIL_UNAVAILABLE, why="nothing is signed yet")
    first = asked.number("start", 0, LARGEST_SIZE) or 0
    last = asked.number("end", 0, LARGEST_SIZE)
    last = newest["size"] if last is None else min(last, newest["size"])
    headers = {"cache-control": "private, no-store"}
    return Stream(_sent(db, first, last), media_type="application/octet-stream", headers=headers)


async def _sent(db: Db, start: int, end: int) -> AsyncIterator[bytes]:
    """The entries, a few thousand at a time: a slow reader holds no connection, for what is logged never changes."""
    for first in range(start, end, _AT_ONCE):
        async with db.read() as connection:
            rows = await stored.sql.entries(connection, start=first, end=min(end, first + _AT_ONCE))
        yield b"".join(write_stream(row["entry"] for row in rows))


ROUTES = [read_checkpoint, read_checkpoint_of, read_tile, read_entries]
