"""Credentials over REST: submitted by whoever answers for an operator, answered by classifiers."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from service.api.acting import governed
from service.api.reading import USUAL, Cursor, Limit, Parameters, reader, shown, text_of
from service.clock import InstantText, instant_text
from service.db import Db, queries
from service.domain.credentials import Credential, CredentialKind, RefuseCredential, SubmitCredential
from service.domain.measures.licensing import AcceptCredential
from service.errors import Code, Refusal

sql = queries(__file__)

CredentialState = Literal["waiting", "accepted", "refused", "expired"]


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """One credential. `reference` is the number of the document; the records are those that accepted and ended it."""

    credential_id: str
    operator_id: str
    kind: CredentialKind
    reference: str
    state: str
    valid_from: InstantText
    valid_until: InstantText
    submitted_at: InstantText
    accepted_at: InstantText | None
    accepted_record: str | None
    ended_at: InstantText | None
    ended_record: str | None
    version: int


class CredentialPage(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials that the key opens, the first submitted first; `next` is the cursor of the following page."""

    items: list[CredentialView]
    next: str | None


@get("/v1/credentials", operation_id="credential.list", tags=["credential"])
async def list_credentials(
    request: Request[Any, Any, Any],
    state_now: Annotated[CredentialState | None, QueryParameter(name="state")] = None,
    kind: FromQuery[CredentialKind | None] = None,
    ends_before: FromQuery[dt.datetime | None] = None,
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[CredentialPage]:
    """Credentials by state and kind, and those not ended that end before an instant. For staff and the backend."""
    asked = Parameters(request, "state", "kind", "ends_before", "cursor", "limit")
    place = asked.cursor(str)
    caller = await reader(request, "credential")
    if caller.kind == "person":
        raise Refusal(Code.REFUSED)
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.credentials(
            connection,
            after="" if place is None else place[0],
            operator_id=None,
            kind=kind,
            state=state_now,
            ends_before=asked.instant("ends_before"),
            most=limit + 1,
        )
    items = [_view(row) for row in rows[:limit] if caller.sees(row["jurisdiction"])]
    following = asked.cursor_to(rows[limit - 1]["credential_id"]) if len(rows) > limit else None
    return shown(CredentialPage(items=items, next=following))


@get(
    "/v1/operators/{operator_id:str}/credentials", operation_id="credential.of_operator", tags=["credential"]
)
async def list_of_operator(
    request: Request[Any, Any, Any],
    operator_id: FromPath[str],
    cursor: Cursor = None,
    limit: Limit = USUAL,
) -> Response[CredentialPage]:
    """What an operator has shown. For whoever answers for it, the backend and staff; to others there is no such thing."""
    asked = Parameters(request, "cursor", "limit")
    place = asked.cursor(str)
    caller = await reader(request, "credential")
    db: Db = request.app.state.db
    async with db.read(snapshot=True) as connection:
        operator = await sql.operator_inside(connection, operator_id=operator_id)
        if operator is None or (
            caller.kind == "person" and caller.person_id != operator["answerable_person"]
        ):
            raise Refusal(Code.UNKNOWN)
        caller.inside(operator["jurisdiction"])
        rows = await sql.credentials(
            connection,
            after="" if place is None else place[0],
            operator_id=operator_id,
            kind=None,
            state=None,
            ends_before=None,
            most=limit + 1,
        )
    following = asked.cursor_to(rows[limit - 1]["credential_id"]) if len(rows) > limit else None
    return shown(CredentialPage(items=[_view(row) for row in rows[:limit]], next=following))


def _view(row: Any) -> CredentialView:
    one = Credential.from_record(tuple(row)[:-1])
    return CredentialView(
        credential_id=one.credential_id,
        operator_id=one.operator_id,
        kind=one.kind,
        reference=one.reference,
        state=one.state,
        valid_from=instant_text(one.valid_from),
        valid_until=instant_text(one.valid_until),
        submitted_at=instant_text(one.submitted_at),
        accepted_at=text_of(one.accepted_at),
        accepted_record=one.accepted_record,
        ended_at=text_of(one.ended_at),
        ended_record=one.ended_record,
        version=one.version,
    )


ROUTES = [
    governed(
        "POST",
        "/v1/operators/{operator_id}/credentials",
        SubmitCredential,
        example={
            "kind": "health",
            "reference": "京卫网审〔2026〕第 0042 号",
            "valid_from": "2026-01-01T00:00:00.000Z",
            "valid_until": "2028-12-31T23:59:59.000Z",
        },
    ),
    governed("POST", "/v1/credentials/{credential_id}/acceptance", AcceptCredential, example={}),
    governed(
        "POST",
        "/v1/credentials/{credential_id}/refusal",
        RefuseCredential,
        example={"reason": "credential_missing"},
    ),
    list_credentials,
    list_of_operator,
]
