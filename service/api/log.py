"""The log for everyone: its newest signed checkpoint and the hashes of its tree (C2SP tlog-tiles). No personal data, no tags.

Entries are not public: they name subjects by tag, and tags tell who holds a tag key which of them were busy when.
"""

from __future__ import annotations

import re
from typing import Any

from litestar import Request, Response, get

from service.api.documentation import shows
from service.db import Db
from service.errors import Code, Refusal
from service.trail import stored
from service.trail.merkle import TILE_WIDTH, tile_path

_INDEX = re.compile(r"/((?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_FOR_EVER = "public, max-age=31536000, immutable"
_LEVELS = 6
_SIGNED = {"public": True, "untimed": True} | shows(media="text/plain")
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


ROUTES = [read_checkpoint, read_tile]
