"""Groups over REST: their life, their tier, and reading them."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from service.api.acting import governed
from service.api.callers import Callers
from service.caller import Caller
from service.clock import instant_text
from service.db import Db, queries
from service.domain.groups.dissolving import DissolveGroup
from service.domain.groups.facts import OUTSIDE, STANDING_OF, Group, GroupClass, JoinMode, Role, Surface
from service.domain.groups.joining import JoinRequest
from service.domain.groups.life import RegisterGroup, UpdateGroupFacts, UpdateGroupProfile
from service.domain.groups.ranking import OverrideTier, RankGroup
from service.domain.keys import ApiKey
from service.errors import Code, Refusal

sql = queries(__file__)

Limit = Annotated[int, QueryParameter(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[str | None, QueryParameter(max_length=400, description="`next` of the page before.")]
State = Literal["living", "ownerless", "dissolved"]


class GroupView(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is public about a group (G5, G6), what the asker is in it, and for those who answer or look after it, more."""

    group_id: str
    code: str
    name: str
    klass: GroupClass = msgspec.field(name="class")
    headcount: int
    tier: int
    jurisdiction: str
    join_mode: JoinMode
    discoverable: bool
    link_open: bool
    information_page: bool
    created_at: str
    version: int
    standing: str | None = None
    owner_id: str | None = None
    ownerless_since: str | None = None
    capacity: int | None = None
    admins: int | None = None
    messages_per_day: int | None = None
    minors: str | None = None
    dsa_surface: Surface | None = None
    tier_basis: dict[str, Any] | None = None
    override: dict[str, Any] | None = None
    imported: bool | None = None
    registered_by_record: str | None = None
    dissolved_at: str | None = None
    dissolved_how: str | None = None
    dissolved_record: str | None = None
    preserved: bool | None = None


class GroupLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One group of a list."""

    group_id: str
    code: str
    name: str
    klass: str = msgspec.field(name="class")
    headcount: int
    capacity: int
    tier: int
    jurisdiction: str
    owner_id: str | None
    version: int
    ownerless_since: str | None = None
    dissolved_at: str | None = None


class GroupPage(msgspec.Struct, kw_only=True):
    """A page of groups by id; `next` is the cursor of the page that follows, null after the last."""

    items: list[GroupLine]
    next: str | None


class MemberLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One open role: who, as what, since when and by which record; for an admin, who lent the power."""

    person_id: str
    standing: str
    since: str
    by_record: str
    granted_by: str | None = None


class MemberPage(msgspec.Struct, kw_only=True):
    """A page of members, owner and admins first; `next` is the cursor of the page that follows, null after the last."""

    items: list[MemberLine]
    next: str | None


@get("/v1/groups/{group_id:str}", operation_id="group.get", tags=["group"])
async def get_group(request: Request[Any, Any, Any], group_id: FromPath[str]) -> Response[GroupView]:
    """One group. A private one is unknown to who has no standing there; a dissolved one is gone but for staff (S051, S052)."""
    caller = await _asker(request)
    db: Db = request.app.state.db
    group, role = await _seen(db, caller, group_id)
    policy = request.app.state.editions.at(request.app.state.clock.now())
    view = _view(group, policy.parameters.info_page_members)
    if caller.kind == "person":
        view.standing = STANDING_OF[OUTSIDE if role is None else role.rank].value
    if caller.kind != "person" or role is not None:
        _tell_more(view, group)
    return Response(view, headers={"etag": f'"{group.version}"'})


@get("/v1/groups", operation_id="group.list", tags=["group"])
async def list_groups(
    request: Request[Any, Any, Any],
    owner_id: FromQuery[str | None] = None,
    klass: Annotated[GroupClass | None, QueryParameter(name="class")] = None,
    tier: Annotated[int | None, QueryParameter(ge=1, le=4)] = None,
    jurisdiction: Annotated[
        str | None,
        QueryParameter(pattern=r"^(CN|CN-[0-9]{6}|EU|EU-[A-Z]{2})$", description="And all it contains."),
    ] = None,
    lifecycle: Annotated[State | None, QueryParameter(name="state")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> GroupPage:
    """Groups by id, for the backend and staff."""
    caller = await _asker(request)
    if caller.kind == "person":
        raise Refusal(Code.REFUSED)
    after = _after(cursor, 1)
    db: Db = request.app.state.db
    async with db.read() as reader:
        rows = await sql.groups_page(
            reader,
            owner_id=owner_id,
            klass=klass,
            tier=tier,
            jurisdiction=None if jurisdiction is None else _inside(jurisdiction),
            lifecycle=lifecycle,
            after=after[0] if after else "",
            limit=limit + 1,
        )
    items = [
        GroupLine(
            group_id=row["group_id"],
            code=row["code"],
            name=row["name"],
            klass=row["klass"],
            headcount=row["member_count"],
            capacity=row["capacity"],
            tier=row["tier"],
            jurisdiction=row["jurisdiction"],
            owner_id=row["owner_id"],
            version=row["version"],
            ownerless_since=_text(row["ownerless_since"]),
            dissolved_at=_text(row["dissolved_at"]),
        )
        for row in rows[:limit]
    ]
    return GroupPage(items=items, next=_cursor(items[-1].group_id) if len(rows) > limit else None)


@get("/v1/groups/{group_id:str}/members", operation_id="group.members", tags=["group"])
async def list_members(
    request: Request[Any, Any, Any], group_id: FromPath[str], cursor: Cursor = None, limit: Limit = 100
) -> MemberPage:
    """Who is inside, for those inside, the backend and staff."""
    caller = await _asker(request)
    db: Db = request.app.state.db
    _, role = await _seen(db, caller, group_id)
    if caller.kind == "person" and role is None:
        raise Refusal(Code.REFUSED)
    after = _after(cursor, 2)
    if after and not after[0].isdigit():
        raise Refusal(Code.MALFORMED, pointer="cursor")
    async with db.read() as reader:
        rows = await sql.members_page(
            reader,
            group_id=group_id,
            after_rank=int(after[0]) if after else 4,
            after_person=after[1] if after else "",
            limit=limit + 1,
        )
    items = [
        MemberLine(
            person_id=row["person_id"],
            standing=STANDING_OF[row["rank"]].value,
            since=instant_text(row["from_at"]),
            by_record=row["by_record"],
            granted_by=row["granted_by"],
        )
        for row in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return MemberPage(
        items=items, next=None if last is None else _cursor(str(last["rank"]), last["person_id"])
    )


async def _asker(request: Request[Any, Any, Any]) -> Caller:
    """Who reads, by a key that still holds. An authority reads under its access grant, by trail.read, not here."""
    state = request.app.state
    callers: Callers = state.callers
    caller = await callers.caller({name.lower(): value for name, value in request.scope["headers"]})
    async with state.db.read() as db:
        key = (await ApiKey.look(db, [(caller.key_id,)])).get((caller.key_id,))
    if key is None or not key.holds(state.clock.now()):
        raise Refusal(Code.KEY_INVALID)
    if caller.kind == "regulator":
        raise Refusal(Code.OUTSIDE_SCOPE)
    return caller


async def _seen(db: Db, caller: Caller, group_id: str) -> tuple[Group, Role | None]:
    """The group as this caller may see it, and his role in it. Raises Refusal `unknown`, `group_dissolved`."""
    pair = (group_id, caller.person_id)
    async with db.read(snapshot=True) as reader:
        group = (await Group.look(reader, [(group_id,)])).get((group_id,))
        role = (await Role.look(reader, [pair])).get(pair)
        invited = (await JoinRequest.look(reader, [pair])).get(pair)
    if group is None:
        raise Refusal(Code.UNKNOWN)
    stranger = caller.kind == "person" and role is None and (invited is None or invited.invited_by is None)
    if stranger and group.surface() == "none":
        raise Refusal(Code.UNKNOWN)
    if group.dissolved_at is not None and caller.kind != "staff":
        raise Refusal(Code.GROUP_DISSOLVED)
    return group, role


def _view(group: Group, page_from: int) -> GroupView:
    """What anybody may know who knows of the group; its information page is due from `page_from` members (G6)."""
    return GroupView(
        group_id=group.group_id,
        code=group.code,
        name=group.name,
        klass=group.klass,
        headcount=group.member_count,
        tier=group.tier,
        jurisdiction=group.jurisdiction,
        join_mode=group.join_mode,
        discoverable=group.discoverable,
        link_open=group.link_open,
        information_page=group.discoverable or group.member_count >= page_from,
        created_at=instant_text(group.created_at),
        version=group.version,
    )


def _tell_more(view: GroupView, group: Group) -> None:
    """What those inside, the backend and staff see besides."""
    view.owner_id = group.owner_id
    view.ownerless_since = _text(group.ownerless_since)
    view.capacity = group.capacity
    view.admins = group.admin_count
    view.messages_per_day = group.messages_per_day
    view.minors = group.minors
    view.dsa_surface = group.surface()
    view.tier_basis = group.tier_basis
    view.override = None if group.override is None else msgspec.to_builtins(group.override)
    view.imported = group.imported
    view.registered_by_record = group.by_record
    view.dissolved_at = _text(group.dissolved_at)
    view.dissolved_how = group.dissolved_how
    view.dissolved_record = group.dissolved_record
    view.preserved = group.preserved


def _text(at: dt.datetime | None) -> str | None:
    return None if at is None else instant_text(at)


def _inside(territory: str) -> str:
    """A pattern of all jurisdictions that a territory contains (the glossary's rule)."""
    if "-" not in territory:
        return f"{territory}%"
    if territory.startswith("CN-"):
        return f"{territory[:5]}%" if territory.endswith("0000") else f"{territory.removesuffix('00')}%"
    return territory


def _cursor(*parts: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode()


def _after(cursor: str | None, parts: int) -> list[str]:
    """The place a cursor stands for; empty at the start. Raises Refusal `malformed`."""
    if cursor is None:
        return []
    try:
        after = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=list[str])
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        after = []
    if len(after) != parts:
        raise Refusal(Code.MALFORMED, pointer="cursor")
    return after


ROUTES = [
    governed(
        "POST",
        "/v1/groups",
        RegisterGroup,
        example={
            "group_id": "g-1",
            "name": "Neighbours of Chaoyang Road",
            "class": "community",
            "capacity": 200,
            "join_mode": "approval",
        },
    ),
    governed("PATCH", "/v1/groups/{group_id}", UpdateGroupFacts, example={"messages_per_day": 300}),
    governed("PUT", "/v1/groups/{group_id}/profile", UpdateGroupProfile, example={"join_mode": "open"}),
    governed("PUT", "/v1/groups/{group_id}/tier", RankGroup, example={"reason": "routine"}),
    governed(
        "PUT",
        "/v1/groups/{group_id}/override",
        OverrideTier,
        example={"tier": 3, "until": "2026-12-01T00:00:00Z", "reason": "activity_unusual"},
    ),
    governed("POST", "/v1/groups/{group_id}/dissolution", DissolveGroup, example={"reason": "owner_request"}),
    get_group,
    list_groups,
    list_members,
]
