"""The house itself over REST: staff and posts, keys, editions of the policy."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter

from service.action import Instant
from service.api.acting import governed
from service.api.reading import USUAL, Cursor, KnownCaller, Limit, Parameters, instant_of, reader, shown
from service.caller import Caller
from service.clock import to_us
from service.db import Db, queries
from service.domain.editions import AdoptEdition
from service.domain.keys import IssueKey, RevokeKey
from service.domain.staff import AppointStaff, DismissStaff
from service.editions import Editions
from service.errors import Code, Refusal
from service.policy import PolicyError, digest

sql = queries(__file__)
_Request = Request[Any, Any, Any]


class StaffSeen(msgspec.Struct, frozen=True):
    """A member of staff, with the standings and posts held now."""

    staff_id: str
    jurisdiction: str
    standings: list[str]
    created_at: dt.datetime
    version: int


class StaffPage(msgspec.Struct, frozen=True):
    """Members of staff in the order of their ids; `next` where there are more."""

    items: list[StaffSeen]
    next: str | None


class Held(msgspec.Struct, frozen=True):
    """One interval of a standing or post, with the records that began and ended it."""

    standing: str
    from_at: dt.datetime
    until_at: dt.datetime | None
    by_record: str
    ended_record: str | None


class StaffMember(msgspec.Struct, frozen=True):
    """A member of staff with every standing and post ever held, oldest first."""

    staff_id: str
    jurisdiction: str
    created_at: dt.datetime
    version: int
    intervals: list[Held]


class KeySeen(msgspec.Struct, frozen=True):
    """A key as it may be shown: its scopes and its end. Empty scopes mean all."""

    key_id: str
    prefix: str
    kind: str
    staff_id: str | None
    families: list[str]
    tiers: list[int]
    jurisdictions: list[str]
    issued_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    by_record: str
    version: int


class KeyPage(msgspec.Struct, frozen=True):
    """Keys in the order of their ids; `next` where there are more."""

    items: list[KeySeen]
    next: str | None


class EditionSeen(msgspec.Struct, frozen=True):
    """An adopted edition: its digest, from when it is in force, and the record that adopted it."""

    edition: str
    effective_at: dt.datetime
    adopted_record: str
    in_force: bool


class EditionPage(msgspec.Struct, frozen=True):
    """Adopted editions, the one in force last first; `next` where there are more."""

    items: list[EditionSeen]
    next: str | None


class EditionWhole(msgspec.Struct, frozen=True):
    """An adopted edition with every file, byte for byte what its digest was made of."""

    edition: str
    effective_at: Instant
    adopted_record: str
    in_force: bool
    files: dict[str, str]


# Who may read


async def _staff(request: _Request, family: str) -> KnownCaller:
    """Who reads, which only present staff may. Raises Refusal as `reader`."""
    caller = await reader(request, family)
    if caller.kind != "staff":
        raise Refusal(Code.REFUSED)
    return caller


def _db(request: _Request) -> Db:
    return request.app.state.db


# Reads


@get("/v1/staff", operation_id="staff.list", tags=["staff"])
async def staff(
    request: _Request,
    standing: Annotated[
        str | None, QueryParameter(max_length=40, description="Only who holds this now.")
    ] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response[StaffPage]:
    """List members of staff and what each holds now; for staff."""
    asked = Parameters(request, "standing", "limit", "cursor")
    place = asked.cursor(str)
    wanted = None if standing is None else asked.text("standing")
    caller = await _staff(request, "staff")
    async with _db(request).read() as db:
        rows = await sql.staff_page(
            db, after="" if place is None else place[0], standing=wanted, most=limit + 1
        )
    items = [msgspec.convert(dict(row), StaffSeen) for row in rows[:limit]]
    further = asked.cursor_to(items[-1].staff_id) if len(rows) > limit else None
    return shown(StaffPage([one for one in items if caller.sees(one.jurisdiction)], further))


@get("/v1/staff/{staff_id:str}", operation_id="staff.read", tags=["staff"])
async def staff_member(request: _Request, staff_id: FromPath[str]) -> Response[StaffMember]:
    """Show one member of staff with every standing and post ever held (S212); for staff."""
    Parameters(request)
    caller = await _staff(request, "staff")
    async with _db(request).read(snapshot=True) as db:
        row = await sql.staff_member(db, staff_id=_word(staff_id, "staff_id"))
        if row is None:
            raise Refusal(Code.UNKNOWN)
        caller.inside(row["jurisdiction"])
        held = await sql.intervals(db, staff_id=staff_id)
    seen = msgspec.convert({**row, "intervals": [dict(one) for one in held]}, StaffMember)
    return shown(seen, version=seen.version)


@get("/v1/keys", operation_id="key.list", tags=["key"])
async def keys(request: _Request, limit: Limit = USUAL, cursor: Cursor = None) -> Response[KeyPage]:
    """List keys with their scopes and ends, never a token or its hash; for staff."""
    asked = Parameters(request, "limit", "cursor")
    place = asked.cursor(str)
    await _staff(request, "key")
    async with _db(request).read() as db:
        rows = await sql.key_page(db, after="" if place is None else place[0], most=limit + 1)
    items = [msgspec.convert(dict(row), KeySeen) for row in rows[:limit]]
    return shown(KeyPage(items, asked.cursor_to(items[-1].key_id) if len(rows) > limit else None))


@get("/v1/editions", operation_id="edition.list", tags=["edition"])
async def editions(request: _Request, limit: Limit = USUAL, cursor: Cursor = None) -> Response[EditionPage]:
    """List adopted editions of the policy, the one that comes into force last first."""
    asked = Parameters(request, "limit", "cursor")
    place = asked.cursor(int)
    before = None if place is None else instant_of(place[0])
    await reader(request, "edition")
    async with _db(request).read() as db:
        rows = await sql.edition_page(db, before=before, most=limit + 1)
    current = _current(request)
    items = [
        EditionSeen(row["digest"], row["effective_at"], row["adopted_record"], row["digest"] == current)
        for row in rows[:limit]
    ]
    further = asked.cursor_to(to_us(items[-1].effective_at)) if len(rows) > limit else None
    return shown(EditionPage(items, further))


@get("/v1/editions/current", operation_id="edition.current", tags=["edition"])
async def current_edition(request: _Request) -> Response[EditionWhole]:
    """Show the edition in force now, whole."""
    Parameters(request)
    await reader(request, "edition")
    return await whole_edition(request, _current(request))


@get("/v1/editions/{edition:str}", operation_id="edition.read", tags=["edition"])
async def edition_by_digest(request: _Request, edition: FromPath[str]) -> Response[EditionWhole]:
    """Show an adopted edition, whole, by its digest: for ever."""
    Parameters(request)
    await reader(request, "edition")
    return await whole_edition(request, _word(edition, "edition") or "")


async def whole_edition(request: _Request, edition: str) -> Response[EditionWhole]:
    """An adopted edition by its digest. Raises Refusal `unknown`."""
    async with _db(request).read() as db:
        row = await sql.edition_whole(db, digest=edition)
    if row is None:
        raise Refusal(Code.UNKNOWN)
    whole = EditionWhole(
        edition=row["digest"],
        effective_at=row["effective_at"],
        adopted_record=row["adopted_record"],
        in_force=row["digest"] == _current(request),
        files=row["files"],
    )
    return shown(whole, version=whole.edition)


def _current(request: _Request) -> str:
    state = request.app.state
    chosen: Editions = state.editions
    return chosen.at(state.clock.now()).edition


def _word(text: str | None, pointer: str) -> str | None:
    """A text for the database, which takes no NUL and no half of a pair."""
    if text is not None and not (text.isprintable() and text.isascii()):
        raise Refusal(Code.MALFORMED, pointer=pointer)
    return text


# Acts


async def sound(request: _Request, caller: Caller, asked: AdoptEdition) -> None:
    """Compile what staff wants to adopt, before the door is asked: broken, it is adopted by nobody.

    Whoever is no staff is not worth the work, nor are files under another's digest: the door refuses them.
    """
    if caller.kind != "staff":
        return
    try:
        files = {name: text.encode() for name, text in asked.files.items()}
    except UnicodeEncodeError:
        raise Refusal(Code.MALFORMED, pointer="/files", why="a text is not Unicode") from None
    if digest(files) != asked.digest:
        return
    chosen: Editions = request.app.state.editions
    try:
        await chosen.read(files)
    except PolicyError as error:
        faults = [msgspec.to_builtins(problem) for problem in error.problems]
        raise Refusal(Code.MALFORMED, pointer="/files", faults=faults) from None


ROUTES = [
    staff,
    staff_member,
    governed(
        "POST",
        "/v1/staff/{staff_id}/standings",
        AppointStaff,
        example={"standing": "moderator", "jurisdiction": "CN-110000"},
    ),
    governed(
        "DELETE",
        "/v1/staff/{staff_id}/standings/{standing}",
        DismissStaff,
        example={"reason": "post_ended"},
    ),
    keys,
    governed(
        "POST",
        "/v1/keys",
        IssueKey,
        example={
            "key_id": "im-2",
            "kind": "backend",
            "token_sha256": "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447",
            "prefix": "mk_0a1b2c3d",
            "families": ["group"],
            "jurisdictions": ["CN-110000"],
        },
    ),
    governed(
        "POST",
        "/v1/keys/{key_id}/revocation",
        RevokeKey,
        example={"reason": "key_exposed", "note": "Seen in a log file."},
    ),
    editions,
    current_edition,
    edition_by_digest,
    governed(
        "POST",
        "/v1/editions",
        AdoptEdition,
        check=sound,
        example={
            "digest": "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447",
            "effective_at": "2026-12-01T00:00:00Z",
            "files": {"rules.csv": "id,effect,standing,action,relation,tier,persons,terms,basis,comment\n"},
        },
    ),
]
