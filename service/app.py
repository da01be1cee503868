"""Builds the Litestar app: routes and lifespan. The one file that knows every room."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.datastructures import State
from litestar.status_codes import HTTP_503_SERVICE_UNAVAILABLE

from service.clock import Clock, FileClock
from service.db import DatabaseUnavailable, Db, schema_state
from service.settings import Settings


class Health(msgspec.Struct):
    """What a load balancer asks."""

    status: Literal["ok", "unavailable"]
    reason: Literal["database", "schema"] | None = None


def create_app(settings: Settings, *, clock: Clock | None = None) -> Litestar:
    """Build the app; `settings.dsn` must be set, since starting a database is not the app's work.

    `clock` is for tests; without it the settings choose. The lifespan opens `app.state.db` in the loop it runs in.
    """
    chosen = clock or (FileClock(settings.clock_file) if settings.clock_file else Clock())

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        db = await Db.open(settings)
        app.state.db = db
        try:
            yield
        finally:
            await db.close()

    return Litestar(
        route_handlers=[live, ready],
        lifespan=[lifespan],
        state=State({"settings": settings, "clock": chosen}),
        request_max_body_size=settings.body_limit,
        openapi_config=None,
        logging_config=None,
    )


@get("/health/live", media_type=MediaType.JSON)
async def live() -> Health:
    """Answer as long as the process can."""
    return Health("ok")


@get("/health/ready", media_type=MediaType.JSON)
async def ready(state: State) -> Response[Health]:
    """Answer 200 when the database is reached and its schema is this program's own, 503 otherwise."""
    try:
        fits = await schema_state(state.db) == "equal"
    except DatabaseUnavailable:
        return Response(Health("unavailable", "database"), status_code=HTTP_503_SERVICE_UNAVAILABLE)
    if not fits:
        return Response(Health("unavailable", "schema"), status_code=HTTP_503_SERVICE_UNAVAILABLE)
    return Response(Health("ok"))
