"""People over REST."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from service.api.acting import governed
from service.api.reading import Parameters, reader, shown
from service.db import queries
from service.domain.closing import ClosePerson
from service.domain.identity import Method
from service.domain.people import IdentityStatus, Known, Person
from service.domain.registering import AcceptTerms, RegisterPerson, UpdatePersonFacts, VerifyPerson
from service.errors import Code, Refusal

sql = queries(__file__)


class AcceptedTerms(msgspec.Struct, frozen=True):
    """One version of a document that the person accepted, and when."""

    document: str
    version: str
    at: str


class PersonOutline(msgspec.Struct, frozen=True, kw_only=True):
    """What staff need to know of a person to work; no personal fact (S021). `closed_at`, `erased_at` are terminal (P4)."""

    person_id: str
    jurisdiction: str
    identity_status: IdentityStatus
    bot: bool
    created_at: dt.datetime
    closed_at: dt.datetime | None
    erased_at: dt.datetime | None
    version: int


class PersonFacts(PersonOutline, frozen=True, kw_only=True):
    """All that is kept of a person, for the person and the backend. The reference of the identity check is shown to nobody."""

    identity_methods: list[Method]
    verified_at: dt.datetime | None
    minor: Known
    seen_at: dt.datetime | None
    terms_accepted: list[AcceptedTerms]


@get("/v1/people/{person_id:str}", operation_id="person.get", tags=["person"])
async def get_person(
    request: Request[Any, Any, Any], person_id: FromPath[str]
) -> Response[PersonFacts | PersonOutline]:
    """One person, with the version as ETag. To other people there is no such person."""
    Parameters(request)
    caller = await reader(request, "person")
    async with request.app.state.db.read() as db:
        record = await sql.person(db, person_id=person_id)
    other = caller.kind == "person" and caller.person_id != person_id
    if record is None or other:
        raise Refusal(Code.UNKNOWN)
    person = Person.from_record(record)
    caller.inside(person.jurisdiction)
    shape = PersonOutline if caller.kind == "staff" else PersonFacts
    return shown(msgspec.convert(person, shape, from_attributes=True), version=person.version)


ROUTES = [
    governed(
        "PUT", "/v1/people/{person_id}", RegisterPerson, example={"jurisdiction": "CN-110000", "minor": "no"}
    ),
    governed(
        "PUT",
        "/v1/people/{person_id}/identity",
        VerifyPerson,
        example={
            "status": "verified",
            "methods": ["mobile", "id_document"],
            "identity_ref": "4f1c8a52-9d3e-4b7a-8c61-0e5f2d9ab743",
        },
    ),
    governed(
        "PATCH",
        "/v1/people/{person_id}",
        UpdatePersonFacts,
        example={"minor": "no", "seen_at": "2026-11-02T07:55:00.000Z"},
    ),
    governed(
        "POST",
        "/v1/people/{person_id}/terms",
        AcceptTerms,
        example={"document": "user_agreement", "document_version": "2"},
    ),
    governed("POST", "/v1/people/{person_id}/closure", ClosePerson, example={}),
    get_person,
]
