"""Every error in one shape: RFC 9457 problem documents with a stable code; and every answer of the door as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from service.api.faults import misshaped
from service.api.requests import WHICH
from service.api.schemas import named
from service.db import DatabaseUnavailable
from service.errors import Code, Refusal, problem
from service.log import trace
from service.outcome import Answer
from service.trail.kept import Damaged

JSON = "application/json"
PROBLEM = "application/problem+json"
RETRY_SECONDS = 1
AsProblem = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=dict(named("Problem")))]
"""A problem document as bytes, in an answer that tells of it."""
_log = structlog.get_logger("mandate.problems")
#: How the framework says it; it has no member for it.
_MISSING = re.compile(r"Missing required query parameter '(\w+)'")
_BY_STATUS = {
    400: Code.MALFORMED,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.BODY_TOO_LARGE,
    415: Code.MEDIA_TYPE,
}


def response_of(answer: Answer) -> Response[bytes]:
    """An answer of the door over HTTP."""
    return Response(answer.body, status_code=answer.status, media_type=media_of(answer))


def media_of(answer: Answer) -> str:
    """What kind of document an answer of the door is."""
    return PROBLEM if answer.status >= 400 else JSON


def refuse(
    _: Request[Any, Any, Any], refusal: Refusal, more: Mapping[str, str] | None = None
) -> Response[bytes]:
    """A refusal that never reached the record; `more` are headers that its status asks for."""
    if refusal.__cause__ is not None:
        _log.error("broken", trace=trace(refusal.__cause__))
    headers = dict(more or {})
    if refusal.code.status in {429, 503}:
        headers["retry-after"] = str(refusal.data.get("seconds", RETRY_SECONDS))
    if refusal.code is Code.KEY_INVALID:
        headers["www-authenticate"] = "Bearer"
    return Response(
        msgspec.json.encode(problem(refusal)),
        status_code=refusal.code.status,
        media_type=PROBLEM,
        headers=headers,
    )


def unavailable(request: Request[Any, Any, Any], _: DatabaseUnavailable) -> Response[bytes]:
    """The database is away: nothing was done."""
    return refuse(request, Refusal(Code.DATABASE_UNAVAILABLE))


def damaged(request: Request[Any, Any, Any], fault: Damaged) -> Response[bytes]:
    """What is asked for cannot be shown, for somebody wrote in the tables of the log: which row, for staff to look at."""
    _log.critical("log.damaged", row=str(fault), trace=trace(fault), do="mandate replay")
    return refuse(request, Refusal(Code.TRAIL_DAMAGED, row=str(fault)))


def http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refuses: unknown routes and methods, large bodies, parameters of a read; and the answer to OPTIONS."""
    if error.status_code >= 500:
        return broken(request, error)
    refusal = Refusal(_BY_STATUS.get(error.status_code, Code.MALFORMED))
    if refusal.code is Code.MALFORMED and isinstance(error.extra, list):
        faults = [fault for fault in error.extra if isinstance(fault, dict) and fault.get("key")]
        if faults:
            name = str(faults[0]["key"])
            refusal.pointer = _sent_as(request, name)
            refusal.data["why"] = misshaped(str(faults[0].get("message", "")), _asked(request, name))
    if missing := _MISSING.match(error.detail):
        refusal.pointer, refusal.data["why"] = missing[1], "it must be given"
    allow = (error.headers or {}).get("allow")
    if not allow:
        return refuse(request, refusal)
    methods = {*allow.split(", ")}
    # HEAD is answered as GET, without a route of its own.
    methods |= {"HEAD"} if "GET" in methods else set()
    told = {"allow": ", ".join(sorted(methods))}
    if request.scope["method"] == WHICH:
        return Response(b"", status_code=204, headers=told)
    return refuse(request, refusal, told)


def _parameter(request: Request[Any, Any, Any], name: str) -> Any:
    """A handler's parameter, or None."""
    handler = request.scope.get("route_handler")
    return None if handler is None else handler.parsed_fn_signature.parameters.get(name)


def _sent_as(request: Request[Any, Any, Any], name: str) -> str:
    """What a handler's parameter is called in the query."""
    return getattr(getattr(_parameter(request, name), "kwarg_definition", None), "name", None) or name


def _asked(request: Request[Any, Any, Any], name: str) -> Any:
    """What a handler's parameter takes."""
    return getattr(_parameter(request, name), "annotation", Any)


def broken(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """An error of ours: the log says why, the caller learns only that it is ours."""
    _log.error("broken", trace=trace(error))
    return refuse(request, Refusal(Code.INTERNAL))


HANDLERS: dict[Any, Any] = {
    Refusal: refuse,
    DatabaseUnavailable: unavailable,
    Damaged: damaged,
    HTTPException: http,
    Exception: broken,
}
