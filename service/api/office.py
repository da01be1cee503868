"""The house itself over REST: staff and posts, keys, editions of the policy."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter

from service.api.acting import governed, headers_of
from service.api.callers import Callers
from service.caller import Caller
from service.clock import parse_instant
from service.db import Db, queries
from service.domain.editions import AdoptEdition
from service.domain.keys import IssueKey, RevokeKey
from service.domain.staff import AppointStaff, DismissStaff
from service.editions import Editions
from service.errors import Code, Refusal
from service.policy import PolicyError, digest

sql = queries(__file__)
_Request = Request[Any, Any, Any]
_MOST = 200
Limit = Annotated[int, QueryParameter(ge=1, le=_MOST, description="Items on a page.")]
Cursor = Annotated[str | None, QueryParameter(max_length=600, description="`next` of the page before.")]


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
    effective_at: dt.datetime
    adopted_record: str
    in_force: bool
    files: dict[str, str]


# Who may read


async def reader(request: _Request, *, inside: bool = False) -> Caller:
    """Return who reads, with a key that holds now. `inside`: only staff and authorities. Raises Refusal."""
    callers: Callers = request.app.state.callers
    caller = await callers.caller(headers_of(request))
    async with _db(request).read() as db:
        state = await sql.key_state(db, at=request.app.state.clock.now(), key_id=caller.key_id)
    if state is None or not state["holds"]:
        raise Refusal(Code.KEY_INVALID)
    if inside and caller.kind not in {"staff", "regulator"}:
        raise Refusal(Code.REFUSED)
    return caller


def _db(request: _Request) -> Db:
    return request.app.state.db


def _cursor(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def _after(cursor: str | None) -> str:
    if not cursor:
        return ""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = raw.decode("ascii")
    except (binascii.Error, ValueError):
        raise Refusal(Code.MALFORMED, pointer="cursor") from None
    if not text.isprintable():
        raise Refusal(Code.MALFORMED, pointer="cursor")
    return text


# Reads


@get("/v1/staff", operation_id="staff.list", tags=["staff"])
async def staff(
    request: _Request,
    standing: Annotated[
        str | None, QueryParameter(max_length=40, description="Only who holds this now.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> StaffPage:
    """List members of staff and what each holds now; for staff and authorities."""
    await reader(request, inside=True)
    after = _after(cursor)
    async with _db(request).read() as db:
        rows = await sql.staff_page(db, after=after, standing=_word(standing, "standing"), most=limit + 1)
    items = [msgspec.convert(dict(row), StaffSeen) for row in rows[:limit]]
    return StaffPage(items, _cursor(items[-1].staff_id) if len(rows) > limit else None)


@get("/v1/staff/{staff_id:str}", operation_id="staff.read", tags=["staff"])
async def staff_member(request: _Request, staff_id: FromPath[str]) -> Response[StaffMember]:
    """Show one member of staff with every standing and post ever held (S212); for staff and authorities."""
    await reader(request, inside=True)
    async with _db(request).read(snapshot=True) as db:
        row = await sql.staff_member(db, staff_id=_word(staff_id, "staff_id"))
        if row is None:
            raise Refusal(Code.UNKNOWN)
        held = await sql.intervals(db, staff_id=staff_id)
    seen = msgspec.convert({**row, "intervals": [dict(one) for one in held]}, StaffMember)
    return Response(seen, headers={"etag": f'"{seen.version}"'})


@get("/v1/keys", operation_id="key.list", tags=["key"])
async def keys(request: _Request, limit: Limit = 50, cursor: Cursor = None) -> KeyPage:
    """List keys with their scopes and ends, never a token or its hash; for staff and authorities."""
    await reader(request, inside=True)
    after = _after(cursor)
    async with _db(request).read() as db:
        rows = await sql.key_page(db, after=after, most=limit + 1)
    items = [msgspec.convert(dict(row), KeySeen) for row in rows[:limit]]
    return KeyPage(items, _cursor(items[-1].key_id) if len(rows) > limit else None)


@get("/v1/editions", operation_id="edition.list", tags=["edition"])
async def editions(request: _Request, limit: Limit = 50, cursor: Cursor = None) -> EditionPage:
    """List adopted editions of the policy, the one that comes into force last first."""
    await reader(request)
    before = _instant(_after(cursor))
    async with _db(request).read() as db:
        rows = await sql.edition_page(db, before=before, most=limit + 1)
    current = _current(request)
    items = [
        EditionSeen(row["digest"], row["effective_at"], row["adopted_record"], row["digest"] == current)
        for row in rows[:limit]
    ]
    return EditionPage(items, _cursor(items[-1].effective_at.isoformat()) if len(rows) > limit else None)


@get("/v1/editions/current", operation_id="edition.current", tags=["edition"])
async def current_edition(request: _Request) -> Response[EditionWhole]:
    """Show the edition in force now, whole."""
    await reader(request)
    return await _edition(request, _current(request))


@get("/v1/editions/{edition:str}", operation_id="edition.read", tags=["edition"])
async def edition_by_digest(request: _Request, edition: FromPath[str]) -> Response[EditionWhole]:
    """Show an adopted edition, whole, by its digest: for ever."""
    await reader(request)
    return await _edition(request, _word(edition, "edition") or "")


async def _edition(request: _Request, edition: str) -> Response[EditionWhole]:
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
    return Response(whole, headers={"etag": f'"{whole.edition}"'})


def _current(request: _Request) -> str:
    state = request.app.state
    chosen: Editions = state.editions
    return chosen.at(state.clock.now()).edition


def _instant(text: str) -> dt.datetime | None:
    try:
        return parse_instant(text) if text else None
    except ValueError:
        raise Refusal(Code.MALFORMED, pointer="cursor") from None


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
