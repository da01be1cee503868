"""Dormancy over REST: who was warned, who is paused and who waits for a human's decision; and waking (S102, S103)."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromQuery

from service.api.acting import governed
from service.api.reading import USUAL, Cursor, Limit, Parameters, reader, shown, text_of
from service.clock import InstantText, instant_text
from service.db import Db, queries
from service.domain.accounts.facts import AccountClass
from service.domain.measures.dormancy import WakeAccount, pause_due
from service.errors import Code, Refusal
from service.policy import Policy

sql = queries(__file__)

Stage = Literal["warned", "paused", "to_decide"]


class DormantView(msgspec.Struct, frozen=True, kw_only=True):
    """One dormant account. `pause_due_at`: when it is paused unless used; `decision_due_at`: from when a human may end it.

    `stage`: `warned`, `paused`, or `to_decide`: paused and unused so long that a human is to decide; nothing ends by itself.
    """

    account_id: str
    name: str
    klass: AccountClass = msgspec.field(name="class")
    jurisdiction: str
    operator_id: str
    stage: Stage
    unused_since: InstantText
    warned_at: InstantText
    warned_record: str
    pause_due_at: InstantText
    paused_at: InstantText | None
    measure_id: str | None
    decision_due_at: InstantText


class DormantPage(msgspec.Struct, frozen=True, kw_only=True):
    """Dormant accounts that the key opens, by id; `next` is the cursor of the following page."""

    items: list[DormantView]
    next: str | None


@get("/v1/dormant-accounts", operation_id="account.list_dormant", tags=["account"])
async def list_dormant(
    request: Request[Any, Any, Any],
    stage: FromQuery[Stage | None] = None,
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[DormantPage]:
    """Accounts warned of being long unused, or paused for it, with the days that follow. For staff and the backend."""
    asked = Parameters(request, "stage", "cursor", "limit")
    place = asked.cursor(str)
    caller = await reader(request, "account")
    if caller.kind == "person":
        raise Refusal(Code.REFUSED)
    now: dt.datetime = request.app.state.clock.now()
    policy: Policy = request.app.state.editions.at(now)
    end = dt.timedelta(days=policy.parameters.dormancy_end_d)
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.dormant(
            connection,
            after="" if place is None else place[0],
            stage=stage,
            end_before=now - end,
            most=limit + 1,
        )
    items = [_view(row, policy, now) for row in rows[:limit] if caller.sees(row["jurisdiction"], row["tier"])]
    following = asked.cursor_to(rows[limit - 1]["account_id"]) if len(rows) > limit else None
    return shown(DormantPage(items=items, next=following))


def _view(row: Any, policy: Policy, now: dt.datetime) -> DormantView:
    since, end = row["unused_since"], dt.timedelta(days=policy.parameters.dormancy_end_d)
    if row["measure_id"] is None:
        stage: Stage = "warned"
    else:
        stage = "to_decide" if since <= now - end else "paused"
    return DormantView(
        account_id=row["account_id"],
        name=row["name"],
        klass=row["class"],
        jurisdiction=row["jurisdiction"],
        operator_id=row["operator_id"],
        stage=stage,
        unused_since=instant_text(since),
        warned_at=instant_text(row["warned_at"]),
        warned_record=row["warned_record"],
        pause_due_at=instant_text(pause_due(policy, since, row["warned_at"])),
        paused_at=text_of(row["paused_at"]),
        measure_id=row["measure_id"],
        decision_due_at=instant_text(since + end),
    )


ROUTES = [
    governed("POST", "/v1/accounts/{account_id}/waking", WakeAccount, example={}),
    list_dormant,
]
