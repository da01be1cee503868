"""Retention over REST: legal holds, erasure of persons, redaction of single values, retirement of bodies."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter

from service.api.acting import governed
from service.api.reading import USUAL, Cursor, KnownCaller, Limit, Parameters, reader, shown
from service.caller import Standing
from service.db import queries
from service.domain.retention.erasure import ErasePerson
from service.domain.retention.facts import LegalHold
from service.domain.retention.holds import ReleaseLegalHold, SetLegalHold
from service.domain.retention.records import RedactField, RetireRecords
from service.domain.trails import SubjectType
from service.errors import Code, Refusal

sql = queries(__file__)
_STATES = ("open", "released")


class HoldSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold: what it names, who set it, why, and whether it was released. The note is in the record `hold_id`."""

    hold_id: str
    subject_type: str
    subject_id: str
    set_by: str
    reason: str
    jurisdiction: str
    from_at: dt.datetime
    ended_at: dt.datetime | None
    ended_record: str | None
    version: int


class HoldPage(msgspec.Struct, frozen=True):
    """Legal holds that the key opens, the first set first; `next` is the cursor of the page that follows, null on the last."""

    items: list[HoldSeen]
    next: str | None


async def _keeper(request: Request[Any, Any, Any]) -> KnownCaller:
    """Who reads holds: compliance and auditors; to others a hold could tell of proceedings. Raises Refusal as `reader`."""
    caller = await reader(request, "legal_hold")
    if not {Standing.COMPLIANCE, Standing.AUDITOR} & set(caller.standings):
        raise Refusal(Code.REFUSED)
    return caller


def _seen(hold: LegalHold) -> HoldSeen:
    return msgspec.convert(hold, HoldSeen, from_attributes=True)


@get("/v1/legal-holds", operation_id="legal_hold.list", tags=["legal_hold"])
async def list_holds(
    request: Request[Any, Any, Any],
    *,
    state_now: Annotated[Literal["open", "released"] | None, QueryParameter(name="state")] = None,
    subject_type: Annotated[SubjectType | None, QueryParameter()] = None,
    subject_id: Annotated[str | None, QueryParameter()] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response[HoldPage]:
    """List legal holds, the first set first. For compliance and auditors."""
    asked = Parameters(request, "state", "subject_type", "subject_id", "limit", "cursor")
    place = asked.cursor(str)
    caller = await _keeper(request)
    async with request.app.state.db.read() as db:
        rows = await sql.list_holds(
            db,
            after="" if place is None else place[0],
            state=state_now and asked.one_of("state", _STATES),
            subject_type=subject_type and asked.text("subject_type"),
            subject_id=subject_id and asked.id("subject_id"),
            most=limit + 1,
        )
    found = [LegalHold.from_record(row) for row in rows]
    page = found[:limit]
    following = asked.cursor_to(page[-1].hold_id) if len(found) > limit else None
    return shown(HoldPage([_seen(one) for one in page if caller.sees(one.jurisdiction)], following))


@get("/v1/legal-holds/{hold_id:str}", operation_id="legal_hold.get", tags=["legal_hold"])
async def get_hold(request: Request[Any, Any, Any], hold_id: FromPath[str]) -> Response[HoldSeen]:
    """One legal hold, with the version as ETag. For compliance and auditors."""
    Parameters(request)
    caller = await _keeper(request)
    async with request.app.state.db.read() as db:
        row = await sql.get_hold(db, hold_id=hold_id)
    if row is None:
        raise Refusal(Code.UNKNOWN)
    hold = LegalHold.from_record(row)
    caller.inside(hold.jurisdiction)
    return shown(_seen(hold), version=hold.version)


_BASIS = {"legal_basis": ["pipl:art.47"]}
ROUTES = [
    list_holds,
    get_hold,
    governed(
        "POST",
        "/v1/legal-holds",
        SetLegalHold,
        example={"subject_type": "person", "subject_id": "dan", "reason": "proceedings"},
    ),
    governed("DELETE", "/v1/legal-holds/{hold_id}", ReleaseLegalHold, example={"reason": "proceedings_over"}),
    governed("POST", "/v1/people/{person_id}/erasure", ErasePerson, example=_BASIS),
    governed(
        "POST", "/v1/records/{record_id}/redaction", RedactField, example={"fields": ["note"], **_BASIS}
    ),
    governed(
        "POST",
        "/v1/record-retirements",
        RetireRecords,
        example={"from_index": 1, "to_index": 5000, "legal_basis": ["pipl:art.19"]},
    ),
]
