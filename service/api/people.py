"""People over REST."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from service.api.acting import governed
from service.api.credit import credit_now
from service.api.reading import Parameters, reader, shown
from service.clock import InstantText
from service.db import queries
from service.domain import credit
from service.domain.closing import ClosePerson
from service.domain.credit import Level
from service.domain.groups.caps import GroupsOf
from service.domain.identity import Method
from service.domain.people import IdentityStatus, Known, Person
from service.domain.registering import AcceptTerms, RegisterPerson, UpdatePersonFacts, VerifyPerson
from service.errors import Code, Refusal

sql = queries(__file__)


class AcceptedTerms(msgspec.Struct, frozen=True):
    """One version of a document that the person accepted, and when."""

    document: str
    version: str
    at: InstantText


class PersonOutline(msgspec.Struct, frozen=True, kw_only=True):
    """What staff need to know of a person to work; no personal fact (S021). `closed_at`, `erased_at` are terminal (P4).

    `credit_level` is null while the identity is not proved (P2); groups owned are not counted among those joined.
    """

    person_id: str
    jurisdiction: str
    identity_status: IdentityStatus
    bot: bool
    credit_level: Level | None
    groups_owned: int
    groups_joined: int
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
    async with request.app.state.db.read(snapshot=True) as db:
        record = await sql.person(db, person_id=person_id)
        ledger = await credit_now(db, "person", person_id)
        groups = (await GroupsOf.look(db, [(person_id,)]))[person_id,]
    other = caller.kind == "person" and caller.person_id != person_id
    if record is None or other:
        raise Refusal(Code.UNKNOWN)
    person = Person.from_record(record)
    caller.inside(person.jurisdiction)
    parameters = request.app.state.editions.at(request.app.state.clock.now()).parameters
    derived = {
        "credit_level": credit.level(parameters, ledger, verified=person.identity_status == "verified"),
        "groups_owned": groups.owned,
        "groups_joined": groups.joined,
    }
    shape = PersonOutline if caller.kind == "staff" else PersonFacts
    return shown(msgspec.convert(msgspec.structs.asdict(person) | derived, shape), version=person.version)


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
