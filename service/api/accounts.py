"""Accounts over REST."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from service.api.acting import governed
from service.api.lane import HOT
from service.api.reading import USUAL, Cursor, Limit, Parameters, Territory, reader, shown
from service.db import queries
from service.domain.accounts.facts import AccountClass, AccountOffer, PendingProfile, TierOverride
from service.domain.accounts.names import NameCheck
from service.domain.accounts.registration import (
    AcceptAccount,
    RefuseAccount,
    RegisterAccount,
    UpdateAccountFacts,
)
from service.domain.accounts.tiers import OverrideAccountTier, RankAccount
from service.domain.tiers import Basis
from service.errors import Code, Refusal

sql = queries(__file__)

AccountState = Literal["waiting", "accepted", "refused", "closed"]


class OperatorChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of operator: public (A1, S099)."""

    at: dt.datetime
    from_operator: str
    from_name: str
    to_operator: str
    to_name: str


class AccountCard(msgspec.Struct, frozen=True, kw_only=True):
    """The public card of an account (A6): what it is, who runs it, from where; no personal data.

    `place` is a jurisdiction; `credit_code_ref` the opaque reference of the operator's credit code, where it has one.
    """

    account_id: str
    name: str
    klass: AccountClass = msgspec.field(name="class")
    profile: str
    place: str
    operator_id: str
    operator_name: str
    operator_kind: str
    credit_code_ref: str | None
    mcn_id: str | None
    mcn_name: str | None
    subject_changes: list[OperatorChange]
    state: AccountState
    accepted_at: dt.datetime | None
    closed_at: dt.datetime | None
    version: int


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """A measure in force: more under `/v1/measures/{measure_id}`, what it takes away under `…/uses`."""

    measure_id: str
    code: str


class AccountFacts(AccountCard, frozen=True, kw_only=True):
    """The card with what the account is ranked by, what waits, and the measures in force on it; for staff, the backend and who
    answers for its operator or MCN.

    No monetisation before `monetisation_eligible_at` (S100). `name_check`: why its name waits for a human; who waits himself is
    not told beside whose name.
    """

    tier: int | None
    tier_basis: Basis | None
    override: TierOverride | None
    next_recheck_at: dt.datetime | None
    followers: int
    reads_per_post: int
    quality: int | None
    quality_source: str | None
    last_used_at: dt.datetime | None
    refused_at: dt.datetime | None
    created_at: dt.datetime
    measures: list[InForce]
    pending_profile: PendingProfile | None
    name_check: NameCheck | None
    offer: AccountOffer | None
    monetisation_eligible_at: dt.datetime | None
    closing_due_at: dt.datetime | None


class AccountPage(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts by id, those the key opens; `next` is the cursor of the following page, null on the last."""

    accounts: list[AccountFacts]
    next: str | None


@get("/v1/accounts/{account_id:str}", operation_id="account.get", tags=["account"], opt=HOT)
async def get_account(
    request: Request[Any, Any, Any], account_id: FromPath[str]
) -> Response[AccountFacts | AccountCard]:
    """The public card, with the version as ETag; more for those inside. One that waits is shown to those inside only."""
    Parameters(request)
    caller = await reader(request, "account")
    async with request.app.state.db.read() as db:
        found = await sql.accounts(db, account_ids=[account_id], now=request.app.state.clock.now())
    if not found:
        raise Refusal(Code.UNKNOWN)
    facts = dict(found[0])
    answers = {facts.pop("answerable_person"), facts.pop("mcn_answerable_person")} - {None}
    inside = caller.kind in {"backend", "staff"} or caller.person_id in answers
    if caller.kind == "person":
        _without_others(facts)
    if not inside and facts["state"] not in {"accepted", "closed"}:
        raise Refusal(Code.UNKNOWN)
    caller.inside(facts["place"], facts["tier"])
    shape = AccountFacts if inside else AccountCard
    return shown(msgspec.convert(facts, shape), version=facts["version"])


@get("/v1/accounts", operation_id="account.list", tags=["account"])
async def list_accounts(
    request: Request[Any, Any, Any],
    klass: Annotated[AccountClass | None, QueryParameter(name="class")] = None,
    tier: Annotated[int | None, QueryParameter(ge=1, le=4)] = None,
    jurisdiction: Territory = None,
    operator_id: FromQuery[str | None] = None,
    waits: Annotated[AccountState | None, QueryParameter(name="state")] = None,
    override: FromQuery[bool | None] = None,
    changing: FromQuery[bool | None] = None,
    due_recheck_before: FromQuery[dt.datetime | None] = None,
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[AccountPage]:
    """Accounts by class, tier, territory (what it contains counts), operator, state, override, day of recheck, and
    whether a change of profile waits (`changing`).

    For staff and the backend in its own name. Raises Refusal `refused`, `malformed`.
    """
    asked = Parameters(
        request,
        "class",
        "tier",
        "jurisdiction",
        "operator_id",
        "state",
        "override",
        "changing",
        "due_recheck_before",
        "cursor",
        "limit",
    )
    place = asked.cursor(str)
    caller = await reader(request, "account")
    if caller.kind not in {"backend", "staff"}:
        raise Refusal(Code.REFUSED)
    if due_recheck_before is not None and due_recheck_before.tzinfo is None:
        raise Refusal(Code.MALFORMED, pointer="due_recheck_before", why="an instant has a time zone")
    async with request.app.state.db.read(snapshot=True) as db:
        ids = await sql.account_ids(
            db,
            after=None if place is None else place[0],
            klass=klass,
            tier=tier,
            jurisdiction=jurisdiction,
            inner=inner_of(jurisdiction),
            operator_id=operator_id,
            state=waits,
            override=override,
            changing=changing,
            due_recheck_before=due_recheck_before,
            most=limit + 1,
        )
        listed = [row["account_id"] for row in ids[:limit]]
        found = await sql.accounts(db, account_ids=listed, now=request.app.state.clock.now())
    accounts = [msgspec.convert(dict(record), AccountFacts) for record in found]
    page = AccountPage(
        accounts=[one for one in accounts if caller.sees(one.place, one.tier)],
        next=asked.cursor_to(accounts[-1].account_id) if len(ids) > limit else None,
    )
    return shown(page)


def _without_others(facts: dict[str, Any]) -> None:
    """Leave out of an account's facts what speaks of other accounts: the names beside which its own is looked at."""
    for one in (facts, facts["pending_profile"] or {}):
        if one.get("name_check"):
            one["name_check"] = {**one["name_check"], "beside": []}


def inner_of(jurisdiction: str | None) -> str | None:
    """The LIKE pattern of the territories inside a jurisdiction, as `service.domain.keys.contains` defines it."""
    if jurisdiction in {"CN", "EU"}:
        return f"{jurisdiction}-%"
    if jurisdiction is None or not jurisdiction.startswith("CN-") or not jurisdiction.endswith("00"):
        return jurisdiction
    return f"{jurisdiction[:5]}%" if jurisdiction.endswith("0000") else f"{jurisdiction[:7]}%"


ROUTES = [
    governed(
        "POST",
        "/v1/accounts",
        RegisterAccount,
        example={
            "account_id": "patrol-130200",
            "operator_id": "op-tangshan-police",
            "name": "唐山网警巡查执法",
            "class": "government",
            "profile": "网警公开巡查执法账号",
            "jurisdiction": "CN-130200",
        },
    ),
    governed("POST", "/v1/accounts/{account_id}/acceptance", AcceptAccount, example={"reason": "routine"}),
    governed(
        "POST", "/v1/accounts/{account_id}/refusal", RefuseAccount, example={"reason": "name_misleading"}
    ),
    governed(
        "PATCH",
        "/v1/accounts/{account_id}",
        UpdateAccountFacts,
        example={"followers": 2_370_000, "reads_per_post": 120_000},
    ),
    governed(
        "PUT",
        "/v1/accounts/{account_id}/tier",
        RankAccount,
        example={"reason": "fact_changed"},
    ),
    governed(
        "PUT",
        "/v1/accounts/{account_id}/override",
        OverrideAccountTier,
        example={"tier": 4, "until": "2026-12-01T00:00:00.000Z", "reason": "activity_unusual"},
    ),
    get_account,
    list_accounts,
]
