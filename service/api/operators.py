"""Operators over REST."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from service.api.acting import governed
from service.api.credit import credit_now
from service.api.reading import Parameters, reader, shown
from service.db import queries
from service.domain import credit
from service.domain.allowances import RaiseAccountsCap
from service.domain.credit import Level
from service.domain.identity import Method
from service.domain.operators import (
    ExtraAccounts,
    Operator,
    OperatorKind,
    PendingFacts,
    RegisterOperator,
    UpdateOperatorFacts,
    VerifyOperator,
)
from service.domain.people import IdentityStatus
from service.errors import Code, Refusal

sql = queries(__file__)


class OperatorCard(msgspec.Struct, frozen=True, kw_only=True):
    """What anybody may know of an operator; no person stands in it."""

    operator_id: str
    kind: OperatorKind
    name: str
    is_mcn: bool
    jurisdiction: str
    identity_status: IdentityStatus
    created_at: dt.datetime
    exited_at: dt.datetime | None
    version: int


class OperatorFacts(OperatorCard, frozen=True, kw_only=True):
    """All that is kept of an operator but the reference of its check; for staff, backend and whoever answers for it."""

    answerable_person: str
    identity_methods: list[Method]
    verified_at: dt.datetime | None
    pending: PendingFacts | None
    credit_level: Level | None
    account_count: int
    extra_accounts: ExtraAccounts | None


@get("/v1/operators/{operator_id:str}", operation_id="operator.get", tags=["operator"])
async def get_operator(
    request: Request[Any, Any, Any], operator_id: FromPath[str]
) -> Response[OperatorFacts | OperatorCard]:
    """One operator, with the version as ETag."""
    Parameters(request)
    caller = await reader(request, "operator")
    async with request.app.state.db.read(snapshot=True) as db:
        record = await sql.operator(db, operator_id=operator_id)
        ledger = await credit_now(db, "operator", operator_id)
    if record is None:
        raise Refusal(Code.UNKNOWN)
    operator = Operator.from_record(record)
    caller.inside(operator.jurisdiction)
    inside = caller.kind in {"backend", "staff"} or caller.person_id == operator.answerable_person
    parameters = request.app.state.editions.at(request.app.state.clock.now()).parameters
    level = credit.level(parameters, ledger, verified=operator.identity_status == "verified")
    shape = OperatorFacts if inside else OperatorCard
    facts = msgspec.structs.asdict(operator) | {"credit_level": level}
    return shown(msgspec.convert(facts, shape, from_attributes=True), version=operator.version)


ROUTES = [
    governed(
        "POST",
        "/v1/operators",
        RegisterOperator,
        example={
            "operator_id": "op-tangshan-police",
            "kind": "government",
            "name": "唐山市公安局",
            "jurisdiction": "CN-130200",
            "answerable_person": "ann",
        },
    ),
    governed(
        "PUT",
        "/v1/operators/{operator_id}/identity",
        VerifyOperator,
        example={
            "status": "verified",
            "methods": ["credit_code", "mobile"],
            "identity_ref": "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905",
        },
    ),
    governed(
        "PATCH", "/v1/operators/{operator_id}", UpdateOperatorFacts, example={"name": "唐山市公安局网安支队"}
    ),
    governed(
        "PUT",
        "/v1/operators/{operator_id}/accounts-cap",
        RaiseAccountsCap,
        example={"number": 3, "until": "2027-06-01T00:00:00.000Z", "reason": "fact_changed"},
    ),
    get_operator,
]
