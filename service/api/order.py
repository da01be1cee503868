"""Order inside groups over REST: mutes, removals, bars, items, offices; and who is muted, who was admin, at any instant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from service.action import ID_PATTERN
from service.api.acting import governed
from service.api.documentation import refuses, shows
from service.api.groups import group_needs, seen_group
from service.api.lane import HOT
from service.api.reading import USUAL, Cursor, Limit, Parameters, instant_of, looked, shown, text_of
from service.clock import InstantText, instant_text, to_us
from service.db import Db, queries
from service.domain.groups.bars import BarMember, RemoveMember, UnbarMember
from service.domain.groups.facts import ADMIN, MEMBER, OUTSIDE, OWNER, STANDING_OF
from service.domain.groups.items import HideItem, PinNotice, RestoreItem
from service.domain.groups.mutes import MuteAll, MuteMember, UnmuteAll, UnmuteMember
from service.domain.groups.office import AppointAdmin, DismissAdmin, StepDown
from service.errors import Code, Refusal
from service.looking import Gather

sql = queries(__file__)
_RANK_OF = {"owner": OWNER, "admin": ADMIN, "member": MEMBER}


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """One silence that holds for the person: which kind, by which record, from when until when (null: permanent)."""

    kind: Literal["mute", "mute_all"]
    by_record: str
    set_by: Literal["owner", "admin"]
    from_at: InstantText
    until: InstantText | None


class MuteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a person was silenced in a group at an instant, and everything that held (S043).

    `until`: the last end of what holds now; null with `muted` true: permanent. `standing`: what the person was then.
    """

    group_id: str
    person_id: str
    at: InstantText
    standing: str
    muted: bool
    until: InstantText | None
    holds: list[Silence]


class RoleThen(msgspec.Struct, frozen=True, kw_only=True):
    """One role as it was held: from when, by which record, and for an admin by whose hand (S056)."""

    person_id: str
    standing: str
    from_at: InstantText
    until_at: InstantText | None
    by_record: str
    granted_by: str | None
    ended_record: str | None


class RolesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who held which role in a group at an instant (G8), highest first; `next` is the cursor of the next page."""

    group_id: str
    at: InstantText
    roles: list[RoleThen]
    next: str | None


Silences = Gather[tuple[str, str, dt.datetime], list[Any]]
"""Asked for a group, a person and an instant, tells the role and the silences that held."""


def silences_of(db: Db, limit: int) -> Silences:
    """What finds silences, for up to `limit` who ask meanwhile in one statement."""

    async def find(asked: Sequence[tuple[str, str, dt.datetime]]) -> list[list[Any]]:
        group_ids, person_ids, ats = (list(column) for column in zip(*asked, strict=True))
        found: list[list[Any]] = [[] for _ in asked]
        async with db.read() as connection:
            rows = await sql.silences_at(connection, group_ids=group_ids, person_ids=person_ids, ats=ats)
        for row in rows:
            found[row["place"] - 1].append(row)
        return found

    return Gather(find, limit)


@get(
    "/v1/groups/{group_id:str}/mutes/{person_id:str}",
    operation_id="group.muted",
    summary="Is this person muted here, until when, by which act?",
    tags=["group"],
    opt=HOT
    | shows(MuteAnswer, query={"at": "The instant asked about; now if not said."})
    | refuses(Code.GROUP_DISSOLVED),
)
async def muted(
    request: Request[Any, Any, Any], group_id: FromPath[str], person_id: FromPath[str]
) -> Response[bytes]:
    """Answer from the person's own mute and the whole group's; asked by the person, who manages the group, staff or the backend."""
    asked = Parameters(request, "at")
    when = asked.instant("at") or request.app.state.clock.now()
    caller, facts = await looked(request, "group", group_needs(group_id))
    group, role = seen_group(caller, facts, group_id, past=True)
    rank = OUTSIDE if role is None else role.rank
    if caller.kind == "person" and rank < ADMIN and caller.person_id != person_id:
        raise Refusal(Code.REFUSED)
    if not ID_PATTERN.fullmatch(person_id):
        raise Refusal(Code.UNKNOWN, kind="person")
    silences: Silences = request.app.state.silences
    rows = await silences.ask((group_id, person_id, when))
    then = next((row["by_rank"] for row in rows if row["kind"] == "role"), OUTSIDE)
    # Owner and admins speak while the group is silenced by one of them (S029), not while muted themselves.
    holding = [row for row in rows if row["kind"] == "mute" or (row["kind"] == "mute_all" and then < ADMIN)]
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
                until=text_of(row["until"]),
            )
            for row in holding
        ],
    )
    return shown(answer, version=group.version)


@get(
    "/v1/groups/{group_id:str}/roles",
    operation_id="group.roles",
    summary="Who held which role at an instant, by which record, granted by whom?",
    tags=["group"],
    opt=refuses(Code.GROUP_DISSOLVED),
)
async def roles(
    request: Request[Any, Any, Any],
    group_id: FromPath[str],
    at: FromQuery[str | None] = None,
    standing: FromQuery[Literal["owner", "admin", "member"] | None] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response[RolesAnswer]:
    """Page through the roles of one instant; for those inside the group, staff and the backend."""
    asked = Parameters(request, "at", "standing", "limit", "cursor")
    place = asked.cursor(int, int, str)
    # All pages speak of the instant of the first.
    then = None if place is None else instant_of(place[0])
    when = then or asked.instant("at") or request.app.state.clock.now()
    caller, facts = await looked(request, "group", group_needs(group_id))
    group, role = seen_group(caller, facts, group_id, past=True)
    if caller.kind == "person" and role is None:
        raise Refusal(Code.REFUSED)
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.roles_at(
            connection,
            group_id=group_id,
            at=when,
            rank=None if standing is None else _RANK_OF[standing],
            after_rank=OWNER + 1 if place is None else place[1],
            after_person="" if place is None else place[2],
            most=limit + 1,
        )
    page = rows[:limit]
    more = None
    if len(rows) > limit:
        more = asked.cursor_to(to_us(when), page[-1]["rank"], page[-1]["person_id"])
    answer = RolesAnswer(
        group_id=group_id,
        at=instant_text(when),
        roles=[
            RoleThen(
                person_id=row["person_id"],
                standing=STANDING_OF[row["rank"]].value,
                from_at=instant_text(row["from_at"]),
                until_at=text_of(row["until_at"]),
                by_record=row["by_record"],
                granted_by=row["granted_by"],
                ended_record=row["ended_record"],
            )
            for row in page
        ],
        next=more,
    )
    return shown(answer, version=group.version)


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
