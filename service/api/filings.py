"""The filing register over REST: what was lodged with which authority, and what is in force and was not (S213)."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromQuery

from service.api.acting import governed
from service.api.reading import USUAL, Cursor, KnownCaller, Limit, Parameters, reader, shown
from service.clock import InstantText, instant_text
from service.db import Db, queries
from service.domain.filings import Filing, RecordFiling, in_force
from service.errors import Code, Refusal

sql = queries(__file__)


class FilingView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a document, lodged with one authority. `filing_id` is the record that noted it."""

    filing_id: str
    document: str
    document_version: str
    authority: str
    receipt: str
    jurisdiction: str
    filed_at: InstantText
    noted_at: InstantText


class FilingPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the register, the latest noted first; `next` is the cursor of the following page, null on the last."""

    items: list[FilingView]
    next: str | None


class Unfiled(msgspec.Struct, frozen=True, kw_only=True):
    """A version in force that was lodged with nobody; `note` is the change notice it was published with."""

    document: str
    document_version: str
    name_zh: str
    name_en: str
    in_force_since: InstantText
    days: int
    note: str


class UnfiledList(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force now and was not lodged, by the edition in force, the longest in force first."""

    at: InstantText
    edition: str
    items: list[Unfiled]


async def _staff(request: Request[Any, Any, Any]) -> KnownCaller:
    caller = await reader(request, "filing")
    if caller.kind != "staff":
        raise Refusal(Code.REFUSED)
    return caller


@get("/v1/filings", operation_id="filing.list", tags=["filing"])
async def list_filings(
    request: Request[Any, Any, Any],
    document: FromQuery[str | None] = None,
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[FilingPage]:
    """The register, of one document or of all. For staff."""
    asked = Parameters(request, "document", "cursor", "limit")
    place = asked.cursor(str)
    caller = await _staff(request)
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.filings(
            connection,
            before=None if place is None else place[0],
            document=document and asked.text("document"),
            most=limit + 1,
        )
    found = [Filing.from_record(row) for row in rows]
    following = asked.cursor_to(found[limit - 1].filing_id) if len(found) > limit else None
    items = [_view(one) for one in found[:limit] if caller.sees(one.jurisdiction)]
    return shown(FilingPage(items=items, next=following))


@get("/v1/filings/missing", operation_id="filing.missing", tags=["filing"])
async def list_missing(request: Request[Any, Any, Any]) -> Response[UnfiledList]:
    """Versions of our published documents that are in force and were lodged with no authority. For staff."""
    Parameters(request)
    await _staff(request)
    now = request.app.state.clock.now()
    policy = request.app.state.editions.at(now)
    db: Db = request.app.state.db
    async with db.read() as connection:
        filed = {tuple(row) for row in await sql.filed(connection)}
    open_ones = [one for one in in_force(policy, now) if (one.document, one.version) not in filed]
    items = [
        Unfiled(
            document=one.document,
            document_version=one.version,
            name_zh=one.name_zh,
            name_en=one.name_en,
            in_force_since=instant_text(one.effective_at),
            days=(now - one.effective_at).days,
            note=one.note,
        )
        for one in sorted(open_ones, key=lambda one: (one.effective_at, one.document))
    ]
    return shown(UnfiledList(at=instant_text(now), edition=policy.edition, items=items))


def _view(one: Filing) -> FilingView:
    return FilingView(
        filing_id=one.filing_id,
        document=one.document,
        document_version=one.version,
        authority=one.authority,
        receipt=one.receipt,
        jurisdiction=one.jurisdiction,
        filed_at=instant_text(one.filed_at),
        noted_at=instant_text(one.at),
    )


ROUTES = [
    governed(
        "POST",
        "/v1/filings",
        RecordFiling,
        example={
            "document": "group_rules",
            "document_version": "1",
            "authority": "北京市互联网信息办公室",
            "receipt": "京网备 2026-0117",
            "filed_at": "2026-10-20T00:00:00.000Z",
            "jurisdiction": "CN-110000",
        },
    ),
    list_filings,
    list_missing,
]
