"""The one way reads go: a valid key, parameters read strictly, cursors that fit only their own query.

A handler asks `reader` who reads, `Parameters` what is asked for, and answers with `shown`.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response
from litestar.params import QueryParameter

from service.action import ID_PATTERN, Need
from service.api.callers import Callers
from service.api.instants import with_instants
from service.api.problems import JSON
from service.caller import Caller, Standing
from service.clock import from_us, instant_text, parse_instant
from service.domain.keys import ApiKey, contains
from service.domain.staff import OpenRoles
from service.errors import Code, Refusal
from service.looking import Facts, Looks
from service.trail.writing import clean_text

T = TypeVar("T")

CURSOR_VERSION = 1
MOST = 500
"""Most items of one page."""
USUAL = 100
"""Items of a page when the caller does not say."""

Limit = Annotated[int, QueryParameter(ge=1, le=MOST, description="Items of a page, at most.")]
Cursor = Annotated[str | None, QueryParameter(max_length=400, description="`next` of the page before.")]
Territory = Annotated[
    str | None,
    QueryParameter(pattern=r"^(CN|CN-[0-9]{6}|EU|EU-[A-Z]{2})$", description="And all it contains."),
]

_NUMBER = re.compile(r"[0-9]{1,16}")
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,400}")
#: What does not choose which rows are read, but only where to go on, how many, and why.
_NOT_FILTERS = frozenset({"cursor", "after", "limit", "purpose"})


class KnownCaller(Caller, frozen=True, kw_only=True):
    """A caller whose key is valid now, with what the key opens and which standings its holder has now."""

    standings: tuple[Standing, ...] = ()
    tiers: tuple[int, ...] = ()
    families: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()

    def sees(self, jurisdiction: str, tier: int | None = None) -> bool:
        """Whether the key opens this territory and tier: what a list leaves out."""
        if self.tiers and tier is not None and tier not in self.tiers:
            return False
        return not self.jurisdictions or any(contains(one, jurisdiction) for one in self.jurisdictions)

    def inside(self, jurisdiction: str, tier: int | None = None) -> None:
        """Refuse `key_scope` where the key does not open this territory or tier: for reads of one thing."""
        if not self.sees(jurisdiction, tier):
            raise Refusal(Code.KEY_SCOPE)


async def reader(
    request: Request[Any, Any, Any], family: str = "", *, authorities: bool = False
) -> KnownCaller:
    """Return who reads; see `looked`."""
    caller, _ = await looked(request, family, authorities=authorities)
    return caller


async def looked(
    request: Request[Any, Any, Any],
    family: str = "",
    needs: Callable[[Caller], Sequence[Need]] = lambda _: (),
    *,
    authorities: bool = False,
) -> tuple[KnownCaller, Facts]:
    """Return who reads, with a key that is neither revoked nor expired at this instant, and the rows that he `needs`.

    The database says both at once. `family`: the noun that is read; a key limited to families must name it. Reads of
    ordinary state are counted, not recorded. So authorities have none of them: they read on the record, through the trail
    (S021, S189). `authorities`: this read is part of an act of theirs that is on the record. Nobody reads who holds no
    standing now that his kind of key lends.
    Raises Refusal `key_invalid`, `key_scope`, `refused`, `malformed`, `too_many`; DatabaseUnavailable.
    """
    state = request.app.state
    callers: Callers = state.callers
    looks: Looks = state.looks
    caller = await callers.caller(request.scope, dict(request.scope["headers"]))
    own = [Need(ApiKey, (caller.key_id,))]
    if caller.staff_id:
        own.append(Need(OpenRoles, (caller.staff_id,)))
    facts = await looks.find([*own, *needs(caller)])
    key: ApiKey | None = facts[ApiKey][caller.key_id,]
    if key is None or not key.holds(state.clock.now()):
        raise Refusal(Code.KEY_INVALID)
    standings = facts[OpenRoles][caller.staff_id,].standings(caller.kind) if caller.staff_id else ()
    if (caller.kind == "regulator" and not authorities) or (caller.staff_id and not standings):
        raise Refusal(Code.REFUSED)
    if family and key.families and family not in key.families:
        raise Refusal(Code.KEY_SCOPE, lacks="family", family=family)
    state.watch.read(by=caller.kind)
    known = KnownCaller(
        kind=caller.kind,
        key_id=caller.key_id,
        person_id=caller.person_id,
        staff_id=caller.staff_id,
        standings=standings,
        tiers=tuple(key.tiers),
        families=tuple(key.families),
        jurisdictions=tuple(key.jurisdictions),
    )
    return known, facts


class Parameters:
    """The query of one read. Names not among `known`, and names given twice, are refused; so is what does not parse.

    Every refusal is `malformed` with the parameter's name as pointer.
    """

    def __init__(
        self,
        request: Request[Any, Any, Any],
        *known: str,
        query: str | None = None,
        last_event_id: str | None = None,
    ) -> None:
        """Split the query string; percent-escapes must be UTF-8.

        `query` names what cursors belong to, where two paths share them; else it is the path. `last_event_id`: the
        parameter for which the header Last-Event-ID stands, when a stream is taken up again.
        """
        self._path = str(request.scope["path"]) if query is None else query
        self._given: dict[str, str] = {}
        try:
            raw = request.scope["query_string"].decode("ascii")
            pairs = parse_qsl(raw, keep_blank_values=True, strict_parsing=bool(raw), errors="strict")
        except (UnicodeDecodeError, ValueError):
            raise Refusal(Code.MALFORMED, pointer="", why="the query does not parse") from None
        for name, value in pairs:
            if name not in known:
                pointer = name if re.fullmatch(r"[a-z_]{1,40}", name) else ""
                raise Refusal(Code.MALFORMED, pointer=pointer, why="no such parameter")
            if name in self._given:
                raise _malformed(name, "given twice")
            self._given[name] = value
        again = dict(request.scope["headers"]).get(b"last-event-id")
        if last_event_id is not None and again:
            self._given[last_event_id] = again.decode("latin-1")

    def given(self, name: str) -> bool:
        """Whether the parameter was sent, be it empty."""
        return name in self._given

    def text(self, name: str, most: int = 500) -> str | None:
        """Free text in NFC, at most `most` characters."""
        value = self._given.get(name)
        if value is None:
            return None
        if len(value) > most or "\x00" in value:
            raise _malformed(name, f"at most {most} characters, no NUL")
        try:
            return clean_text(value)
        except ValueError as error:
            raise _malformed(name, str(error)) from None

    def id(self, name: str) -> str | None:
        """An opaque id."""
        return self.matching(name, ID_PATTERN, "an id: 1 to 128 of A-Z a-z 0-9 . _ : @ -")

    def matching(self, name: str, pattern: re.Pattern[str], what: str) -> str | None:
        """Text that matches a pattern as a whole."""
        value = self._given.get(name)
        if value is not None and not pattern.fullmatch(value):
            raise _malformed(name, what)
        return value

    def one_of(self, name: str, words: Collection[str]) -> str | None:
        """One of a few words."""
        value = self._given.get(name)
        if value is not None and value not in words:
            raise _malformed(name, f"one of {', '.join(sorted(words))}")
        return value

    def instant(self, name: str) -> dt.datetime | None:
        """An RFC 3339 instant with a zone."""
        value = self._given.get(name)
        if value is None:
            return None
        try:
            return parse_instant(value)
        except (ValueError, OverflowError):
            raise _malformed(name, "an instant like 2026-11-22T14:30:00.000Z") from None

    def number(self, name: str, least: int, most: int) -> int | None:
        """A whole number."""
        value = self._given.get(name)
        if value is None:
            return None
        if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
            raise _malformed(name, f"a number from {least} to {most}")
        return int(value)

    def limit(self, most: int = MOST) -> int:
        """How many items a page may have: `limit`, 1 to `most`; 100 when it is not given."""
        return self.number("limit", 1, most) or min(USUAL, most)

    def cursor(self, *places: type[T], name: str = "cursor") -> tuple[Any, ...] | None:
        """Where the page before ended, as `cursor_to` was told; None on the first page.

        `places` are the types of its parts. A cursor of another query, or of another version, is `malformed`.
        """
        value = self._given.get(name)
        if value is None:
            return None
        try:
            if not _CURSOR.fullmatch(value):
                raise ValueError
            raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
            version, digest, *place = msgspec.msgpack.decode(raw, type=tuple[int, bytes, *places])  # type: ignore[valid-type]
            if version != CURSOR_VERSION or digest != self._digest():
                raise ValueError
            # Anyone can make such bytes: what the database cannot take must not reach it.
            for one in place:
                if (isinstance(one, int) and not 0 <= one < 1 << 63) or "\x00" in str(one):
                    raise ValueError
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            raise _malformed(name, "no cursor of this query") from None
        return tuple(place)

    def cursor_to(self, *place: Any) -> str:
        """The cursor of the page that begins after `place`."""
        raw = msgspec.msgpack.encode((CURSOR_VERSION, self._digest(), *place))
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def filters(self) -> dict[str, str]:
        """What chooses the rows, as sent."""
        return {name: value for name, value in sorted(self._given.items()) if name not in _NOT_FILTERS}

    def _digest(self) -> bytes:
        return hashlib.sha256(msgspec.json.encode([self._path, self.filters()])).digest()[:8]


def _malformed(name: str, why: str) -> Refusal:
    return Refusal(Code.MALFORMED, pointer=name, why=why)


def shown(body: Any, *, version: int | str | None = None) -> Response[Any]:
    """Answer a read. `version` is the subject's, as ETag: what an act may expect in If-Match (S012).

    It is never answered with 304: answers also tell facts of others (an operator's name, a mute) that leave it as it is.
    """
    headers = {"cache-control": "private, no-store"}
    if version is not None:
        headers["etag"] = f'"{version}"'
    content = body if isinstance(body, bytes) else encode(body)
    return Response(content, headers=headers, media_type=JSON)


def _plain(value: Any) -> Any:
    raise TypeError(f"a {type(value).__name__} has no place in an answer")


def encode(body: Any) -> bytes:
    """The JSON of an answer. What is an instant in it is written as `instant_text` writes all of them."""
    plain = msgspec.to_builtins(body, builtin_types=(dt.datetime,), enc_hook=_plain)
    return msgspec.json.encode(with_instants(plain))


def instant_of(us: int) -> dt.datetime:
    """The instant in a cursor, in microseconds. Raises Refusal `malformed`."""
    try:
        return from_us(us)
    except (ValueError, OverflowError):
        raise _malformed("cursor", "no cursor of this query") from None


def text_of(at: dt.datetime | None) -> str | None:
    """An instant as answers write it."""
    return None if at is None else instant_text(at)
