"""Approvals over REST: what waits for a second person, and their yes or no."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from service.action import ID_PATTERN
from service.api.acting import governed
from service.clock import instant_text
from service.db import Db, queries
from service.domain.approvals import Approval, GrantApproval, RefuseApproval
from service.domain.keys import ApiKey
from service.domain.staff import OpenRoles
from service.errors import Code, Refusal

sql = queries(__file__)
USUAL, MOST = 50, 200


class ProposedBy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who proposed: a person through a backend's key, staff, or the backend itself."""

    kind: str
    key_id: str = ""
    person_id: str = ""
    staff_id: str = ""


class Granted(msgspec.Struct, frozen=True):
    """One yes: whose, as what, by which record."""

    human: str
    standing: str
    record_id: str


class ApprovalView(msgspec.Struct, frozen=True, kw_only=True):
    """A proposed act as staff see it. `asked` is the act itself while it is open, and null afterwards and in lists."""

    approval_id: str
    action: str
    target: dict[str, str]
    state: Literal["open", "granted", "refused", "lapsed"]
    proposed_by: ProposedBy
    parties: list[str]
    persons_needed: int
    granted_by: list[Granted]
    digest: str
    asked: dict[str, Any] | None
    jurisdiction: str
    tier: int | None
    created_at: str
    expires_at: str
    ended_at: str | None
    ended_record: str | None
    version: int


class ApprovalPage(msgspec.Struct, frozen=True):
    """Some approvals, the first proposed first; `next` is the cursor of the page that follows, null on the last."""

    items: list[ApprovalView]
    next: str | None


def _text(at: dt.datetime | None) -> str | None:
    return None if at is None else instant_text(at)


def view(approval: Approval, *, whole: bool) -> ApprovalView:
    """What staff see of an approval; `whole` shows the act itself, whose digest they agree to."""
    by = approval.proposer
    return ApprovalView(
        approval_id=approval.approval_id,
        action=approval.action,
        target={"type": approval.target_type, "id": approval.target_id},
        state=approval.state,
        proposed_by=ProposedBy(by.kind, by.key_id, by.person_id, by.staff_id),
        parties=approval.parties,
        persons_needed=approval.persons_needed,
        granted_by=[Granted(one.human, one.standing, one.record) for one in approval.granted_by],
        digest=approval.digest,
        asked=msgspec.json.decode(approval.body) if whole and approval.body is not None else None,
        jurisdiction=approval.jurisdiction,
        tier=approval.tier,
        created_at=instant_text(approval.created_at),
        expires_at=instant_text(approval.expires_at),
        ended_at=_text(approval.ended_at),
        ended_record=approval.ended_record,
        version=approval.version,
    )


async def _read_by_staff(request: Request[Any, Any, Any]) -> None:
    """Refuse everybody but present staff with a key that holds now: `key_invalid`, `refused`."""
    headers = {name.lower(): value for name, value in request.scope["headers"]}
    state = request.app.state
    caller = await state.callers.caller(headers)
    db: Db = state.db
    async with db.read() as reader:
        keys = await ApiKey.look(reader, [(caller.key_id,)])
        roles = await OpenRoles.look(reader, [(caller.staff_id,)])
    key = keys.get((caller.key_id,))
    if key is None or not key.holds(state.clock.now()):
        raise Refusal(Code.KEY_INVALID)
    if caller.kind != "staff" or not roles[caller.staff_id,].standings():
        raise Refusal(Code.REFUSED)


def _after(cursor: str | None) -> str:
    """The place a cursor stands for. Raises Refusal `malformed`."""
    if cursor is None:
        return ""
    try:
        place = base64.urlsafe_b64decode(cursor.encode()).decode("ascii")
    except (binascii.Error, UnicodeError, ValueError):
        place = ""
    if not ID_PATTERN.fullmatch(place):
        raise Refusal(Code.MALFORMED, pointer="cursor")
    return place


@get("/v1/approvals", operation_id="approval.list", tags=["approval"])
async def list_approvals(
    request: Request[Any, Any, Any],
    *,
    state_now: Annotated[
        Literal["open", "granted", "refused", "lapsed"] | None, QueryParameter(name="state")
    ] = None,
    action: FromQuery[str | None] = None,
    target_type: FromQuery[str | None] = None,
    target_id: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MOST)] = USUAL,
    cursor: FromQuery[str | None] = None,
) -> ApprovalPage:
    """List approvals, the first proposed first. For staff."""
    await _read_by_staff(request)
    db: Db = request.app.state.db
    async with db.read() as reader:
        rows = await sql.list_approvals(
            reader,
            after=_after(cursor),
            state=state_now,
            action=action,
            target_type=target_type,
            target_id=target_id,
            most=limit + 1,
        )
    found = [Approval.from_record(row) for row in rows]
    more = len(found) > limit
    page = found[:limit]
    following = base64.urlsafe_b64encode(page[-1].approval_id.encode()).decode() if more else None
    return ApprovalPage([view(one, whole=False) for one in page], following)


@get("/v1/approvals/{approval_id:str}", operation_id="approval.show", tags=["approval"])
async def show_approval(
    request: Request[Any, Any, Any], approval_id: FromPath[str]
) -> Response[ApprovalView]:
    """Show one approval: what was asked, by whom, who agreed so far, until when. For staff."""
    await _read_by_staff(request)
    db: Db = request.app.state.db
    async with db.read() as reader:
        row = await sql.get_approval(reader, approval_id=approval_id)
    if row is None:
        raise Refusal(Code.UNKNOWN)
    approval = Approval.from_record(row)
    return Response(view(approval, whole=True), headers={"etag": f'"{approval.version}"'})


ROUTES = [
    list_approvals,
    show_approval,
    governed("POST", "/v1/approvals/{approval_id}/grant", GrantApproval, example={}),
    governed(
        "POST",
        "/v1/approvals/{approval_id}/refusal",
        RefuseApproval,
        example={"reason": "facts_insufficient"},
    ),
]
