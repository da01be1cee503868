"""OpenAPI 3.1 of every route. What all routes share (keys, headers, errors) is said here once, so a new route is documented
by being registered: a governed one by its action, a read by its types.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, ClassVar

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Operation, Server

from service.action import Action, Receipt, action_name
from service.api import examples
from service.api.effects import effects
from service.api.reading import MOST, USUAL
from service.api.schemas import acts, bodies, joined, named, opened, schemas_of, told, used
from service.errors import Code, Problem

API_VERSION = "2.0.0"
"""Grows in its second part with what is added, in its first with what breaks callers; see openapi/CHANGELOG.md."""
JSON = "application/json"
PROBLEM = "application/problem+json"
_METHODS = ("get", "put", "post", "delete", "patch")
#: What any act, anything else with a body, and any read, may answer but for success.
_ACT_ERRORS = (400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 428, 429, 500, 503)
_ASKED_ERRORS = (400, 401, 403, 404, 413, 415, 429, 500, 503)
_READ_ERRORS = (400, 401, 403, 404, 429, 500, 503)
_ABOUT = """Decides, applies and records every act of governance over groups and public accounts.

Every write names its request by an `Idempotency-Key`: the same key with the same body gives the first answer again. A
backend's key acts for the person in `X-On-Behalf-Of`; what that person may do is found by the service, never claimed.
Instants are RFC 3339, in answers in UTC with three decimals; durations are seconds, unknown members are refused. An act
that needs more people answers 202 and waits under `/v1/approvals`."""


@dataclass
class Governed(Operation):
    """The operation of one action: its body is the action without what the path names."""

    action: ClassVar[type[Action]]
    named: ClassVar[tuple[str, ...]]
    example: ClassVar[Mapping[str, Any]]

    def to_schema(self) -> dict[str, Any]:
        """The operation object, but for what all operations share."""
        name = action_name(self.action)
        schema = schemas_of([self.action])[0][self.action]
        properties = schema["properties"]
        return {
            "tags": self.tags or [name.partition(".")[0]],
            "summary": _sentence(self.action.__doc__),
            "description": cleandoc(self.action.__doc__ or ""),
            "operationId": name,
            "parameters": [
                {"name": one, "in": "path", "required": True, "schema": properties[one]} for one in self.named
            ],
            "requestBody": {
                "required": bool(set(schema.get("required", ())) - {*self.named, "action"}),
                **_content(named(name), dict(self.example)),
            },
            "responses": {
                "201" if self.action.created else "200": {"description": "Done.", **_receipt()},
                "202": {
                    "description": "Proposed: it takes effect when more people agree.",
                    **_receipt(),
                },
            },
        }


def documented(action: type[Action], named: tuple[str, ...], example: Mapping[str, Any]) -> type[Governed]:
    """Return the class that documents the route of `action`; `named` are the members its path names."""
    members = {"action": action, "named": named, "example": dict(example)}
    return type("GovernedOperation", (Governed,), members)


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a route answers and reads beyond what its signature says; see `shows`."""

    answer: Any = None
    media: str = JSON
    query: Mapping[str, str] = {}
    body: Mapping[str, Any] | None = None
    example: Any = None
    headers: tuple[str, ...] = ()


def shows(answer: type[Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return route options that describe a handler which decodes and encodes by itself.

    `answer`: the struct it answers, none for text of another `media` type. `query`: its parameters, each with a sentence.
    `body`: the JSON schema of its body, with an `example`. `headers`: names of the shared headers it reads.
    """
    return {"shown": Shown(answer=answer, **more)}


def refuses(*codes: Code) -> dict[str, Any]:
    """Return route options that tell how a read or a question is refused beside what all of its sort may: a code a status."""
    return {"refuses": codes}


class _NoPages(Router):
    """Takes none of the pages that the framework would serve beside the document."""

    def register(self, value: Any) -> list[Any]:
        """Leave it out."""
        del value
        return []


def openapi_config() -> OpenAPIConfig:
    """What the framework needs to describe routes; it serves nothing of its own."""
    return OpenAPIConfig(
        title="Mandate",
        version=API_VERSION,
        description=_ABOUT,
        servers=[Server(url="/", description="This service.")],
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin()],
        openapi_router=_NoPages("/", route_handlers=[]),
    )


@get(
    "/openapi.json",
    operation_id="openapi.read",
    tags=["openapi"],
    opt={"public": True},
    summary="This document.",
)
async def openapi(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """Show this document; needs no key."""
    state = request.app.state
    if "openapi" not in state:
        state.openapi = msgspec.json.encode(document(request.app))
    kept: Any = state.openapi
    return Response(kept, media_type=JSON)


ROUTES = [openapi]


def document(app: Litestar) -> dict[str, Any]:
    """The whole document of an app, its paths in order."""
    found = app.openapi_schema.to_schema()
    by_path = {one.opt["action"]: one.opt["parameters"] for one in _handlers(app) if "action" in one.opt}
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(bodies(by_path, schemas))
    for asking in (app.state.batched, app.state.checked):
        schemas.update(acts(asking.schema, asking.kinds, schemas))
    answered = joined([Receipt, Problem], "", schemas)
    schemas["Receipt"] = answered[Receipt]
    schemas["Problem"] = answered[Problem]
    schemas["Problem"]["properties"]["code"] = {
        "type": "string",
        "enum": [code.value for code in Code],
        "description": "Stable; titles are not.",
    }
    for one in ("Receipt", "Problem"):
        schemas[one]["properties"]["receipt"] = {
            **named("SignedReceipt"),
            "description": "Where the answer speaks of a record: the signed promise that the log will hold it. Keep it.",
        }
    options = {one.operation_id: one.opt for one in _handlers(app)}
    refused: set[Code] = set()
    tags: set[str] = set()
    for path in found["paths"].values():
        for method in _METHODS:
            if method in path:
                # The framework's guess: what it takes for its own to refuse is refused by us, as a problem.
                path[method]["responses"].pop("400", None)
                said = options[path[method]["operationId"]]
                if "shown" in said:
                    _show(path[method], said["shown"], schemas)
                # Litestar lists parameters from a set, in another order at each start.
                path[method].get("parameters", []).sort(
                    key=lambda one: (one.get("in", "~"), one.get("name", ""))
                )
                refused.update(_complete(path[method], said))
                tags.update(path[method]["tags"])
    schemas.update(told(schemas["ChangeItem"], effects(), schemas))
    found["components"] |= _shared(refused)
    found["paths"] = dict(sorted(found["paths"].items()))
    found["components"]["schemas"] = dict(sorted(used(found, schemas).items()))
    found["tags"] = [{"name": tag} for tag in sorted(tags)]
    return opened(found)


def _handlers(app: Litestar) -> list[Any]:
    found = {id(one): one for route in app.routes for one in getattr(route, "route_handlers", ())}
    return list(found.values())


def _show(operation: dict[str, Any], said: Shown, schemas: dict[str, Any]) -> None:
    """Put in what a handler that decodes and encodes by itself says of itself."""
    schema: dict[str, Any] = {"type": "string"}
    if said.answer is not None:
        name = said.answer.__name__
        schemas[name] = joined([said.answer], name, schemas)[said.answer]
        schema = named(name)
    operation["responses"]["200"]["content"] = {said.media: {"schema": schema}}
    listed = operation.setdefault("parameters", [])
    listed += [
        {"name": name, "in": "query", "description": about, "schema": _QUERY.get(name, {"type": "string"})}
        for name, about in said.query.items()
    ]
    listed += [{"$ref": f"#/components/parameters/{name}"} for name in said.headers]
    if said.body is not None:
        operation["requestBody"] = {"required": True, **_content(dict(said.body), said.example)}


_QUERY: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL},
    **{name: {"type": "string", "format": "date-time"} for name in ("at", "from", "to")},
}


def _complete(operation: dict[str, Any], options: Mapping[str, Any]) -> list[Code]:
    """Add what every operation shares: the key, the headers, an example of each answer, and the refusals.

    `options` are those of its route. Returns the codes of which it shows a refusal.
    """
    action, own, open_to_all = options.get("action"), options.get("refuses", ()), bool(options.get("public"))
    operation.setdefault("tags", ["other"])
    headers = ["X-Request-Id"] if open_to_all else ["X-On-Behalf-Of", "X-Request-Id"]
    if action is not None:
        headers = ["Idempotency-Key", "If-Match", *headers]
    listed = operation.setdefault("parameters", [])
    given = {one.get("name", "").lower() for one in listed}
    listed += [{"$ref": f"#/components/parameters/{name}"} for name in headers if name.lower() not in given]
    operation["security"] = [] if open_to_all else [{"key": []}]
    operation["summary"] = (
        _sentence(operation.get("description") or operation.get("summary"))
        if action is None
        else operation["summary"].removesuffix(".")
    )
    name, responses = operation["operationId"], operation["responses"]
    wanted = _statuses(operation, action, open_to_all=open_to_all) | {code.status for code in own}
    codes = examples.refusals(name, action, sorted(wanted - {int(one) for one in responses}), *own)
    responses |= {str(code.status): {"$ref": f"#/components/responses/{_named(code)}"} for code in codes}
    for status, response in responses.items():
        for media, said in response.get("content", {}).items():
            if "oneOf" in said["schema"]:
                # Who may see all of something is shown what others are, and more: both schemas hold.
                said["schema"]["anyOf"] = said["schema"].pop("oneOf")
            if "examples" not in said and (example := _example(name, status, media, said)):
                said["examples"] = {"usual": example}
        if "$ref" not in response:
            response["headers"] = response.get("headers", {}) | _answer_headers(limited=not open_to_all)
    return codes


def _statuses(operation: dict[str, Any], action: type[Action] | None, *, open_to_all: bool) -> set[int]:
    """With which statuses an operation may refuse."""
    listed = operation["parameters"]
    asks = {one["name"] for one in listed if one.get("in") == "query"}
    if open_to_all:
        # What is open to all answers little that can go wrong; what takes its parameters from the path may find nothing there.
        some = (404, 500, 503) if "log" in operation["tags"] else (400, 404, 500, 503) if asks else (500,)
        return {*some}
    if action is not None:
        return {*_ACT_ERRORS}
    return {*(_ASKED_ERRORS if "requestBody" in operation else _READ_ERRORS)}


def _example(operation: str, status: str, media: str, said: dict[str, Any]) -> dict[str, Any] | None:
    """What was answered; where none of its answers was such a receipt, one of another act."""
    if found := examples.heard(operation, status, media):
        return found
    if said["schema"] != named("Receipt"):
        return None
    return {"$ref": f"#/components/examples/{'Proposed' if status == '202' else 'Done'}"}


def _named(code: Code) -> str:
    """The component that describes a refusal with this code."""
    return f"Problem{code.status}" if examples.is_usual(code) else f"Problem{code.status}.{code.value}"


def _answer_headers(*, limited: bool) -> dict[str, Any]:
    names = [
        "X-Request-Id",
        *(("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset") if limited else ()),
    ]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _shared(refused: Iterable[Code]) -> dict[str, Any]:
    """The components that operations refer to; `refused`: the codes of which they show a problem."""
    text = {"type": "string"}
    number = {"type": "integer", "minimum": 0}
    ident = {"type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$"}
    header = {"in": "header"}
    return {
        "securitySchemes": {
            "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A backend's, a member of staff's or an authority's key.",
            }
        },
        "parameters": {
            "Idempotency-Key": {
                **header,
                "name": "Idempotency-Key",
                "required": True,
                "description": "Names this request: asked again with the same body, the first answer comes again. It is kept for "
                "as many days as `request_key_keep_d` of the edition in force says (30 as shipped), and belongs to the API key: "
                "the same request under another key, also one that took its place, is a new act.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
                "example": "3f2c8a54-6c0e-4d0b-9f0e-1b1f6f4c7a10",
            },
            "If-Match": {
                **header,
                "name": "If-Match",
                "description": 'The version of the subject that the caller has seen, as ETag: `"7"`.',
                "schema": {"type": "string", "pattern": '^"[0-9]{1,18}"$'},
            },
            "X-On-Behalf-Of": {
                **header,
                "name": "X-On-Behalf-Of",
                "description": "The person a backend's key acts for; no other key may say it.",
                "schema": ident,
            },
            "X-Request-Id": {
                **header,
                "name": "X-Request-Id",
                "description": "An id for the logs; the answer carries it back, or one of the service's own.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            },
        },
        "headers": {
            "X-Request-Id": {"schema": text, "description": "The id of the request."},
            "RateLimit-Limit": {"schema": number, "description": "Requests a minute for this key."},
            "RateLimit-Remaining": {"schema": number, "description": "Requests left in this minute."},
            "RateLimit-Reset": {"schema": number, "description": "Seconds until the minute is over."},
            "Retry-After": {"schema": number, "description": "Seconds to wait."},
        },
        "examples": examples.shared(),
        "responses": {_named(code): _problem(code) for code in sorted(refused, key=_named)},
    }


def _problem(code: Code) -> dict[str, Any]:
    """The answer of a status, with a problem of this code for its example."""
    same = [one for one in Code if one.status == code.status]
    if examples.is_usual(code):
        said = "One of these codes:\n\n" + "\n".join(f"- `{one.value}`: {one.sentence}" for one in same)
    else:
        others = ", ".join(f"`{one.value}`" for one in same if one is not code)
        said = f"`{code.value}`: {code.sentence}" + (
            f"\n\nOther codes with this status: {others}." if others else ""
        )
    waits = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}} if code.status in {429, 503} else {}
    example = {"usual": {"value": examples.problem_of(code)}}
    return {
        "description": said,
        "headers": _answer_headers(limited=code.status != 401) | waits,
        "content": {PROBLEM: {"schema": named("Problem"), "examples": example}},
    }


def _content(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"content": {JSON: {"schema": schema, "examples": {"usual": {"value": example}}}}}


def _receipt() -> dict[str, Any]:
    return {"content": {JSON: {"schema": named("Receipt")}}}


def _sentence(text: str | None) -> str:
    """The first sentence, without its full stop."""
    plain = " ".join((text or "").split())
    return re.split(r"(?<=\w)[.:;](?: |$)", plain, maxsplit=1)[0].removesuffix(".")
