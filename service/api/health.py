"""Whether the service lives and may be sent work."""

from __future__ import annotations

from typing import Literal

import msgspec
from litestar import Response, get
from litestar.datastructures import State
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from service.clock import InstantText, instant_text
from service.db import DatabaseUnavailable, schema_state


class Health(msgspec.Struct, omit_defaults=True):
    """What a load balancer asks: `reason` says what is missing, `edition` which policy is in force."""

    status: Literal["ok", "unavailable"]
    reason: Literal["", "database", "schema"] = ""
    edition: str = ""
    at: InstantText | None = None


@get("/health/live", operation_id="health.live", tags=["health"], opt={"public": True, "uncounted": True})
async def live() -> Health:
    """Answer as long as the process can."""
    return Health("ok")


@get(
    "/health/ready",
    operation_id="health.ready",
    tags=["health"],
    opt={"public": True, "uncounted": True},
    responses={
        503: ResponseSpec(
            Health,
            description="What is missing.",
            generate_examples=False,
            examples=[Example(value={"status": "unavailable", "reason": "database"})],
        )
    },
)
async def ready(state: State) -> Response[Health]:
    """Answer 200 when the database is reached, its schema is this program's own and a policy edition is in force."""
    try:
        fits = await schema_state(state.db) == "equal"
    except DatabaseUnavailable:
        return Response(Health("unavailable", "database"), status_code=HTTP_503_SERVICE_UNAVAILABLE)
    if not fits:
        return Response(Health("unavailable", "schema"), status_code=HTTP_503_SERVICE_UNAVAILABLE)
    now = state.clock.now()
    return Response(
        Health("ok", edition=state.editions.at(now).edition, at=instant_text(now)), status_code=HTTP_200_OK
    )


ROUTES = [live, ready]
