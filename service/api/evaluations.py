"""May somebody do something? Asked in the words of the OpenID AuthZEN Authorization API 1.0, without acting (S014).

The act is the one that /v1/checks takes, spelled by one rule: `action.name` is its name, `action.properties` are its members, and
the resource is one more of them: the id of a `group` is `group_id`, and so on; acts about a subject of any type (`trail.read`)
have `subject_type` and `subject_id` of it. What the standard adds beside (properties of subject and resource, context) claims
facts, which the service finds for itself: like every member it does not know, it is ignored.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from litestar import Request, Response, get, post

from service.action import ID_PATTERN, Action
from service.api.acting import body_of, headers_of, parsed, shaped
from service.api.batches import Asking
from service.api.callers import Callers
from service.api.documentation import refuses, shows
from service.api.lane import HOT
from service.api.problems import JSON, AsProblem
from service.api.schemas import EXPECTED
from service.caller import Caller
from service.clock import InstantText, instant_text
from service.door import Door
from service.errors import Code, Refusal, problem
from service.outcome import Checked

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ONE, _MANY = "/access/v1/evaluation", "/access/v1/evaluations"


class Entity(msgspec.Struct, frozen=True):
    """A subject or a resource. What it claims of itself in `properties` is not looked at."""

    type: str
    id: str
    properties: dict[str, Any] = {}


class Named(msgspec.Struct, frozen=True):
    """An action by its name, with the members that the resource does not name."""

    name: str
    properties: dict[str, Any] = {}


class Evaluation(msgspec.Struct, frozen=True):
    """One question: may this subject do this to that resource?"""

    subject: Entity
    action: Named
    resource: Entity
    context: dict[str, Any] = {}


Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]


class Options(msgspec.Struct, frozen=True):
    """Whether the answers end with the first denial or the first permit."""

    evaluations_semantic: Semantic = "execute_all"


class Sent(msgspec.Struct, frozen=True):
    """What is sent beside the defaults: questions, each looked at by itself, and how they are to be answered."""

    evaluations: list[Any] = []
    options: Options = Options()


class Because(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why: what the act would be answered at `at`, under which rule of which edition.

    `outcome` is `done`, `proposed` (others must agree before anything happens) or `refused`; then `reason` is the code and
    `refusal` the problem document. Without `edition` the question was at fault and nothing was looked at.
    """

    outcome: str
    status: int
    reason: str = ""
    rule: str = ""
    edition: str = ""
    at: InstantText | msgspec.UnsetType = msgspec.UNSET
    refusal: AsProblem | msgspec.UnsetType = msgspec.UNSET


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question: true only where the act would be done, by this alone."""

    decision: bool
    context: Because


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """The answers in the order asked; where no list was sent, one decision as `Decision` has it."""

    evaluations: list[Decision] | msgspec.UnsetType = msgspec.UNSET
    decision: bool | msgspec.UnsetType = msgspec.UNSET
    context: Because | msgspec.UnsetType = msgspec.UNSET


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Where decisions are to be had, as seen by who asks."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str


class _Question(NamedTuple):
    caller: Caller
    action: Action
    expected: int | None


_TEXT: dict[str, Any] = {"type": "string"}
_ANY: dict[str, Any] = {"type": "object"}
_ENTITY: dict[str, Any] = {
    "type": "object",
    "properties": {"type": _TEXT, "id": _TEXT, "properties": _ANY},
    "required": ["type", "id"],
}
_PARTS: dict[str, Any] = {
    "subject": _ENTITY | {"description": "`person` (with a backend's key), or the key's own holder."},
    "action": {
        "type": "object",
        "description": "An act by its name, with the members that the resource does not name.",
        "properties": {"name": _TEXT, "properties": _ANY},
        "required": ["name"],
    },
    "resource": _ENTITY | {"description": "One of the ids that the act names: type `group` for `group_id`."},
    "context": _ANY,
}
_REQUIRED = ["subject", "action", "resource"]
_MUTE = {"name": "group.mute", "properties": {"person_id": "dan", "seconds": 3600, "reason": "fraud"}}
_BEN, _GROUP = {"type": "person", "id": "ben"}, {"type": "group", "id": "g"}
_encode = msgspec.json.Encoder().encode


@post(
    _ONE,
    operation_id="evaluation",
    tags=["evaluations"],
    status_code=200,
    opt=HOT
    | shows(
        Decision,
        body={"type": "object", "properties": _PARTS, "required": _REQUIRED},
        example={"subject": _BEN, "action": _MUTE, "resource": _GROUP},
    ),
)
async def evaluate(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Answer whether a subject may do something (AuthZEN). Changes nothing, records nothing; see `/v1/checks`.

    `action.name` is the name of an act, `action.properties` are its members, and the resource is one more: its id is the member
    named by its type, `group_id` for `group` (`subject_type` and `subject_id` where an act has these). A backend's key asks for
    any person (`type` `person`), and every key for its own holder (`backend`, `staff` or `regulator`, and his id); another
    subject is `key_scope`. Unknown members are ignored. A denial is 200 with `decision` false; so is an act that would
    only be proposed, since who enforces a decision must not do what others have yet to agree to: `context.outcome` tells.
    """
    caller, body = await _asked(request)
    question = _question(request.app.state.checked, caller, body, {}, "")
    return _answered(await _decide(request, question))


@post(
    _MANY,
    operation_id="evaluations",
    tags=["evaluations"],
    status_code=200,
    opt=HOT
    | shows(
        Decisions,
        body={
            "type": "object",
            "properties": {
                **_PARTS,
                "evaluations": {"type": "array", "items": {"type": "object", "properties": _PARTS}},
                "options": {
                    "type": "object",
                    "properties": {
                        "evaluations_semantic": {"type": "string", "enum": list(get_args(Semantic))}
                    },
                },
            },
        },
        example={
            "subject": _BEN,
            "action": _MUTE,
            "evaluations": [{"resource": _GROUP}, {"resource": {"type": "group", "id": "h"}}],
        },
    )
    | refuses(Code.BATCH_LIMIT),
)
async def evaluate_all(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Answer up to `batch_max` questions (AuthZEN), each as `evaluation` would; a faulty one is false and stops no other.

    `subject`, `action`, `resource` and `context` beside the list stand in where a question has none of its own. The answers end
    with the first denial or permit where `options.evaluations_semantic` says so. Without a list this is `evaluation`.
    """
    caller, body = await _asked(request)
    state = request.app.state
    sent: Sent = shaped(body, Sent)
    if not sent.evaluations:
        question = _question(state.checked, caller, body, {}, "")
        return _answered(await _decide(request, question))
    most = state.editions.at(state.clock.now()).parameters.batch_max
    if len(sent.evaluations) > most:
        raise Refusal(Code.BATCH_LIMIT, pointer="/evaluations", maximum=most, count=len(sent.evaluations))
    decisions: dict[int, Decision] = {}
    questions: dict[int, _Question] = {}
    for place, own in enumerate(sent.evaluations):
        try:
            questions[place] = _question(state.checked, caller, own, body, f"/evaluations/{place}")
        except Refusal as refusal:
            decisions[place] = _at_fault(refusal)
    # All at once, whatever the semantic: then they are looked for together, and nobody notices those not told.
    found = await asyncio.gather(*(_decide(request, one) for one in questions.values()))
    decisions |= dict(zip(questions, found, strict=True))
    last = {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(
        sent.options.evaluations_semantic
    )
    told: list[Decision] = []
    for place in range(len(sent.evaluations)):
        told.append(decisions[place])
        if decisions[place].decision is last:
            break
    return _answered(Decisions(evaluations=told))


@get(
    "/.well-known/authzen-configuration",
    operation_id="evaluations.configuration",
    tags=["evaluations"],
    opt={"public": True} | shows(Configuration) | refuses(Code.MALFORMED),
)
async def configuration(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show where decisions are to be had (AuthZEN), under the name by which the caller reached the service."""
    host = headers_of(request).get(b"host", b"")
    if not _HOST.fullmatch(host):
        raise Refusal(Code.MALFORMED, pointer="Host")
    here = f"{request.scope['scheme']}://{host.decode()}"
    return _answered(
        Configuration(
            policy_decision_point=here,
            access_evaluation_endpoint=here + _ONE,
            access_evaluations_endpoint=here + _MANY,
        )
    )


async def _asked(request: Request[Any, Any, Any]) -> tuple[Caller, dict[str, Any]]:
    """Who asks, and the body, which can be read in one way only. Raises Refusal."""
    headers = headers_of(request)
    callers: Callers = request.app.state.callers
    caller = await callers.caller(request.scope, headers)
    body = parsed(await body_of(request, headers))
    if not isinstance(body, dict):
        raise Refusal(Code.MALFORMED, pointer="", why="the body must be an object")
    return caller, body


def _question(asking: Asking, caller: Caller, own: Any, defaults: Mapping[str, Any], place: str) -> _Question:
    """What is asked by the parts of a question, its `own` or else the defaults; `place` is where its own stand in the body.

    Raises Refusal `malformed`, `key_scope` with a pointer from the whole body.
    """
    if not isinstance(own, dict):
        raise Refusal(Code.MALFORMED, pointer=place, why="a question is an object")
    parts = {name: own.get(name, defaults.get(name)) for name in _PARTS if name in own or name in defaults}
    try:
        asked: Evaluation = shaped(parts, Evaluation)
        action, expected = _act(asking, asked.action, asked.resource)
        return _Question(_for(caller, asked.subject), action, expected)
    except Refusal as refusal:
        pointer = refusal.pointer or ""
        by_default = _first(pointer) in defaults.keys() - own.keys()
        refusal.pointer = pointer if by_default else place + pointer
        raise


def _act(asking: Asking, named: Named, resource: Entity) -> tuple[Action, int | None]:
    """The act, and the version of its subject that is expected."""
    known = asking.members.get(named.name)
    if known is None:
        raise Refusal(Code.MALFORMED, pointer="/action/name", why=asking.unknown)
    given = (
        {"subject_type": resource.type, "subject_id": resource.id}
        if "subject_type" in known
        else {f"{resource.type}_id": resource.id}
    )
    if not given.keys() <= known:
        raise Refusal(Code.MALFORMED, pointer="/resource/type", why="the act names no id of this type")
    members = {name: value for name, value in named.properties.items() if name in known or name == EXPECTED}
    for name in given.keys() & members:
        raise Refusal(Code.MALFORMED, pointer=f"/action/properties/{name}", why="named by the resource")
    try:
        return asking.of({**members, **given, "action": named.name})
    except Refusal as refusal:
        first = _first(refusal.pointer or "")
        part = "/resource/type" if first == "subject_type" else "/resource/id"
        refusal.pointer = part if first in given else f"/action/properties{refusal.pointer or ''}"
        raise


def _first(pointer: str) -> str:
    """The member of the outermost object that a JSON pointer leads through."""
    return pointer.partition("/")[2].partition("/")[0]


def _for(caller: Caller, subject: Entity) -> Caller:
    """Whom the key asks for: a backend's for any person, each for its own holder. Raises Refusal `key_scope`, `malformed`."""
    if caller.kind == "backend" and subject.type == "person":
        if not ID_PATTERN.fullmatch(subject.id):
            raise Refusal(Code.MALFORMED, pointer="/subject/id")
        return msgspec.structs.replace(caller, kind="person", person_id=subject.id)
    own = {"backend": caller.key_id, "person": caller.person_id}.get(caller.kind, caller.staff_id)
    if (subject.type, subject.id) != (caller.kind, own):
        raise Refusal(Code.KEY_SCOPE, pointer="/subject")
    return caller


async def _decide(request: Request[Any, Any, Any], question: _Question) -> Decision:
    """What the door answers. Raises Refusal `key_invalid`: then it is not the act that is refused."""
    door: Door = request.app.state.door
    checked: Checked = await door.check(question.action, caller=question.caller, expected=question.expected)
    answer = checked.answer
    if answer.code == Code.KEY_INVALID:
        raise Refusal(Code.KEY_INVALID)
    because = Because(
        outcome=answer.outcome,
        status=answer.status,
        reason=answer.code,
        rule=answer.rule,
        edition=checked.edition,
        at=instant_text(checked.at),
        refusal=msgspec.Raw(answer.body) if answer.outcome == "refused" else msgspec.UNSET,
    )
    return Decision(decision=answer.outcome == "done", context=because)


def _at_fault(refusal: Refusal) -> Decision:
    """The answer to a question that could not be asked."""
    because = Because(
        outcome="refused",
        status=refusal.code.status,
        reason=refusal.code.value,
        refusal=msgspec.Raw(_encode(problem(refusal))),
    )
    return Decision(decision=False, context=because)


def _answered(answer: msgspec.Struct) -> Response[bytes]:
    return Response(_encode(answer), status_code=200, media_type=JSON)


ROUTES = [evaluate, evaluate_all, configuration]
