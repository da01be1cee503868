"""Approvals over REST: what waits for a second person, and their yes or no."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from service.api.acting import governed
from service.api.reading import USUAL, Cursor, KnownCaller, Limit, Parameters, reader, shown, text_of
from service.clock import InstantText, instant_text
from service.db import Db, queries
from service.domain.approvals import Approval, GrantApproval, RefuseApproval
from service.errors import Code, Refusal

sql = queries(__file__)


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


class ApprovalOutline(msgspec.Struct, frozen=True, kw_only=True):
    """A proposed act as whoever proposed it sees it: whether it still waits, until when, and how it ended."""

    approval_id: str
    action: str
    target: dict[str, str]
    state: Literal["open", "granted", "refused", "lapsed"]
    persons_needed: int
    created_at: InstantText
    expires_at: InstantText
    ended_at: InstantText | None
    ended_record: str | None


class ApprovalView(ApprovalOutline, frozen=True, kw_only=True):
    """A proposed act as staff see it. `asked` is the act itself while it is open, and null afterwards and in lists."""

    proposed_by: ProposedBy
    parties: list[str]
    granted_by: list[Granted]
    digest: str
    asked: dict[str, Any] | None
    jurisdiction: str
    tier: int | None
    version: int


class ApprovalPage(msgspec.Struct, frozen=True):
    """Approvals the key opens, the first proposed first; `next` is the cursor of the page that follows, null on the last."""

    items: list[ApprovalView]
    next: str | None


def view(approval: Approval, *, whole: bool) -> ApprovalView:
    """What staff see of an approval; `whole` shows the act itself, whose digest they agree to."""
    by = approval.proposer
    return ApprovalView(
        **msgspec.structs.asdict(outline(approval)),
        proposed_by=ProposedBy(by.kind, by.key_id, by.person_id, by.staff_id),
        parties=approval.parties,
        granted_by=[Granted(one.human, one.standing, one.record) for one in approval.granted_by],
        digest=approval.digest,
        asked=_asked(approval) if whole and approval.body is not None else None,
        jurisdiction=approval.jurisdiction,
        tier=approval.tier,
        version=approval.version,
    )


def outline(approval: Approval) -> ApprovalOutline:
    """What the one who proposed it sees of an approval."""
    return ApprovalOutline(
        approval_id=approval.approval_id,
        action=approval.action,
        target={"type": approval.target_type, "id": approval.target_id},
        state=approval.state,
        persons_needed=approval.persons_needed,
        created_at=instant_text(approval.created_at),
        expires_at=instant_text(approval.expires_at),
        ended_at=text_of(approval.ended_at),
        ended_record=approval.ended_record,
    )


def _proposed(approval: Approval, caller: KnownCaller) -> bool:
    """Whether the caller proposed it; a backend, which may act for anybody, whatever any backend or person proposed."""
    by = approval.proposer
    if caller.kind == "backend":
        return by.kind in {"backend", "person"}
    return caller.kind == "person" == by.kind and caller.person_id == by.person_id


def _asked(approval: Approval) -> dict[str, Any]:
    """The act itself, member by member, its instants still instants: kept, it has them as the encoder writes them."""
    asked: dict[str, Any] = msgspec.to_builtins(approval.proposed(), builtin_types=(dt.datetime,))
    return asked


async def _staff(request: Request[Any, Any, Any]) -> KnownCaller:
    """Who reads, which only present staff may. Raises Refusal as `reader`."""
    caller = await reader(request, "approval")
    if caller.kind != "staff":
        raise Refusal(Code.REFUSED)
    return caller


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
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response[ApprovalPage]:
    """List approvals, the first proposed first. For staff."""
    asked = Parameters(request, "state", "action", "target_type", "target_id", "limit", "cursor")
    place = asked.cursor(str)
    caller = await _staff(request)
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.list_approvals(
            connection,
            after="" if place is None else place[0],
            state=state_now,
            action=action and asked.text("action"),
            target_type=target_type and asked.text("target_type"),
            target_id=target_id and asked.text("target_id"),
            most=limit + 1,
        )
    found = [Approval.from_record(row) for row in rows]
    page = found[:limit]
    following = asked.cursor_to(page[-1].approval_id) if len(found) > limit else None
    items = [view(one, whole=False) for one in page if caller.sees(one.jurisdiction, one.tier)]
    return shown(ApprovalPage(items, following))


@get("/v1/approvals/{approval_id:str}", operation_id="approval.show", tags=["approval"])
async def show_approval(
    request: Request[Any, Any, Any], approval_id: FromPath[str]
) -> Response[ApprovalView | ApprovalOutline]:
    """Show one approval: to staff what was asked, by whom, who agreed so far, until when; an outline to whoever proposed it."""
    Parameters(request)
    caller = await reader(request, "approval")
    db: Db = request.app.state.db
    async with db.read() as connection:
        row = await sql.get_approval(connection, approval_id=approval_id)
    approval = None if row is None else Approval.from_record(row)
    # Whoever may not see it is not told whether there is one.
    if caller.kind != "staff" and (approval is None or not _proposed(approval, caller)):
        raise Refusal(Code.REFUSED)
    if approval is None:
        raise Refusal(Code.UNKNOWN)
    caller.inside(approval.jurisdiction, approval.tier)
    seen = view(approval, whole=True) if caller.kind == "staff" else outline(approval)
    return shown(seen, version=approval.version)


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
