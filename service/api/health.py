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
    reason: Literal["", "database", "schema", "read_only", "writer"] = ""
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
    """Answer 200 when the database is reached, takes records, has this program's own schema, and a policy edition is in force.

    `read_only`: the database is a standby, or lets this role write nothing. `writer`: this process carries out no acts.
    """
    try:
        missing = await _missing(state)
    except DatabaseUnavailable:
        missing = "database"
    if missing:
        return Response(Health("unavailable", missing), status_code=HTTP_503_SERVICE_UNAVAILABLE)
    now = state.clock.now()
    return Response(
        Health("ok", edition=state.editions.at(now).edition, at=instant_text(now)), status_code=HTTP_200_OK
    )


async def _missing(state: State) -> Literal["", "schema", "read_only", "writer"]:
    if await schema_state(state.db) != "equal":
        return "schema"
    async with state.db.read() as reader:
        # Not what this transaction may do: behind a pooler it is one for reading.
        writable = await reader.fetchval(
            "SELECT NOT pg_is_in_recovery() AND NOT current_setting('default_transaction_read_only')::boolean"
            " AND has_table_privilege('record', 'INSERT')"
        )
    if not writable:
        return "read_only"
    return "" if state.door.working else "writer"


ROUTES = [live, ready]
