"""Credit over REST: the ledger of a person or operator, what it comes to, and what that allows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from service.api.acting import governed
from service.api.reading import USUAL, Cursor, KnownCaller, Limit, Parameters, reader, shown
from service.clock import InstantText, instant_text
from service.db import Db, queries
from service.db.pool import Reader
from service.domain import credit
from service.domain.allowances import accounts_cap
from service.domain.credit import Cause, Credit, CreditEntry, Holder, Level
from service.domain.crediting import AdjustCredit
from service.domain.groups.caps import GroupsOf
from service.domain.operators import Operator
from service.errors import Code, Refusal
from service.policy import Policy

sql = queries(__file__)


class CapView(msgspec.Struct, frozen=True, kw_only=True):
    """How many of something there may be, how many there are, and the line of the policy that says so.

    `extra`: how many of the cap were added by hand, until `extra_until`, by `extra_record`.
    """

    what: str
    cap: int
    count: int
    source: str
    extra: int | None = None
    extra_until: InstantText | None = None
    extra_record: str | None = None


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger: signed points, the sum so far, why, and the record that caused it."""

    number: int
    at: InstantText
    points: int
    score: int
    cause: Cause
    record_id: str


class CreditView(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger came to at an instant, under the edition in force then, and a page of its lines, the newest first.

    `level` is null while the identity is not proved (P2). `caps` and `tiers` (of groups one may own, or of accounts whose
    comments the operator may manage) are what it allows now; empty where another instant is asked for.
    """

    subject: dict[str, str]
    at: InstantText
    level: Level | None
    score: int | None
    edition: str
    caps: list[CapView]
    tiers: list[int]
    lines: list[LineView]
    next: str | None


@get("/v1/credit/{subject_type:str}/{subject_id:str}", operation_id="credit.get", tags=["credit"])
async def get_credit(
    request: Request[Any, Any, Any],
    subject_type: FromPath[str],
    subject_id: FromPath[str],
    at: FromQuery[dt.datetime | None] = None,
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[CreditView]:
    """The credit of a `person` or an `operator`, now or at an instant, with its ledger.

    For the person or whoever answers for the operator, the backend and staff; to others there is no such thing.
    """
    asked = Parameters(request, "at", "cursor", "limit")
    place = asked.cursor(int)
    caller = await reader(request, "credit")
    now: dt.datetime = request.app.state.clock.now()
    instant = asked.instant("at") or now
    policy: Policy = request.app.state.editions.at(instant)
    db: Db = request.app.state.db
    if subject_type not in {"person", "operator"}:
        raise Refusal(Code.UNKNOWN)
    holder: Holder = "person" if subject_type == "person" else "operator"
    async with db.read(snapshot=True) as connection:
        facts = await sql.holder(connection, holder=holder, id=subject_id)
        _may_see(caller, facts)
        rows = await sql.ledger(connection, holder=holder, id=subject_id, at=instant)
        lines = [CreditEntry.from_record(row) for row in rows]
        found, score = _level(policy, lines, facts, instant)
        if not asked.given("at") and facts["identity_status"] != "verified":
            # An erased identity leaves the ledger, which holds nothing personal, as it was.
            found = None
        caps = [] if asked.given("at") else await caps_now(connection, policy, holder, subject_id, found, now)
    following = [line for line in reversed(lines) if place is None or line.number < place[0]]
    noun = "group" if holder == "person" else "account"
    view = CreditView(
        subject={"type": holder, "id": subject_id},
        at=instant_text(instant),
        level=found,
        score=score,
        edition=policy.edition,
        caps=caps,
        tiers=[] if asked.given("at") else credit.tiers_allowed(policy, noun, found),
        lines=[_line(line) for line in following[:limit]],
        next=asked.cursor_to(following[limit - 1].number) if len(following) > limit else None,
    )
    return shown(view, version=lines[-1].number if lines else 0)


async def credit_now(connection: Reader, holder: Holder, subject_id: str) -> Credit | None:
    """What a ledger comes to now; None where there is none."""
    row = await sql.credit_of(connection, holder=holder, id=subject_id)
    return None if row is None else Credit.from_record(row)


async def caps_now(
    connection: Reader, policy: Policy, holder: Holder, subject_id: str, found: Level | None, now: dt.datetime
) -> list[CapView]:
    """The caps that hold for a person or operator at this instant, and how much of each is used."""
    if holder == "operator":
        operator = (await Operator.look(connection, [(subject_id,)]))[subject_id,]
        cap, raised = accounts_cap(policy, operator, now)
        return [
            CapView(what="accounts", cap=cap.value, count=operator.account_count, source=cap.source, **raised)
        ]
    groups = (await GroupsOf.look(connection, [(subject_id,)]))[subject_id,]
    owned = credit.entitled(policy, "groups_owned", found)
    joined = credit.entitled(policy, "groups_joined", found)
    return [
        CapView(what="groups_owned", cap=owned.value, count=groups.owned, source=owned.source),
        CapView(what="groups_joined", cap=joined.value, count=groups.joined, source=joined.source),
    ]


def _may_see(caller: KnownCaller, facts: Any) -> None:
    if facts is None or (caller.kind == "person" and caller.person_id != facts["human"]):
        raise Refusal(Code.UNKNOWN)
    caller.inside(facts["jurisdiction"])


def _level(
    policy: Policy, lines: list[CreditEntry], facts: Any, instant: dt.datetime
) -> tuple[Level | None, int | None]:
    """Level and points at an instant: the fold of the lines until then (S086)."""
    folded = credit.fold(lines)
    if folded is None:
        since = facts["verified_at"]
        if facts["identity_status"] != "verified" or since is None or since > instant:
            return None, None
        folded = credit.Folded(policy.parameters.credit_start, verified=True)
    found = credit.level_of(policy.parameters, folded.score) if folded.verified else None
    return found, folded.score


def _line(line: CreditEntry) -> LineView:
    return LineView(
        number=line.number,
        at=instant_text(line.at),
        points=line.points,
        score=line.score,
        cause=line.cause,
        record_id=line.by_record,
    )


ROUTES = [
    governed(
        "POST",
        "/v1/credit/{subject_type}/{subject_id}/adjustments",
        AdjustCredit,
        example={"points": -10, "reason": "error_corrected"},
    ),
    get_credit,
]
