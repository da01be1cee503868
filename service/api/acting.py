"""From a request to the door and back: the one way every governed route goes.

A route names a method, a path and an action; the path's parameters and the body's members together are the action.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.types import Receive

from service.action import Action, action_name
from service.api.callers import Callers
from service.api.documentation import documented
from service.api.faults import misshaped, plain, pointer_of, unread
from service.api.problems import response_of
from service.caller import Caller
from service.clock import truncated
from service.door import Door
from service.errors import Code, Refusal
from service.outcome import Answer
from service.trail.writing import clean_text

T = TypeVar("T")
JSON = "application/json"
PROBLEM = "application/problem+json"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
#: A text of valid JSON, and the colon that makes it a member's name.
_TEXT = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?')
#: Headers that mean something here: said twice, nobody knows which one counts.
_SINGLE = {
    b"authorization": "Authorization",
    b"content-type": "Content-Type",
    b"idempotency-key": "Idempotency-Key",
    b"if-match": "If-Match",
    b"x-on-behalf-of": "X-On-Behalf-Of",
}

Check = Callable[[Request[Any, Any, Any], Caller, Any], Awaitable[None]]
"""What a route does before the door is asked, where an act needs long work that no transaction should wait for."""


def governed(
    method: str,
    path: str,
    action: type[Action],
    *,
    example: Mapping[str, Any],
    summary: str | None = None,
    check: Check | None = None,
) -> HTTPRouteHandler:
    """Make the route of one action; `example` is the body shown in the documentation and tried in a test."""
    parameters = tuple(re.findall(r"\{(\w+)\}", path))

    async def act(request: Request[Any, Any, Any]) -> Response[bytes]:
        given = {name: request.path_params[name] for name in parameters}
        before = None if check is None else partial(check, request)
        return response_of(await perform(request.scope, await request.body(), action, given, before))

    act.__name__ = action_name(action).replace(".", "_")
    act.__doc__ = action.__doc__
    return HTTPRouteHandler(
        re.sub(r"\{(\w+)\}", r"{\1:str}", path),
        http_method=method,  # type: ignore[arg-type]
        operation_id=action_name(action),
        summary=summary,
        tags=[action_name(action).split(".", 1)[0]],
        opt={"action": action, "example": dict(example), "parameters": parameters}
        | ({} if check is None else {"checked_before": True}),
        operation_class=documented(action, parameters, example),
        status_code=200,
        media_type=JSON,
    )(act)


async def perform(
    scope: Any,
    body: bytes,
    action: type[Action],
    given: Mapping[str, str],
    check: Callable[[Caller, Any], Awaitable[None]] | None = None,
) -> Answer:
    """Decode and ask the door. Raises Refusal for what cannot be asked at all."""
    headers = headers_in(scope["headers"])
    state = scope["app"].state
    callers: Callers = state.callers
    door: Door = state.door
    caller = await callers.caller(scope, headers)
    asked = decoded(action, json_of(body, headers), given)
    key = request_key(headers)
    expected = expected_version(headers)
    if check is not None:
        await check(caller, asked)
    return await door.act(asked, caller=caller, key=key, expected=expected, request_id=scope["request_id"])


def headers_of(request: Request[Any, Any, Any]) -> dict[bytes, bytes]:
    """The headers of a request by lower-case name; see `headers_in`."""
    return headers_in(request.scope["headers"])


def headers_in(pairs: Any) -> dict[bytes, bytes]:
    """The headers by lower-case name. Raises Refusal `malformed` where one that means something here is said twice."""
    headers = {name.lower(): value for name, value in pairs}
    if len(headers) < len(pairs):
        names = [name.lower() for name, _ in pairs]
        for name, shown in _SINGLE.items():
            if names.count(name) > 1:
                raise Refusal(Code.MALFORMED, pointer=shown, why="said more than once")
    return headers


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id of the request, which its answer carries too."""
    scope: Any = request.scope
    return str(scope["request_id"])


async def body_of(request: Request[Any, Any, Any], headers: Mapping[bytes, bytes]) -> bytes:
    """The body, when it is JSON or empty. Raises Refusal `media_type`, `body_too_large`."""
    return json_of(await read_body(request.receive, request.scope), headers)


async def read_body(receive: Receive, scope: Any) -> bytes:
    """Read the body. Raises Refusal `body_too_large` before reading more than the settings allow."""
    limit = scope["app"].state.settings.body_limit
    message: Any = await receive()
    body = message.get("body", b"")
    parts, size = [body], len(body)
    while message.get("more_body") and size <= limit:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit:
        raise Refusal(Code.BODY_TOO_LARGE)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def json_of(body: bytes, headers: Mapping[bytes, bytes]) -> bytes:
    """The body, when it is said to be JSON and not compressed, or is empty. Raises Refusal `media_type`."""
    if body:
        media = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
        if media != b"application/json":
            raise Refusal(Code.MEDIA_TYPE)
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise Refusal(Code.MEDIA_TYPE, pointer="Content-Encoding", why="send it as it is")
    return body


def request_key(headers: Mapping[bytes, bytes]) -> str:
    """The Idempotency-Key: 1 to 255 printable ASCII characters. Raises Refusal `request_key_missing`, `malformed`."""
    raw = headers.get(b"idempotency-key")
    if raw is None:
        raise Refusal(Code.REQUEST_KEY_MISSING, pointer="Idempotency-Key")
    text = raw.decode("latin-1").strip()
    if not _KEY.fullmatch(text):
        why = "1 to 255 printable ASCII characters, no spaces"
        raise Refusal(Code.MALFORMED, pointer="Idempotency-Key", why=why)
    return text


def expected_version(headers: Mapping[bytes, bytes]) -> int | None:
    """The version in If-Match, an ETag like "7". Raises Refusal `malformed`."""
    raw = headers.get(b"if-match")
    if raw is None:
        return None
    match = re.fullmatch(rb'"([0-9]{1,18})"', raw.strip())
    if match is None:
        raise Refusal(Code.MALFORMED, pointer="If-Match", why='an ETag of the subject, such as "7"')
    return int(match[1])


def decoded(action: type[Action], body: bytes, given: Mapping[str, str]) -> Action:
    """Make the action of a body and the path's parameters. Raises Refusal `malformed` with a JSON pointer."""
    members = parsed(body) if body else {}
    if not isinstance(members, dict):
        raise Refusal(Code.MALFORMED, pointer="", why="the body must be an object")
    for name in (*given, "action"):
        if name in members:
            raise Refusal(Code.MALFORMED, pointer=f"/{name}", why="named by the path")
    return converted({**members, **given}, action)


def parsed(body: bytes) -> Any:
    """Parse JSON. Raises Refusal `malformed`, also for a member said twice: readers disagree which one counts."""
    try:
        value = msgspec.json.decode(body)
        members = _members(value)
    except RecursionError:
        raise Refusal(Code.MALFORMED, pointer="", why="nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(Code.MALFORMED, pointer="", why=unread(error, body)) from None
    if len(names_in(body)) > members:
        raise Refusal(Code.MALFORMED, pointer="", why="a member is said twice")
    return value


def names_in(body: bytes) -> list[bytes]:
    """The name of each member in valid JSON, at any depth, in order and as it is spelled there."""
    return [text for text, colon in _TEXT.findall(body) if colon]


def _members(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_members, value.values()))
    return sum(map(_members, value)) if isinstance(value, list) else 0


def converted(members: dict[str, Any], action: Any) -> Any:
    """Make an action (or a union of them) of its members; texts are brought into NFC. Raises Refusal `malformed`."""
    verbatim = getattr(action, "verbatim", ())
    try:
        members = {
            name: value if name in verbatim else _clean(value, f"/{name}") for name, value in members.items()
        }
    except RecursionError:
        raise Refusal(Code.MALFORMED, pointer="", why="nested too deeply") from None
    return settled(shaped(members, action))


def shaped(value: Any, kind: Any) -> Any:
    """Make what `kind` names of parsed JSON, as it is. Raises Refusal `malformed` with a JSON pointer."""
    try:
        return msgspec.convert(value, kind)
    except RecursionError:
        raise Refusal(Code.MALFORMED, pointer="", why="nested too deeply") from None
    except msgspec.ValidationError as error:
        said = str(error)
        raise Refusal(Code.MALFORMED, pointer=pointer_of(said), why=misshaped(said, kind)) from None


def settled(asked: Any) -> Any:
    """The action with its instants in UTC and whole milliseconds. Raises Refusal `malformed`."""
    instants = {
        name: _settled(value, name)
        for name in _instants(type(asked))
        if (value := getattr(asked, name)) is not None
    }
    return msgspec.structs.replace(asked, **instants) if instants else asked


@cache
def _instants(action: type[Action]) -> tuple[str, ...]:
    """The members of an action that are instants."""

    def within(kind: Any) -> bool:
        if isinstance(kind, msgspec.inspect.UnionType):
            return any(within(one) for one in kind.types)
        if isinstance(kind, msgspec.inspect.Metadata):
            return within(kind.type)
        return isinstance(kind, msgspec.inspect.DateTimeType)

    described: Any = msgspec.inspect.type_info(action)
    return tuple(field.name for field in described.fields if within(field.type))


def _settled(at: dt.datetime, name: str) -> dt.datetime:
    """An instant in UTC and whole milliseconds."""
    try:
        return truncated(at)
    except OverflowError:
        raise Refusal(Code.MALFORMED, pointer=f"/{name}", why="outside the years 1 to 9999") from None


def decoded_by(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """Decode bytes into what the decoder makes. Raises Refusal `malformed` with a JSON pointer. Texts stay as they are."""
    try:
        return decoder.decode(raw)
    except RecursionError:
        raise Refusal(Code.MALFORMED, pointer="", why="nested too deeply") from None
    except msgspec.ValidationError as error:
        raise Refusal(Code.MALFORMED, pointer=pointer_of(str(error)), why=plain(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(Code.MALFORMED, pointer="", why=unread(error, raw)) from None


def _clean(value: Any, pointer: str) -> Any:
    """Bring every text into NFC. Patterns end in `$`, which a last newline slips past: so no text may end in one."""
    if isinstance(value, str):
        if "\x00" in value or value.endswith("\n"):
            raise Refusal(Code.MALFORMED, pointer=pointer, why="holds a NUL or ends in a newline")
        if not value.isascii():
            try:
                return clean_text(value)
            except ValueError as error:
                raise Refusal(Code.MALFORMED, pointer=pointer, why=plain(error)) from None
    elif isinstance(value, list):
        return [_clean(item, f"{pointer}/{place}") for place, item in enumerate(value)]
    elif isinstance(value, dict):
        return {_clean(name, pointer): _clean(item, f"{pointer}/{name}") for name, item in value.items()}
    return value


__all__ = ["Answer", "Caller", "decoded", "governed", "perform"]
