"""May somebody do something, and why? Asked without acting (S014)."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post

from service.action import action_name
from service.api.acting import body_of, expected_version, headers_of
from service.api.batches import MUTE, Asking
from service.api.callers import Callers
from service.api.documentation import refuses, shows
from service.api.lane import HOT
from service.api.problems import JSON, AsProblem
from service.api.schemas import EXPECTED, named
from service.clock import InstantText, instant_text
from service.door import Door
from service.errors import Code, Refusal
from service.outcome import Checked


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision rests on: who the caller is to the target, and the target as it is now."""

    standings: list[str]
    relations: list[str]
    tier: int | None
    klass: str | None = msgspec.field(name="class")
    jurisdiction: str
    target_standing: str | None
    version: int | None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What the act would be answered at `at`: outcome, status, rule; `refusal` is the problem document it would be.

    `facts` is null where they are not the caller's to know.
    """

    action: str
    allowed: bool
    outcome: str
    status: int
    code: str
    rule: str
    edition: str
    at: InstantText
    facts: Facts | None
    refusal: AsProblem | None


_encode = msgspec.json.Encoder().encode


@post(
    "/v1/checks",
    operation_id="checks",
    tags=["checks"],
    status_code=200,
    opt=HOT
    | shows(Check, body=named("CheckedAct"), example=MUTE, headers=("If-Match",))
    | refuses(
        Code.NOT_IN_STATE,
        Code.GROUP_DISSOLVED,
        Code.VERSION_STALE,
        Code.DURATION_OVER_LIMIT,
        Code.VERIFICATION_STALE,
    ),
)
async def check(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Answer what the act in the body would be answered now. Changes nothing, records nothing, needs no request key."""
    headers = headers_of(request)
    state = request.app.state
    callers: Callers = state.callers
    door: Door = state.door
    asking: Asking = state.checked
    caller = await callers.caller(request.scope, headers)
    action, expected = asking.act(await body_of(request, headers))
    named = expected_version(headers)
    if None not in (named, expected) and named != expected:
        raise Refusal(Code.MALFORMED, pointer=f"/{EXPECTED}", why="If-Match says another")
    checked = await door.check(action, caller=caller, expected=expected if named is None else named)
    body = _encode(_told(action_name(action), checked))
    return Response(body, status_code=200, media_type=JSON)


def _told(name: str, checked: Checked) -> Check:
    answer, stand = checked.answer, checked.stand
    refused = answer.status >= 400
    return Check(
        action=name,
        allowed=not refused,
        outcome=answer.outcome,
        status=answer.status,
        code=answer.code,
        rule=answer.rule,
        edition=checked.edition,
        at=instant_text(checked.at),
        facts=None
        if stand is None
        else Facts(
            standings=[str(one) for one in stand.standings],
            relations=sorted(str(one) for one in stand.relations),
            tier=stand.tier,
            klass=stand.klass,
            jurisdiction=stand.jurisdiction,
            target_standing=stand.target_standing,
            version=stand.version,
        ),
        refusal=msgspec.Raw(answer.body) if refused else None,
    )


ROUTES = [check]
