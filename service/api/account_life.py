"""The life of accounts over REST: changes of profile, rechecks, transfer, closing, MCNs; and names that wait for a human."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter

from service.api.acting import governed
from service.api.reading import USUAL, Cursor, KnownCaller, Limit, Parameters, reader, shown
from service.db import queries
from service.domain.accounts.closing import RequestClose, WithdrawClose
from service.domain.accounts.contracts import ReleaseAccount, SignAccount
from service.domain.accounts.facts import AccountClass
from service.domain.accounts.names import BESIDE, LookAlikes
from service.domain.accounts.profile import AcceptProfile, Recheck, RefuseProfile, UpdateProfile
from service.domain.accounts.transfer import (
    AcceptAccountTransfer,
    DeclineAccountTransfer,
    OfferAccountTransfer,
    WithdrawAccountTransfer,
)
from service.errors import Code, Refusal

sql = queries(__file__)

Asking = Literal["registration", "profile"]


class FormerProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What an account was called and said of itself, until when, and the record that replaced it (S094)."""

    name: str
    klass: AccountClass = msgspec.field(name="class")
    profile: str
    until: dt.datetime
    by_record: str


class FormerProfiles(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, the latest first."""

    profiles: list[FormerProfile]


class NameBeside(msgspec.Struct, frozen=True, kw_only=True):
    """Another name, and whose it is: what a human compares with. `similarity` 1: the same at a glance."""

    account_id: str
    name: str
    similarity: float
    operator_name: str
    place: str
    state: str


class NameWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """A name that waits for a human, beside the names it looks like (S093).

    `why`: it holds reserved terms (`terms`, of these `kinds`), is of class news or government, or looks like another.
    `by`: the registration, or the change of profile, whose record is `asked_record`. `compare`: the
    accounts of `beside`, which whoever accepts says in `compared_with`.
    """

    account_id: str
    name: str
    klass: AccountClass = msgspec.field(name="class")
    by: Asking
    asked_record: str
    operator_name: str
    place: str
    why: list[str]
    terms: list[str]
    kinds: list[str]
    beside: list[NameBeside]
    compare: list[str]
    version: int


class NamesWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """Names that wait, by account; `next` is the cursor of the following page, null on the last."""

    names: list[NameWaiting]
    next: str | None


@get(
    "/v1/accounts/{account_id:str}/former-profiles", operation_id="account.former_profiles", tags=["account"]
)
async def former_profiles(
    request: Request[Any, Any, Any], account_id: FromPath[str]
) -> Response[FormerProfiles]:
    """What the account was called before; for staff, the backend and who answers for it. Raises Refusal `unknown`."""
    Parameters(request)
    caller = await reader(request, "account")
    async with request.app.state.db.read() as db:
        account = await sql.account_place(db, account_id=account_id)
        inside = account is not None and (
            caller.kind in {"backend", "staff"} or caller.person_id == account["answerable_person"]
        )
        if account is None or not inside:
            raise Refusal(Code.UNKNOWN)
        caller.inside(account["place"], account["tier"])
        rows = await sql.former_profiles(db, account_id=account_id)
    return shown(FormerProfiles(profiles=[msgspec.convert(dict(row), FormerProfile) for row in rows]))


@get("/v1/name-checks", operation_id="account.name_checks", tags=["account"])
async def name_checks(
    request: Request[Any, Any, Any],
    by: Annotated[Asking | None, QueryParameter(description="Asked for by registration or change.")] = None,
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[NamesWaiting]:
    """Names that wait for a human, each beside those it looks like; for staff. Raises Refusal `refused`."""
    asked = Parameters(request, "by", "cursor", "limit")
    place = asked.cursor(str, str)
    caller = await _staff(request)
    after = ("", "") if place is None else place
    async with request.app.state.db.read(snapshot=True) as db:
        rows = await sql.names_waiting(
            db, account_id=None, by=by, after=after[0], after_by=after[1], most=limit + 1
        )
        page = await _beside(
            request, db, [row for row in rows[:limit] if caller.sees(row["place"], row["tier"])]
        )
    more = (
        asked.cursor_to(rows[limit - 1]["account_id"], rows[limit - 1]["by"]) if len(rows) > limit else None
    )
    return shown(NamesWaiting(names=page, next=more))


@get("/v1/name-checks/{account_id:str}", operation_id="account.name_check", tags=["account"])
async def name_check(request: Request[Any, Any, Any], account_id: FromPath[str]) -> Response[NameWaiting]:
    """The name an account waits with, beside those it looks like now, and the account's version as ETag; for staff.

    Raises Refusal `refused`, `unknown` (no such account, or no name of it waits for a human).
    """
    Parameters(request)
    caller = await _staff(request)
    async with request.app.state.db.read(snapshot=True) as db:
        rows = await sql.names_waiting(db, account_id=account_id, by=None, after="", after_by="", most=1)
        found = await _beside(request, db, rows)
    if not found:
        raise Refusal(Code.UNKNOWN)
    caller.inside(found[0].place, rows[0]["tier"])
    return shown(found[0], version=found[0].version)


async def _staff(request: Request[Any, Any, Any]) -> KnownCaller:
    """Who reads, if of staff."""
    caller = await reader(request, "account")
    if caller.kind != "staff":
        raise Refusal(Code.REFUSED)
    return caller


async def _beside(request: Request[Any, Any, Any], db: Any, rows: list[Any]) -> list[NameWaiting]:
    """The names with what stands beside them, as the act that accepts them will look at it."""
    state = request.app.state
    least = state.editions.at(state.clock.now()).parameters.name_similarity_review
    keys = list(dict.fromkeys((row["name_key"],) for row in rows))
    alike = await LookAlikes.look(db, keys) if keys else {}
    ids = {one.account_id for found in alike.values() for one in found.found}
    cards = {row["account_id"]: dict(row) for row in await sql.cards(db, account_ids=sorted(ids))}
    waiting: list[NameWaiting] = []
    for row in rows:
        facts = dict(row)
        since, check = facts.pop("since"), facts.pop("name_check") or {}
        del facts["tier"]
        beside = [
            NameBeside(name=one.name, similarity=one.similarity, **cards[one.account_id])
            for one in alike[facts.pop("name_key"),].found
            if one.account_id != row["account_id"] and one.similarity >= least and one.by_record < since
        ][:BESIDE]
        if check or beside:
            facts |= {name: check.get(name, []) for name in ("why", "terms", "kinds")}
            facts["why"] = facts["why"] or ["look_alike"]
            facts["compare"] = list(dict.fromkeys(one.account_id for one in beside))
            waiting.append(msgspec.convert({**facts, "beside": beside}, NameWaiting))
    return waiting


ROUTES = [
    governed(
        "PUT",
        "/v1/accounts/{account_id}/profile",
        UpdateProfile,
        example={"name": "唐山网警在线", "profile": "网警公开巡查执法账号"},
    ),
    governed(
        "POST",
        "/v1/accounts/{account_id}/profile/acceptance",
        AcceptProfile,
        example={"asked_record": "019a45b0-7ab0-7000-8000-3f2c8a546c0e", "compared_with": ["patrol-130300"]},
    ),
    governed(
        "POST",
        "/v1/accounts/{account_id}/profile/refusal",
        RefuseProfile,
        example={"asked_record": "019a45b0-7ab0-7000-8000-3f2c8a546c0e", "reason": "name_misleading"},
    ),
    governed("POST", "/v1/accounts/{account_id}/rechecks", Recheck, example={"fits": True}),
    governed(
        "POST",
        "/v1/accounts/{account_id}/transfer",
        OfferAccountTransfer,
        example={"operator_id": "op-another"},
    ),
    governed("POST", "/v1/accounts/{account_id}/transfer/acceptance", AcceptAccountTransfer, example={}),
    governed("POST", "/v1/accounts/{account_id}/transfer/declination", DeclineAccountTransfer, example={}),
    governed("DELETE", "/v1/accounts/{account_id}/transfer", WithdrawAccountTransfer, example={}),
    governed("POST", "/v1/accounts/{account_id}/closing", RequestClose, example={}),
    governed("DELETE", "/v1/accounts/{account_id}/closing", WithdrawClose, example={}),
    governed("PUT", "/v1/operators/{operator_id}/accounts/{account_id}", SignAccount, example={}),
    governed("DELETE", "/v1/operators/{operator_id}/accounts/{account_id}", ReleaseAccount, example={}),
    former_profiles,
    name_checks,
    name_check,
]
