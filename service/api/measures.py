"""Measures over REST: lifted by staff, read by whom they bind, by the backend and by staff; and what they take away now."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from service.api.acting import governed
from service.api.credit import credit_now
from service.api.reading import USUAL, Cursor, KnownCaller, Limit, Parameters, reader, shown, text_of
from service.clock import InstantText, instant_text
from service.db import Db, queries
from service.db.pool import Reader
from service.domain import credit
from service.domain.credit import Level
from service.domain.in_force import Measure, TargetType, Use
from service.domain.measures.acts import LiftMeasure
from service.domain.notices import Notice, Parts
from service.errors import Code, Refusal
from service.policy import Policy

sql = queries(__file__)


class NoticeView(msgspec.Struct, frozen=True, kw_only=True):
    """A notice of reasons, with the record of the act it came with."""

    notice_id: str
    measure_id: str | None
    to: str
    about: dict[str, str]
    parts: Parts
    at: InstantText
    record_id: str


class NoticePage(msgspec.Struct, frozen=True, kw_only=True):
    """Notices that the caller may see, the first made first; `next` is the cursor of the following page."""

    items: list[NoticeView]
    next: str | None


class MeasureView(msgspec.Struct, frozen=True, kw_only=True):
    """One measure: what it binds, on what it rests, by which records it began and ended, what it takes away while in force.

    `takes_away` holds within `scope`: among an account's uses, P_FIELD_SUSPEND of another field takes nothing.
    """

    measure_id: str
    code: str
    target: dict[str, str]
    scope: str | None
    jurisdiction: str
    state: str
    from_at: InstantText = msgspec.field(name="from")
    until: InstantText | None
    ground: str
    basis: list[str]
    facts: dict[str, Any]
    imposed_as: str
    takes_away: list[Use]
    dsa_surface: str
    coupled_to: str | None
    record_id: str
    ended_at: InstantText | None
    ended_record: str | None
    lift_reason: str | None
    version: int


class MeasurePage(msgspec.Struct, frozen=True, kw_only=True):
    """Measures that the caller may see, the first imposed first; `next` is the cursor of the following page."""

    items: list[MeasureView]
    next: str | None


class MeasureWithNotices(msgspec.Struct, frozen=True, kw_only=True):
    """One measure with the notices it gave: of its beginning, and of its lifting."""

    measure: MeasureView
    notices: list[NoticeView]


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One use of an account: whether it may be made now, why not (`code`), and by which measures; `until` is the last end of all that stands in the way.

    `code`: `not_in_state`, `measure_forbids`, `credit_too_low` (to manage comments, P2), or `monetisation_rests` (after a
    transfer, S100); "" where it may be made. `source`: the line of the edition that asks for more credit than its operator
    has, also beside a measure; nobody knows until when it has not.
    """

    use: Use
    may: bool
    code: str
    by: list[str]
    until: InstantText | None
    source: str | None


class Uses(msgspec.Struct, frozen=True, kw_only=True):
    """What other services may let an account do at an instant (S131). `class` is the one field in which it publishes.

    `code` says why not all is free: `not_in_state` (it waits or is closed, and nothing is); `measure_forbids` where a measure
    is; `credit_too_low` where it is its operator's credit; `monetisation_rests` where nothing but its last transfer stands in
    the way (S100). `until` is the instant it is free again. `edition`: the one in force, of which a `source` is a line.
    """

    account_id: str
    klass: str = msgspec.field(name="class")
    at: InstantText
    edition: str
    code: str
    uses: list[Taken]
    measures: list[MeasureView]


_USES: tuple[Use, ...] = (
    "publish",
    "monetise",
    "advertise",
    "recommended",
    "gain_followers",
    "interact",
    "manage_comments",
)

_WHY = (Code.NOT_IN_STATE.value, "measure_forbids", Code.CREDIT_TOO_LOW.value, "monetisation_rests")
"""Why a use may not be made, the first that holds."""


@get("/v1/measures", operation_id="measure.list", tags=["measure"])
async def list_measures(
    request: Request[Any, Any, Any],
    target_type: FromQuery[TargetType | None] = None,
    target_id: FromQuery[str | None] = None,
    code: FromQuery[str | None] = None,
    imposed_as: FromQuery[Literal["platform", "automation", "authority"] | None] = None,
    at: FromQuery[dt.datetime | None] = None,
    in_force: Annotated[bool, QueryParameter(description="Only those in force now, or `at`.")] = False,
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[MeasurePage]:
    """Measures by target, code, who imposed them, and whether in force now or at any instant; those that bind what one answers for."""
    del at
    asked = Parameters(
        request, "target_type", "target_id", "code", "imposed_as", "at", "in_force", "cursor", "limit"
    )
    place = asked.cursor(str)
    caller = await reader(request, "measure")
    now: dt.datetime = request.app.state.clock.now()
    instant = asked.instant("at") or (now if in_force else None)
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await _rows(
            connection,
            caller,
            after="" if place is None else place[0],
            target_type=target_type,
            target_id=target_id,
            code=code,
            imposed_as=imposed_as,
            at=instant,
            most=limit + 1,
        )
    items = [_view(one, instant or now) for one in rows[:limit] if caller.sees(one.jurisdiction)]
    following = asked.cursor_to(rows[limit - 1].measure_id) if len(rows) > limit else None
    return shown(MeasurePage(items=items, next=following))


@get("/v1/measures/{measure_id:str}", operation_id="measure.get", tags=["measure"])
async def get_measure(
    request: Request[Any, Any, Any], measure_id: FromPath[str]
) -> Response[MeasureWithNotices]:
    """One measure with its notices. Somebody else's and an unknown one answer alike (S161)."""
    Parameters(request)
    caller = await reader(request, "measure")
    db: Db = request.app.state.db
    async with db.read(snapshot=True) as connection:
        rows = await _rows(connection, caller, measure_id=measure_id, most=1)
        if not rows:
            raise Refusal(Code.UNKNOWN)
        caller.inside(rows[0].jurisdiction)
        found = await sql.notices(
            connection, after="", notice_id=None, measure_id=measure_id, person=None, most=10
        )
    now: dt.datetime = request.app.state.clock.now()
    notices = [_notice(Notice.from_record(one)) for one in found]
    answer = MeasureWithNotices(measure=_view(rows[0], now), notices=notices)
    return shown(answer, version=rows[0].version)


@get("/v1/notices", operation_id="notice.list", tags=["notice"])
async def list_notices(
    request: Request[Any, Any, Any], cursor: Cursor = None, limit: Limit = USUAL
) -> Response[NoticePage]:
    """One's own notices of reasons; for staff and the backend, all."""
    asked = Parameters(request, "cursor", "limit")
    place = asked.cursor(str)
    caller = await reader(request, "notice")
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.notices(
            connection,
            after="" if place is None else place[0],
            notice_id=None,
            measure_id=None,
            person=_person(caller),
            most=limit + 1,
        )
    found = [Notice.from_record(row) for row in rows]
    items = [_notice(one) for one in found[:limit] if caller.sees(one.jurisdiction)]
    following = asked.cursor_to(found[limit - 1].notice_id) if len(found) > limit else None
    return shown(NoticePage(items=items, next=following))


@get("/v1/notices/{notice_id:str}", operation_id="notice.get", tags=["notice"])
async def get_notice(request: Request[Any, Any, Any], notice_id: FromPath[str]) -> Response[NoticeView]:
    """One notice, for whom it is, the backend and staff; to others there is no such thing."""
    Parameters(request)
    caller = await reader(request, "notice")
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.notices(
            connection, after="", notice_id=notice_id, measure_id=None, person=_person(caller), most=1
        )
    if not rows:
        raise Refusal(Code.UNKNOWN)
    found = Notice.from_record(rows[0])
    caller.inside(found.jurisdiction)
    return shown(_notice(found))


@get("/v1/accounts/{account_id:str}/uses", operation_id="account.uses", tags=["account"])
async def get_uses(request: Request[Any, Any, Any], account_id: FromPath[str]) -> Response[Uses]:
    """What an account may do now, use by use, and what takes the rest away: measures, its operator's credit, a transfer; for inside only."""
    Parameters(request)
    caller = await reader(request, "account")
    now: dt.datetime = request.app.state.clock.now()
    db: Db = request.app.state.db
    async with db.read(snapshot=True) as connection:
        account = await sql.account_uses(connection, account_id=account_id)
        if account is None or _person(caller) not in {None, account["answerable_person"]}:
            raise Refusal(Code.UNKNOWN)
        caller.inside(account["jurisdiction"], account["tier"])
        rows = await _rows(connection, None, target_type="account", target_id=account_id, at=now, most=500)
        ledger = await credit_now(connection, "operator", account["operator_id"])
    rests = account["monetisation_eligible_at"]
    rests = None if rests is None or rests <= now else rests
    policy: Policy = request.app.state.editions.at(now)
    level = credit.level(policy.parameters, ledger, verified=account["operator_verified"])
    asks = _asks_more_credit(policy, account["tier"], level) if account["lives"] else None
    taken = [
        _taken(
            use,
            [one for one in rows if use in one.takes_away(account["klass"])],
            rests=rests if use == "monetise" else None,
            asks=asks if use == "manage_comments" else None,
            lives=account["lives"],
        )
        for use in _USES
    ]
    codes = [one.code for one in taken if one.code]
    answer = Uses(
        account_id=account_id,
        klass=account["klass"],
        at=instant_text(now),
        edition=policy.edition,
        code=min(codes, key=_WHY.index, default=""),
        uses=taken,
        measures=[_view(one, now, account["klass"]) for one in rows],
    )
    return shown(answer)


def _asks_more_credit(policy: Policy, tier: int | None, level: Level | None) -> str | None:
    """The line that asks for more credit to manage comments than this level; None: it is enough, or there is no tier yet."""
    if tier is None or tier in credit.tiers_allowed(policy, "account", level):
        return None
    return f"account.effect.comment_credit_min.{tier}"


def _taken(use: Use, by: list[Measure], *, rests: dt.datetime | None, asks: str | None, lives: bool) -> Taken:
    ends = [one.until for one in by] + ([] if rests is None else [rests]) + ([] if asks is None else [None])
    last = None if not ends or None in ends else max(end for end in ends if end is not None)
    reasons = zip(_WHY, (not lives, by, asks, rests), strict=True)
    code = next((why for why, holds in reasons if holds), "")
    ids = [one.measure_id for one in by]
    return Taken(use=use, may=not code, code=code, by=ids, until=text_of(last), source=asks)


def _person(caller: KnownCaller) -> str | None:
    """Whose things alone the caller sees; None: everybody's."""
    return caller.person_id if caller.kind == "person" else None


async def _rows(connection: Reader, caller: KnownCaller | None, **asked: Any) -> list[Measure]:
    wanted: dict[str, Any] = {
        "after": "",
        "measure_id": None,
        "target_type": None,
        "target_id": None,
        "code": None,
        "imposed_as": None,
        "at": None,
        "person": None if caller is None else _person(caller),
    }
    return [Measure.from_record(row) for row in await sql.measures(connection, **(wanted | asked))]


def _view(one: Measure, at: dt.datetime, klass: str | None = None) -> MeasureView:
    return MeasureView(
        measure_id=one.measure_id,
        code=one.code,
        target={"type": one.target_type, "id": one.target_id},
        scope=one.scope,
        jurisdiction=one.jurisdiction,
        state=one.state(at),
        from_at=instant_text(one.from_at),
        until=text_of(one.until),
        ground=one.ground,
        basis=one.basis,
        facts=one.facts,
        imposed_as=one.imposed_as,
        takes_away=list(one.takes_away(klass)),
        dsa_surface=one.dsa_surface,
        coupled_to=one.coupled_to,
        record_id=one.by_record,
        ended_at=text_of(one.ended_at),
        ended_record=one.ended_record,
        lift_reason=one.lift_reason,
        version=one.version,
    )


def _notice(one: Notice) -> NoticeView:
    return NoticeView(
        notice_id=one.notice_id,
        measure_id=one.measure_id,
        to=one.to_person,
        about={"type": one.about_type, "id": one.about_id},
        parts=one.parts,
        at=instant_text(one.at),
        record_id=one.by_record,
    )


ROUTES = [
    governed(
        "POST",
        "/v1/measures/{measure_id}/lifting",
        LiftMeasure,
        example={"reason": "error_corrected"},
    ),
    list_measures,
    get_measure,
    list_notices,
    get_notice,
    get_uses,
]
