"""Order inside groups over REST: mutes, removals, bars, items, offices; and who is muted, who was admin, at any instant."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from service.action import ID_PATTERN
from service.api.acting import governed
from service.caller import Caller
from service.clock import instant_text, parse_instant
from service.db import Db, queries
from service.db.pool import Reader
from service.domain.groups.bars import BarMember, RemoveMember, UnbarMember
from service.domain.groups.facts import ADMIN, MEMBER, OUTSIDE, OWNER, STANDING_OF, Group, Role
from service.domain.groups.items import HideItem, PinNotice, RestoreItem
from service.domain.groups.mutes import MuteAll, MuteMember, UnmuteAll, UnmuteMember
from service.domain.groups.office import AppointAdmin, DismissAdmin, StepDown
from service.domain.keys import ApiKey
from service.domain.staff import OpenRoles
from service.errors import Code, Refusal

sql = queries(__file__)
_PAGE_MOST = 500
_RANK_OF = {"owner": OWNER, "admin": ADMIN, "member": MEMBER}


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """One silence that holds for the person: which kind, by which record, from when until when (null: permanent)."""

    kind: Literal["mute", "mute_all"]
    by_record: str
    set_by: Literal["owner", "admin"]
    from_at: str
    until: str | None


class MuteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a person was silenced in a group at an instant, and everything that held (S043).

    `until`: the last end of what holds now; null with `muted` true: permanent. `standing`: what the person was then.
    """

    group_id: str
    person_id: str
    at: str
    standing: str
    muted: bool
    until: str | None
    holds: list[Silence]


class RoleThen(msgspec.Struct, frozen=True, kw_only=True):
    """One role as it was held: from when, by which record, and for an admin by whose hand (S056)."""

    person_id: str
    standing: str
    from_at: str
    until_at: str | None
    by_record: str
    granted_by: str | None
    ended_record: str | None


class RolesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who held which role in a group at an instant (G8), highest first; `next` is the cursor of the next page."""

    group_id: str
    at: str
    roles: list[RoleThen]
    next: str | None


async def reading_caller(request: Request[Any, Any, Any], reader: Reader) -> Caller:
    """Who reads, by a key that holds now. Raises Refusal `key_invalid`; authorities read inside grants only."""
    headers = {name.lower(): value for name, value in request.scope["headers"]}
    caller: Caller = await request.app.state.callers.caller(headers)
    key = (await ApiKey.look(reader, [(caller.key_id,)])).get((caller.key_id,))
    if key is None or not key.holds(request.app.state.clock.now()):
        raise Refusal(Code.KEY_INVALID)
    if caller.kind == "regulator":
        raise Refusal(Code.OUTSIDE_SCOPE)
    return caller


async def seen_group(reader: Reader, caller: Caller, group_id: str) -> tuple[Group, int]:
    """The group and the caller's rank in it. A stranger knows no private group; a dissolved one only staff and the backend read (S052)."""
    group = None
    if ID_PATTERN.fullmatch(group_id):
        group = (await Group.look(reader, [(group_id,)])).get((group_id,))
    if group is None:
        raise Refusal(Code.UNKNOWN, kind="group")
    if caller.kind == "backend":
        return group, OUTSIDE
    if caller.kind == "staff":
        if not (await OpenRoles.look(reader, [(caller.staff_id,)]))[caller.staff_id,].standings():
            raise Refusal(Code.REFUSED)
        return group, OUTSIDE
    role = (await Role.look(reader, [(group_id, caller.person_id)])).get((group_id, caller.person_id))
    rank = OUTSIDE if role is None else role.rank
    if rank == OUTSIDE and group.surface() == "none":
        raise Refusal(Code.UNKNOWN, kind="group")
    if group.dissolved_at is not None:
        raise Refusal(Code.GROUP_DISSOLVED)
    return group, rank


@get(
    "/v1/groups/{group_id:str}/mutes/{person_id:str}",
    operation_id="group.muted",
    summary="Is this person muted here, until when, by which act?",
    tags=["group"],
)
async def muted(
    request: Request[Any, Any, Any],
    group_id: FromPath[str],
    person_id: FromPath[str],
    at: FromQuery[str | None] = None,
) -> Response[MuteAnswer]:
    """Answer from the person's own mute and the whole group's; asked by the person, who manages the group, staff or the backend."""
    when = _instant(request, at)
    db: Db = request.app.state.db
    async with db.read(snapshot=True) as reader:
        caller = await reading_caller(request, reader)
        group, rank = await seen_group(reader, caller, group_id)
        if caller.kind == "person" and rank < ADMIN and caller.person_id != person_id:
            raise Refusal(Code.REFUSED)
        if not ID_PATTERN.fullmatch(person_id):
            raise Refusal(Code.UNKNOWN, kind="person")
        then = await sql.rank_at(reader, group_id=group_id, person_id=person_id, at=when) or OUTSIDE
        rows = await sql.silences_at(reader, group_id=group_id, person_id=person_id, at=when)
    # Owner and admins speak while the group is silenced by one of them (S029), not while muted themselves.
    holding = [row for row in rows if row["kind"] == "mute" or then < ADMIN]
    ends = [row["until"] for row in holding]
    answer = MuteAnswer(
        group_id=group_id,
        person_id=person_id,
        at=instant_text(when),
        standing=STANDING_OF[then].value,
        muted=bool(holding),
        until=None if not ends or None in ends else instant_text(max(ends)),
        holds=[
            Silence(
                kind=row["kind"],
                by_record=row["by_record"],
                set_by="owner" if row["by_rank"] == OWNER else "admin",
                from_at=instant_text(row["from_at"]),
                until=_text(row["until"]),
            )
            for row in holding
        ],
    )
    return Response(answer, headers={"etag": f'"{group.version}"'})


@get(
    "/v1/groups/{group_id:str}/roles",
    operation_id="group.roles",
    summary="Who held which role at an instant, by which record, granted by whom?",
    tags=["group"],
)
async def roles(
    request: Request[Any, Any, Any],
    group_id: FromPath[str],
    at: FromQuery[str | None] = None,
    standing: FromQuery[Literal["owner", "admin", "member"] | None] = None,
    limit: FromQuery[int] = 100,
    cursor: FromQuery[str | None] = None,
) -> Response[RolesAnswer]:
    """Page through the roles of one instant; for those inside the group, staff and the backend."""
    if not 1 <= limit <= _PAGE_MOST:
        raise Refusal(Code.MALFORMED, pointer="limit", minimum=1, maximum=_PAGE_MOST)
    after = _Place(at=_instant(request, at), standing=standing) if cursor is None else _place(cursor)
    db: Db = request.app.state.db
    async with db.read(snapshot=True) as reader:
        caller = await reading_caller(request, reader)
        group, rank = await seen_group(reader, caller, group_id)
        if caller.kind == "person" and rank == OUTSIDE:
            raise Refusal(Code.REFUSED)
        rows = await sql.roles_at(
            reader,
            group_id=group_id,
            at=after.at,
            rank=None if after.standing is None else _RANK_OF[after.standing],
            after_rank=after.rank,
            after_person=after.person_id,
            most=limit + 1,
        )
    page = rows[:limit]
    more = None
    if len(rows) > limit:
        more = _cursor(msgspec.structs.replace(after, rank=page[-1]["rank"], person_id=page[-1]["person_id"]))
    answer = RolesAnswer(
        group_id=group_id,
        at=instant_text(after.at),
        roles=[
            RoleThen(
                person_id=row["person_id"],
                standing=STANDING_OF[row["rank"]].value,
                from_at=instant_text(row["from_at"]),
                until_at=_text(row["until_at"]),
                by_record=row["by_record"],
                granted_by=row["granted_by"],
                ended_record=row["ended_record"],
            )
            for row in page
        ],
        next=more,
    )
    return Response(answer, headers={"etag": f'"{group.version}"'})


class _Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a page of roles ended."""

    at: dt.datetime
    standing: Literal["owner", "admin", "member"] | None
    rank: int = OWNER + 1
    person_id: str = ""


def _cursor(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _place(cursor: str) -> _Place:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        place = msgspec.json.decode(raw, type=_Place)
    except (binascii.Error, ValueError):
        raise Refusal(Code.MALFORMED, pointer="cursor") from None
    if place.at.tzinfo is None or "\x00" in place.person_id or not 0 <= place.rank <= OWNER + 1:
        raise Refusal(Code.MALFORMED, pointer="cursor")
    return place


def _instant(request: Request[Any, Any, Any], at: str | None) -> dt.datetime:
    if at is None:
        return request.app.state.clock.now()
    try:
        return parse_instant(at)
    except ValueError:
        raise Refusal(Code.MALFORMED, pointer="at", why="not an RFC 3339 instant") from None


def _text(at: dt.datetime | None) -> str | None:
    return None if at is None else instant_text(at)


ROUTES = [
    governed(
        "POST",
        "/v1/groups/{group_id}/mutes",
        MuteMember,
        example={"person_id": "dan", "seconds": 3600, "reason": "fraud"},
    ),
    governed(
        "DELETE",
        "/v1/groups/{group_id}/mutes/{person_id}",
        UnmuteMember,
        example={"reason": "error_corrected"},
    ),
    muted,
    governed(
        "PUT", "/v1/groups/{group_id}/mute-all", MuteAll, example={"seconds": 28800, "reason": "quiet_hours"}
    ),
    governed("DELETE", "/v1/groups/{group_id}/mute-all", UnmuteAll, example={"reason": "routine"}),
    governed(
        "POST",
        "/v1/groups/{group_id}/removals",
        RemoveMember,
        example={"person_id": "dan", "reason": "group_rules"},
    ),
    governed(
        "POST",
        "/v1/groups/{group_id}/bars",
        BarMember,
        example={"person_id": "dan", "days": 30, "reason": "harassment"},
    ),
    governed(
        "DELETE",
        "/v1/groups/{group_id}/bars/{person_id}",
        UnbarMember,
        example={"reason": "error_corrected"},
    ),
    governed(
        "POST",
        "/v1/groups/{group_id}/hidden-items",
        HideItem,
        example={
            "locator": "i-77",
            "item_sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
            "author_id": "dan",
            "reason": "spam",
        },
    ),
    governed(
        "DELETE",
        "/v1/groups/{group_id}/hidden-items/{locator}",
        RestoreItem,
        example={"reason": "error_corrected"},
    ),
    governed("POST", "/v1/groups/{group_id}/pinned-notices", PinNotice, example={"locator": "i-78"}),
    governed("PUT", "/v1/groups/{group_id}/admins/{person_id}", AppointAdmin, example={"reason": "routine"}),
    governed(
        "DELETE", "/v1/groups/{group_id}/admins/{person_id}", DismissAdmin, example={"reason": "routine"}
    ),
    governed("POST", "/v1/groups/{group_id}/stepping-down", StepDown, example={}),
    roles,
]
