"""The memory over REST: trails, single records and chains of responsibility. Each look is an act of the door."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, get_args

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from service.action import ID_PATTERN, Subject
from service.api.acting import request_id
from service.api.callers import Callers
from service.api.documentation import refuses, shows
from service.api.problems import response_of
from service.api.reading import Parameters, encode
from service.caller import Caller
from service.clock import InstantText, from_us, instant_text
from service.db import Db
from service.domain import responsibility
from service.domain.responsibility import Chain
from service.domain.trails import Looked, ReadTrail, SubjectType, View
from service.door import Door
from service.errors import Code, Refusal
from service.trail import reading
from service.trail.keys import TrailKeys
from service.trail.reading import Found, Place

TYPES = get_args(SubjectType)
PURPOSE = {"purpose": "Why this is read; goes on the record."}
OUTCOMES = ("done", "refused", "proposed")
RECORD_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ACT = re.compile(r"[a-z][a-z0-9_]{0,39}\.[a-z][a-z0-9_]{0,39}")
REASON = re.compile(r"[a-z][a-z0-9_]{0,39}")
RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/#()-]{0,127}")


class Who(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A subject of a record: by type and id, or by its tag where the id is not known here."""

    type: str = ""
    id: str = ""
    tag: str = ""


class By(msgspec.Struct, frozen=True, kw_only=True):
    """Who acted, and in which capacity; `who` null: the system."""

    kind: str
    standing: str | None
    who: Who | None


class TrailItem(msgspec.Struct, frozen=True, kw_only=True):
    """One record, told: `record` is its body as hashed. `fields` are personal values opened, `withheld` those not.

    `retired_by`: the record by which the body was deleted after its term; `record` is then null, and `by.kind` is `retired`.
    """

    record_id: str
    at: InstantText
    act: str
    outcome: str
    code: str | None
    rule: str | None
    edition: str
    reason: str | None
    by: By
    who: dict[str, Who]
    links: list[str]
    fields: dict[str, Any]
    withheld: list[str]
    record: dict[str, Any] | None
    retired_by: str | None


class TrailPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a trail, oldest first; `next` is the cursor of the page after it, null at the end.

    The trail ends before `read_record_id`, the record of the first page's read.
    """

    subject: Who
    items: list[TrailItem]
    next: str | None
    read_record_id: str


class RecordAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One record, and the record of this read."""

    item: TrailItem
    read_record_id: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A record in a few words: who did what, when, with which outcome."""

    record_id: str
    at: InstantText
    act: str
    outcome: str
    by: By


class Responsibility(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, link by link, at an instant.

    For a record: also the acting person, the rule and edition it was done under, who proposed and who approved it,
    and the earlier records it follows from.
    """

    chain: Chain | None
    act: TrailItem | None = None
    proposal: Step | None = None
    approvers: list[Step] = []
    follows: list[Step] = []
    read_record_id: str


@get(
    "/v1/trails/{subject_type:str}/{subject_id:str}",
    operation_id="trail.read",
    tags=["trail"],
    opt=shows(
        TrailPage,
        query=PURPOSE
        | {
            "actor_type": "Only acts of this actor: person or staff.",
            "actor_id": "Only acts of this actor: the id.",
            "action": "Only this action.",
            "outcome": "Only done, refused or proposed.",
            "reason": "Only with this reason code.",
            "rule": "Only under this rule.",
            "from": "Not before this instant.",
            "to": "Before this instant.",
            "cursor": "`next` of the page before.",
            "limit": "Records on a page; at most `trail_page_max` of the edition in force, which is 500 as shipped.",
        },
    )
    | refuses(Code.PURPOSE_MISSING, Code.PERSON_CLOSED),
)
async def read_trail(
    request: Request[Any, Any, Any], subject_type: FromPath[str], subject_id: FromPath[str]
) -> Response[bytes]:
    """Read what is remembered of one subject, oldest first, refusals included."""
    caller = await _caller(request)
    subject = _subject(subject_type, subject_id)
    asked = Parameters(
        request,
        "purpose",
        "actor_type",
        "actor_id",
        "action",
        "outcome",
        "reason",
        "rule",
        "from",
        "to",
        "cursor",
        "limit",
    )
    state = request.app.state
    limit = asked.limit(state.editions.at(state.clock.now()).parameters.trail_page_max)
    place = asked.cursor(int, int, int, str)
    actor = _actor(asked)
    wanted = reading.Filter(
        actor=actor,
        act=asked.matching("action", ACT, "an action, such as group.mute"),
        outcome=asked.one_of("outcome", OUTCOMES),
        reason=asked.matching("reason", REASON, "a reason code"),
        rule=asked.matching("rule", RULE, "a rule id"),
        from_at=asked.instant("from"),
        to_at=asked.instant("to"),
    )
    looked = Looked(
        actor_type=None if actor is None else actor.type,  # type: ignore[arg-type]
        actor_id=None if actor is None else actor.id,
        action=wanted.act,
        outcome=wanted.outcome,  # type: ignore[arg-type]
        reason=wanted.reason,
        rule=wanted.rule,
        from_at=_text(wanted.from_at),
        to_at=_text(wanted.to_at),
        page=None if place is None else "next",
    )
    read = await _look(request, caller, subject, "trail", asked.text("purpose"), looked)
    if isinstance(read, Response):
        return read
    *after, first = (*Place(), read) if place is None else place
    db: Db = state.db
    keys: TrailKeys = state["keys"]
    page = await reading.page(db, keys, subject, wanted, after=Place(*after), read=first, limit=limit)
    answer = TrailPage(
        subject=Who(type=subject.type, id=subject.id),
        items=await _told(db, keys, page.records, caller),
        next=None if page.after is None else asked.cursor_to(*page.after, first),
        read_record_id=read,
    )
    return _answered(answer)


@get(
    "/v1/records/{record_id:str}",
    operation_id="trail.record",
    tags=["trail"],
    opt=shows(RecordAnswer, query=PURPOSE) | refuses(Code.PURPOSE_MISSING, Code.PERSON_CLOSED),
)
async def read_record(request: Request[Any, Any, Any], record_id: FromPath[str]) -> Response[bytes]:
    """Read one record."""
    caller = await _caller(request)
    asked = Parameters(request, "purpose")
    state = request.app.state
    found = await _record(state.db, record_id)
    read = await _look(request, caller, _target(found), "record", asked.text("purpose"), Looked(), record_id)
    if isinstance(read, Response):
        return read
    [item] = await _told(state.db, state["keys"], [found], caller)
    return _answered(RecordAnswer(item=item, read_record_id=read))


@get(
    "/v1/responsibility/{subject_type:str}/{subject_id:str}",
    operation_id="trail.chain",
    tags=["trail"],
    opt=shows(Responsibility, query=PURPOSE | {"at": "The instant asked about; now if not said."})
    | refuses(Code.PURPOSE_MISSING, Code.PERSON_CLOSED),
)
async def read_responsibility(
    request: Request[Any, Any, Any], subject_type: FromPath[str], subject_id: FromPath[str]
) -> Response[bytes]:
    """Read who answers for a group, account, operator or record, at any instant since its registration."""
    caller = await _caller(request)
    asked = Parameters(request, "purpose", "at")
    state = request.app.state
    db: Db = state.db
    at = asked.instant("at")
    found = None
    if subject_type == "record":
        found = await _record(db, subject_id)
        subject = _target(found)
        at = at or _at(found)
    elif subject_type in {"group", "account", "operator"}:
        subject = _subject(subject_type, subject_id)
    else:
        raise Refusal(Code.UNKNOWN)
    now: dt.datetime = state.clock.now()
    if at is not None and at > now:
        raise Refusal(Code.MALFORMED, pointer="at", why="in the future")
    looked = Looked(at=_text(at))
    rid = None if found is None else found.record_id
    read = await _look(request, caller, subject, "responsibility", asked.text("purpose"), looked, rid)
    if isinstance(read, Response):
        return read
    async with db.read(snapshot=True) as reader:
        chain = await responsibility.chain(reader, subject.type, subject.id, at or now)
    if found is None:
        if chain is None:
            raise Refusal(Code.UNKNOWN, pointer="at", why="not registered yet")
        return _answered(Responsibility(chain=chain, read_record_id=read))
    [act] = await _told(db, state["keys"], [found], caller)
    follows = await reading.find(db, found.body["links"])
    proposal = next((one for one in follows if one.body["out"] == "proposed"), None)
    approvers = [one for one in follows if one.body["act"] == "approval.grant"]
    if found.body["act"] == "approval.grant" and found.body["out"] == "done":
        approvers.append(found)
    answer = Responsibility(
        chain=chain,
        act=act,
        proposal=None if proposal is None else _step(proposal),
        approvers=[_step(one) for one in approvers],
        follows=[_step(one) for one in follows],
        read_record_id=read,
    )
    return _answered(answer)


ROUTES = [read_trail, read_record, read_responsibility]


async def _caller(request: Request[Any, Any, Any]) -> Caller:
    callers: Callers = request.app.state.callers
    return await callers.caller(request.scope, dict(request.scope["headers"]))


async def _look(
    request: Request[Any, Any, Any],
    caller: Caller,
    subject: Subject,
    view: View,
    purpose: str | None,
    looked: Looked,
    record_id: str | None = None,
) -> str | Response[bytes]:
    """Ask the door for the look; return its record's id, or what it refuses. Takes no request key: each is one more."""
    door: Door = request.app.state.door
    action = ReadTrail(
        subject_type=subject.type,  # type: ignore[arg-type]
        subject_id=subject.id,
        view=view,
        record_id=record_id,
        looked=looked,
        purpose=purpose,
    )
    answer = await door.act(action, caller=caller, request_id=request_id(request))
    if answer.status >= 400:
        return response_of(answer)
    return answer.record_id


def _answered(body: Any) -> Response[bytes]:
    headers = {"cache-control": "private, no-store"}
    return Response(encode(body), media_type="application/json", headers=headers)


def _subject(kind: str, name: str) -> Subject:
    """The subject a path names. Raises Refusal `unknown`."""
    if kind not in TYPES or not ID_PATTERN.fullmatch(name):
        raise Refusal(Code.UNKNOWN)
    return Subject(kind, name)


def _actor(asked: Parameters) -> Subject | None:
    kind, name = asked.one_of("actor_type", ("person", "account", "operator", "staff")), asked.id("actor_id")
    if (kind is None) != (name is None):
        raise Refusal(
            Code.MALFORMED, pointer="actor_type" if kind is None else "actor_id", why="the two go together"
        )
    return None if kind is None or name is None else Subject(kind, name)


async def _record(db: Db, record_id: str) -> Found:
    """The record of this id. Raises Refusal `unknown`."""
    if not RECORD_ID.fullmatch(record_id):
        raise Refusal(Code.UNKNOWN)
    found = await reading.find(db, [record_id])
    if not found:
        raise Refusal(Code.UNKNOWN)
    return found[0]


def _target(found: Found) -> Subject:
    """What the act of a record was about; of a retired one, whom it concerned. Raises Refusal `unknown` where no tag was told."""
    told = (one for one in found.subjects if one is not None)
    target = found.who().get("target") if found.retired_by is None else next(told, None)
    if target is None:
        raise Refusal(Code.UNKNOWN)
    return target


def _at(found: Found) -> dt.datetime:
    return from_us(found.body["ts_us"])


async def _told(db: Db, keys: TrailKeys, records: list[Found], caller: Caller) -> list[TrailItem]:
    """The records as a reader may see them: an authority never sees a personal field opened (S019)."""
    opened = await reading.opened(db, keys, records) if caller.kind == "staff" else {}
    return [_item(one, opened.get(one.record_id, {})) for one in records]


def _item(found: Found, fields: dict[str, Any]) -> TrailItem:
    body = found.body
    places = body["p"].get("who", {})
    return TrailItem(
        record_id=found.record_id,
        at=instant_text(_at(found)),
        act=body["act"],
        outcome=body["out"],
        code=body["p"].get("refusal", {}).get("code"),
        rule=body["rule"],
        edition=body["policy"],
        reason=body["why"],
        by=_by(found),
        who={role: _who(one, body["subj"][places[role]]) for role, one in found.who().items()},
        links=body["links"],
        fields=fields,
        withheld=sorted(body["sd"].keys() - fields.keys()),
        record=body if found.retired_by is None else None,
        retired_by=found.retired_by,
    )


def _step(found: Found) -> Step:
    return Step(
        record_id=found.record_id,
        at=instant_text(_at(found)),
        act=found.body["act"],
        outcome=found.body["out"],
        by=_by(found),
    )


def _by(found: Found) -> By:
    by = found.body["by"]
    return By(
        kind=by["kind"],
        standing=by["standing"],
        who=None if by["tag"] is None else _who(found.actor(), by["tag"]),
    )


def _who(subject: Subject | None, tag: str) -> Who:
    return Who(tag=tag) if subject is None else Who(type=subject.type, id=subject.id)


def _text(at: dt.datetime | None) -> str | None:
    return None if at is None else instant_text(at)
