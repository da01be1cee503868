"""Groups over REST: their life, their tier, and reading them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from service.action import ID_PATTERN, Need
from service.api.acting import governed
from service.api.documentation import refuses
from service.api.lane import HOT
from service.api.reading import (
    USUAL,
    Cursor,
    KnownCaller,
    Limit,
    Parameters,
    Territory,
    looked,
    reader,
    shown,
    text_of,
)
from service.caller import Caller
from service.clock import InstantText, instant_text
from service.db import Db, queries
from service.domain.groups.dissolving import DissolveGroup
from service.domain.groups.facts import (
    OUTSIDE,
    OWNER,
    STANDING_OF,
    Group,
    GroupClass,
    JoinMode,
    Override,
    Role,
    Surface,
)
from service.domain.groups.joining import JoinRequest
from service.domain.groups.life import RegisterGroup, UpdateGroupFacts, UpdateGroupProfile
from service.domain.groups.ranking import OverrideTier, RankGroup, basis_of
from service.domain.tiers import Basis
from service.errors import Code, Refusal
from service.looking import Facts

sql = queries(__file__)

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
    created_at: InstantText
    version: int
    standing: str | None = None
    owner_id: str | None = None
    ownerless_since: InstantText | None = None
    capacity: int | None = None
    admins: int | None = None
    messages_per_day: int | None = None
    minors: str | None = None
    dsa_surface: Surface | None = None
    tier_basis: Basis | None = None
    override: Override | None = None
    next_recheck_at: InstantText | None = None
    imported: bool | None = None
    registered_by_record: str | None = None
    dissolved_at: InstantText | None = None
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
    ownerless_since: InstantText | None = None
    dissolved_at: InstantText | None = None


class GroupPage(msgspec.Struct, kw_only=True):
    """A page of groups by id, those the key opens; `next` is the cursor of the page that follows, null after the last."""

    items: list[GroupLine]
    next: str | None


class MemberLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One open role: who, as what, since when and by which record; for an admin, who lent the power."""

    person_id: str
    standing: str
    since: InstantText
    by_record: str
    granted_by: str | None = None


class MemberPage(msgspec.Struct, kw_only=True):
    """A page of members, owner and admins first; `next` is the cursor of the page that follows, null after the last."""

    items: list[MemberLine]
    next: str | None


@get(
    "/v1/groups/{group_id:str}",
    operation_id="group.get",
    tags=["group"],
    opt=HOT | refuses(Code.GROUP_DISSOLVED),
)
async def get_group(request: Request[Any, Any, Any], group_id: FromPath[str]) -> Response[GroupView]:
    """One group. A private one is unknown to who has no standing there; a dissolved one is gone but for staff (S051, S052)."""
    Parameters(request)
    caller, facts = await looked(request, "group", group_needs(group_id))
    group, role = seen_group(caller, facts, group_id)
    policy = request.app.state.editions.at(request.app.state.clock.now())
    view = _view(group, policy.parameters.info_page_members)
    if caller.kind == "person":
        view.standing = STANDING_OF[OUTSIDE if role is None else role.rank].value
    if caller.kind != "person" or role is not None:
        _tell_more(view, group)
    return shown(view, version=group.version)


@get("/v1/groups", operation_id="group.list", tags=["group"])
async def list_groups(
    request: Request[Any, Any, Any],
    owner_id: FromQuery[str | None] = None,
    klass: Annotated[GroupClass | None, QueryParameter(name="class")] = None,
    tier: Annotated[int | None, QueryParameter(ge=1, le=4)] = None,
    jurisdiction: Territory = None,
    lifecycle: Annotated[State | None, QueryParameter(name="state")] = None,
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[GroupPage]:
    """Groups by id, for the backend and staff."""
    asked = Parameters(request, "owner_id", "class", "tier", "jurisdiction", "state", "cursor", "limit")
    place = asked.cursor(str)
    caller = await reader(request, "group")
    if caller.kind == "person":
        raise Refusal(Code.REFUSED)
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.groups_page(
            connection,
            owner_id=owner_id,
            klass=klass,
            tier=tier,
            jurisdiction=None if jurisdiction is None else _inside(jurisdiction),
            lifecycle=lifecycle,
            after="" if place is None else place[0],
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
            ownerless_since=text_of(row["ownerless_since"]),
            dissolved_at=text_of(row["dissolved_at"]),
        )
        for row in rows[:limit]
        if caller.sees(row["jurisdiction"], row["tier"])
    ]
    further = asked.cursor_to(rows[limit - 1]["group_id"]) if len(rows) > limit else None
    return shown(GroupPage(items=items, next=further))


@get(
    "/v1/groups/{group_id:str}/members",
    operation_id="group.members",
    tags=["group"],
    opt=refuses(Code.GROUP_DISSOLVED),
)
async def list_members(
    request: Request[Any, Any, Any], group_id: FromPath[str], cursor: Cursor = None, limit: Limit = USUAL
) -> Response[MemberPage]:
    """Who is inside, for those inside, the backend and staff."""
    asked = Parameters(request, "cursor", "limit")
    place = asked.cursor(int, str)
    caller, facts = await looked(request, "group", group_needs(group_id))
    _, role = seen_group(caller, facts, group_id)
    if caller.kind == "person" and role is None:
        raise Refusal(Code.REFUSED)
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.members_page(
            connection,
            group_id=group_id,
            after_rank=OWNER + 1 if place is None else place[0],
            after_person="" if place is None else place[1],
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
    further = None if last is None else asked.cursor_to(last["rank"], last["person_id"])
    return shown(MemberPage(items=items, next=further))


def group_needs(group_id: str) -> Callable[[Caller], Sequence[Need]]:
    """The rows that `seen_group` asks for: the group, and what the caller is in it."""

    def needs(caller: Caller) -> Sequence[Need]:
        if not ID_PATTERN.fullmatch(group_id):
            return ()
        pair = (group_id, caller.person_id)
        inside = (Need(Role, pair), Need(JoinRequest, pair)) if caller.kind == "person" else ()
        return (Need(Group, (group_id,)), *inside)

    return needs


def seen_group(
    caller: KnownCaller, facts: Facts, group_id: str, *, past: bool = False
) -> tuple[Group, Role | None]:
    """The group as this caller may see it, and the caller's role in it.

    A private group is unknown to strangers, but not to whoever is invited. A dissolved one is read by staff (S052) and,
    where an instant of the `past` is asked for, by the backend. Raises Refusal `unknown`, `key_scope`, `group_dissolved`.
    """
    pair = (group_id, caller.person_id)
    group: Group | None = facts.get(Group, {}).get((group_id,))
    if group is None:
        raise Refusal(Code.UNKNOWN)
    role: Role | None = None
    if caller.kind == "person":
        role = facts[Role][pair]
        invited: JoinRequest | None = facts[JoinRequest][pair]
        if role is None and group.surface() == "none" and (invited is None or invited.invited_by is None):
            raise Refusal(Code.UNKNOWN)
    caller.inside(group.jurisdiction, group.tier)
    if group.dissolved_at is not None and caller.kind != "staff" and not (past and caller.kind == "backend"):
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
    view.ownerless_since = text_of(group.ownerless_since)
    view.capacity = group.capacity
    view.admins = group.admin_count
    view.messages_per_day = group.messages_per_day
    view.minors = group.minors
    view.dsa_surface = group.surface()
    view.tier_basis = basis_of(group)
    view.override = group.override
    view.next_recheck_at = text_of(group.next_recheck_at)
    view.imported = group.imported
    view.registered_by_record = group.by_record
    view.dissolved_at = text_of(group.dissolved_at)
    view.dissolved_how = group.dissolved_how
    view.dissolved_record = group.dissolved_record
    view.preserved = group.preserved


def _inside(territory: str) -> str:
    """A pattern of all jurisdictions that a territory contains (the glossary's rule)."""
    if "-" not in territory:
        return f"{territory}%"
    if territory.startswith("CN-"):
        return f"{territory[:5]}%" if territory.endswith("0000") else f"{territory.removesuffix('00')}%"
    return territory


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
