"""Many acts in one call (S013): an outcome per item, in the order sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Request, Response, post

from service.action import Action, Receipt, action_name
from service.api.acting import (
    body_of,
    converted,
    decoded_by,
    headers_of,
    names_in,
    parsed,
    request_id,
    request_key,
    settled,
)
from service.api.callers import Callers
from service.api.documentation import refuses, shows
from service.api.problems import JSON
from service.api.schemas import EXPECTED, named
from service.door import Door
from service.errors import Code, Problem, Refusal, problem
from service.outcome import Answer


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent: items, each an action by its name with its members."""

    items: list[msgspec.Raw]


class ItemAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one item, as `joined` writes it: a receipt, or the problem that stood in the way."""

    status: int
    receipt: Receipt | msgspec.UnsetType = msgspec.UNSET
    problem: Problem | msgspec.UnsetType = msgspec.UNSET


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answers in the order sent, and the id that their records share."""

    batch: str
    items: list[ItemAnswer]


MUTE = {"action": "group.mute", "group_id": "g", "person_id": "dan", "seconds": 3600, "reason": "fraud"}
_batch = msgspec.json.Decoder(Batch)
_problem = msgspec.json.Encoder().encode


class Asking:
    """Decodes acts that come by name: every action that has a route of its own, and no other (never the sweep's)."""

    def __init__(self, schema: str, kinds: Iterable[type[Action]]) -> None:
        """`kinds`: the actions that may be asked for, as the component `schema` of the document lists them."""
        self.schema = schema
        self.unknown = f"no act of this name can be asked for; `{schema}` in GET /openapi.json lists them"
        self.kinds = tuple(sorted(set(kinds), key=action_name))
        union: Any = self.kinds[0]
        for kind in self.kinds[1:]:
            union = union | kind
        self._union = union
        self._decoder = msgspec.json.Decoder(union)
        self._by_name = {action_name(kind): kind for kind in self.kinds}
        self.members = {action_name(kind): frozenset(kind.__struct_encode_fields__) for kind in self.kinds}

    def act(self, raw: bytes) -> tuple[Action, int | None]:
        """The action of one item and the version it expects. Raises Refusal `malformed` with a pointer into the item."""
        # ASCII without escapes holds neither NUL nor newline, and is NFC: where no name comes twice either, at whatever depth,
        # the quick way is the strict one.
        if raw.isascii() and b"\\" not in raw and EXPECTED.encode() not in raw:
            names = names_in(raw)
            if len(set(names)) == len(names):
                # What is at fault is told by the strict way.
                with suppress(Refusal):
                    return settled(decoded_by(self._decoder, raw)), None
        members = parsed(raw)
        if not isinstance(members, dict):
            raise Refusal(Code.MALFORMED, pointer="", why="an act is an object")
        return self.of(members)

    def of(self, members: dict[str, Any]) -> tuple[Action, int | None]:
        """The action of one item that is parsed already; see `act`. Takes the version out of `members`."""
        expected = members.pop(EXPECTED, None)
        if expected is not None and (type(expected) is not int or not 0 <= expected < 1 << 63):
            raise Refusal(Code.MALFORMED, pointer=f"/{EXPECTED}", why="a whole number")
        name = members.get("action")
        if not isinstance(name, str):
            return converted(members, self._union), expected
        if name not in self._by_name:
            raise Refusal(Code.MALFORMED, pointer="/action", why=self.unknown)
        return converted(members, self._by_name[name]), expected


def asking_of(schema: str, routes: Iterable[Any], *more: type[Action]) -> Asking:
    """Every action among the routes that were made by `governed`, and `more`; see `Asking`.

    Not those whose route does long work before the door is asked: there is one way to them.
    """
    opts = [getattr(route, "opt", {}) for route in routes]
    kinds = [opt["action"] for opt in opts if "action" in opt and "checked_before" not in opt]
    return Asking(schema, [*kinds, *more])


def target_of(action: Action) -> tuple[Any, ...]:
    """What two items of one batch may not share: the ids they name, and the locator of an item.

    Acts that name none (they are about the caller himself) share their noun.
    """
    named = tuple(
        (name, getattr(action, name))
        for name in action.__struct_fields__
        if name.endswith("_id") or name == "locator"
    )
    return named or (action_name(action).split(".", 1)[0],)


def batch_id(key_id: str, key: str) -> str:
    """The id that a batch's records share: the same again for the same request key of the same caller."""
    return hashlib.sha256(f"mandate-batch/v1\n{key_id}\n{key}".encode()).hexdigest()[:32]


@post(
    "/v1/batches",
    operation_id="batches",
    tags=["batches"],
    status_code=200,
    opt=shows(
        BatchAnswer,
        body={
            "type": "object",
            "properties": {"items": {"type": "array", "items": named("Act")}},
            "required": ["items"],
            "additionalProperties": False,
        },
        example={"items": [MUTE]},
        headers=("Idempotency-Key",),
    )
    | refuses(Code.DUPLICATE_TARGET, Code.BATCH_LIMIT),
)
async def do_batch(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Do up to `batch_max` acts; one refusal never stops the others, and each has its own record."""
    headers = headers_of(request)
    state = request.app.state
    callers: Callers = state.callers
    door: Door = state.door
    caller = await callers.caller(request.scope, headers)
    key = request_key(headers)
    body = await body_of(request, headers)
    sent: Batch = decoded_by(_batch, body)
    if len(names_in(body)) > 1 + sum(len(names_in(bytes(raw))) for raw in sent.items):
        raise Refusal(Code.MALFORMED, pointer="", why="a member is said twice")
    most = state.editions.at(state.clock.now()).parameters.batch_max
    if len(sent.items) > most:
        raise Refusal(Code.BATCH_LIMIT, pointer="/items", maximum=most, count=len(sent.items))
    answers: list[Answer | None] = [None] * len(sent.items)
    acts: list[tuple[int, Action, int | None]] = []
    asking: Asking = state.batched
    for place, raw in enumerate(sent.items):
        try:
            action, expected = asking.act(bytes(raw))
            acts.append((place, action, expected))
        except Refusal as refusal:
            answers[place] = _refused_alone(refusal, place)
    _refuse_repeats(acts)
    batch = batch_id(caller.key_id, key)
    done = await door.act_all(acts, caller=caller, key=key, batch=batch, request_id=request_id(request))
    for (place, _, _), answer in zip(acts, done, strict=True):
        answers[place] = _placed(answer, place)
    told = joined(batch, answers)  # type: ignore[arg-type]  every place is filled by now
    return Response(told, status_code=200, media_type=JSON)


def joined(batch: str, answers: Sequence[Answer]) -> bytes:
    """The answer: the bytes of receipts and problem documents as the door gave them, under one batch id."""
    items = b",".join(
        b'{"status":%d,"%s":%s}'
        % (answer.status, b"problem" if answer.status >= 400 else b"receipt", answer.body)
        for answer in answers
    )
    return b'{"batch":"%s","items":[%s]}' % (batch.encode(), items)


def _refused_alone(refusal: Refusal, place: int) -> Answer:
    """The answer to an item that never became an act; its pointer leads from the whole body."""
    refusal.pointer = f"/items/{place}{refusal.pointer or ''}"
    return Answer(refusal.code.status, _problem(problem(refusal)))


def _placed(answer: Answer, place: int) -> Answer:
    """What the door answered to an item; the pointer of a refusal leads from the whole body too."""
    if answer.status < 400:
        return answer
    body = answer.body.replace(b'"pointer":"/', b'"pointer":"/items/%d/' % place, 1)
    return msgspec.structs.replace(answer, body=body)


def _refuse_repeats(acts: Sequence[tuple[int, Action, int | None]]) -> None:
    """Refuse the whole call with `duplicate_target` where two items name the same target."""
    first: dict[tuple[Any, ...], int] = {}
    for place, action, _ in acts:
        earlier = first.setdefault(target_of(action), place)
        if earlier != place:
            raise Refusal(Code.DUPLICATE_TARGET, pointer=f"/items/{place}", first=f"/items/{earlier}")


ROUTES = [do_batch]
