"""Tiers over REST: what would change, whether like is treated alike, and ranking all again after the table has changed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from service.action import Id
from service.api.acting import body_of, converted, governed, headers_of, parsed
from service.api.documentation import refuses, shows
from service.api.reading import USUAL, Cursor, KnownCaller, Limit, Parameters, reader, shown, text_of
from service.caller import Caller
from service.clock import InstantText
from service.db import Db, queries
from service.domain import consistency, forecast, tiers
from service.domain.consistency import Deviation, Odd, Overridden, OverrideCount
from service.domain.forecast import Forecast
from service.domain.groups.life import within_cap
from service.domain.reranking import PlanBulk, RunBulk, StopBulk, TierPlan
from service.domain.tiers import Basis, Kind
from service.editions import Editions
from service.errors import Code, Refusal
from service.policy import Policy, PolicyError

sql = queries(__file__)
_Request = Request[Any, Any, Any]
_MOST_COUNTED = 10_000
"""Overrides that are counted by member of staff; those before are in the list."""


class WhatIf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked: of all subjects of a kind, or of one, under other facts, an override, another edition.

    `facts` by the names of tiers.csv; those not named are as they are. The other edition is an adopted one by its digest,
    or the texts of all files of a policy folder; without either it is the one in force.
    """

    verbatim: ClassVar[frozenset[str]] = frozenset({"files"})

    kind: Kind
    id: Id | None = None
    facts: dict[str, str | int | bool | None] = {}
    override: Annotated[int, msgspec.Meta(ge=1, le=4)] | None = None
    edition: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    files: Annotated[dict[str, str], msgspec.Meta(max_length=20)] | None = None


class SubjectPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of one subject. `later`: the tier after the wait, where it is lower still.

    `result` is what ranking would store. `override_floor`: the floor that an override asked about would go below.
    `obligations`: what the new tier asks otherwise. `losses`: what could be done before and not after.
    """

    kind: Kind
    id: str
    edition: str
    tier_before: int | None
    tier: int
    later: int | None
    result: Basis
    obligations: dict[str, int | str | None]
    override_floor: int | None
    needs_credential: bool
    losses: list[str]


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: of one subject, or of all."""

    subject: SubjectPreview | None = None
    all: Forecast | None = None


class OddPage(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects by id, those the key opens; `next` is the cursor of the following page, null on the last."""

    items: list[Odd]
    next: str | None


class Deviations(msgspec.Struct, frozen=True):
    """By profile: where facts that weigh the same go with another tier, the most numerous first."""

    edition: str
    items: list[Deviation]


class OverridePage(msgspec.Struct, frozen=True, kw_only=True):
    """Overrides in the order of their proposals; `next` is the cursor of the following page, null on the last."""

    items: list[Overridden]
    next: str | None


class OverrideCounts(msgspec.Struct, frozen=True):
    """Overrides by member of staff, kind, class and direction."""

    items: list[OverrideCount]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk re-ranking: its dry run, its state, and how far it has come."""

    plan_id: str
    kind: Kind
    edition: str
    state: Literal["planned", "running", "stopped", "done"]
    counts: dict[str, Any]
    looked: int
    changed: int
    created_at: InstantText
    run_record: str | None
    ended_at: InstantText | None
    ended_record: str | None
    version: int


class PlanPage(msgspec.Struct, frozen=True, kw_only=True):
    """Plans, the first one first; `next` is the cursor of the following page, null on the last."""

    items: list[Plan]
    next: str | None


WHAT_IF: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["group", "account"]},
        "id": {"type": "string", "description": "One subject; without it, all of the kind."},
        "facts": {"type": "object", "description": "Other facts of the one, by the names of tiers.csv."},
        "override": {"type": "integer", "minimum": 1, "maximum": 4},
        "edition": {"type": "string", "description": "Digest of an adopted edition."},
        "files": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["kind"],
    "additionalProperties": False,
}


@post(
    "/v1/tiers/preview",
    operation_id="tier.preview",
    tags=["tier"],
    status_code=200,
    opt=shows(
        Preview, body=WHAT_IF, example={"kind": "account", "id": "a-1", "facts": {"followers": 2_000_000}}
    )
    | refuses(Code.CAP_MEMBERS),
)
async def preview(request: _Request) -> Response[bytes]:
    """Tell what a fact, an override or another edition would change, for one subject or for all. Changes nothing."""
    headers = headers_of(request)
    caller = await _staff(request, "tier")
    body = parsed(await body_of(request, headers))
    if not isinstance(body, dict):
        raise Refusal(Code.MALFORMED, pointer="", why="the body must be an object")
    asked: WhatIf = converted(body, WhatIf)
    old = _in_force(request)
    new = await _edition(request, asked, old)
    at = request.app.state.clock.now()
    db: Db = request.app.state.db
    if asked.id is None:
        if asked.facts or asked.override is not None:
            raise Refusal(Code.MALFORMED, pointer="/id", why="other facts and an override are of one subject")
        _whole(caller)
        async with db.read(snapshot=True) as connection:
            return shown(Preview(all=await forecast.forecast(connection, old, new, asked.kind, at=at)))
    async with db.read() as connection:
        row = await forecast.sql.one_subject(connection, kind=asked.kind, id=asked.id)
    if row is None:
        raise Refusal(Code.UNKNOWN)
    caller.inside(row["jurisdiction"], row["tier"])
    seen = forecast.seen_of(new, asked.kind, row, at=at)
    seen = seen._replace(facts={**seen.facts, **_possible(new, asked)})
    found = forecast.outcome(new, asked.kind, seen, at=at, override=asked.override)
    klass = str(seen.facts["class" if asked.kind == "account" else "nature"])
    return shown(
        Preview(
            subject=SubjectPreview(
                kind=asked.kind,
                id=asked.id,
                edition=new.edition,
                tier_before=seen.tier,
                tier=found.tier,
                later=found.later,
                result=found.basis,
                obligations=tiers.obligations(new, asked.kind, seen.tier, found.tier),
                override_floor=found.basis.floor if (asked.override or 4) < found.basis.floor else None,
                needs_credential=asked.kind == "account" and forecast.needs_credential(new, klass),
                losses=forecast.losses(old, new, asked.kind, seen, found.tier),
            )
        )
    )


def _possible(policy: Policy, asked: WhatIf) -> dict[str, tiers.Fact]:
    """The facts of a what-if, of the names and kinds that the table knows. Raises Refusal `malformed`."""
    table = policy.tiers[asked.kind]
    for name, value in asked.facts.items():
        scales = [scales[name] for scales in (table.points, table.floors) if name in scales]
        pointer = f"/facts/{name}"
        if not scales:
            known = ", ".join(sorted({*table.points, *table.floors}))
            raise Refusal(Code.MALFORMED, pointer=pointer, why=f"is none of {known}")
        words = {word for scale in scales for word in scale.words}
        counted = any(scale.bands for scale in scales)
        said = {None: "unknown", True: "yes", False: "no"}.get(value, value)  # type: ignore[arg-type]
        if isinstance(value, int) and not isinstance(value, bool) and counted:
            most = policy.tiers[asked.kind].points.get(name)
            last = None if most is None or not most.bands else most.bands[-1].high
            limit = last if last is not None else getattr(policy.parameters, f"{name}_max", 10**12)
            if not 0 <= value <= limit:
                raise Refusal(Code.MALFORMED, pointer=pointer, why="is impossible", maximum=limit)
            if name == "capacity":
                within_cap(policy, value)
        elif said not in words and not (name == "minors" and value in ("no", "unknown")):
            raise Refusal(Code.MALFORMED, pointer=pointer, why="is no value of this fact")
    return dict(asked.facts)


async def _edition(request: _Request, asked: WhatIf, old: Policy) -> Policy:
    """The edition a what-if asks about. Raises Refusal `malformed` with every fault of its files, `unknown`."""
    if asked.edition is not None and asked.files is not None:
        raise Refusal(
            Code.MALFORMED, pointer="/files", why="an edition is told by its digest or by its files"
        )
    files = asked.files
    if asked.edition is not None and asked.edition != old.edition:
        db: Db = request.app.state.db
        async with db.read() as connection:
            files = await sql.edition_files(connection, digest=asked.edition)
        if files is None:
            raise Refusal(Code.UNKNOWN)
    if files is None:
        return old
    chosen: Editions = request.app.state.editions
    adopted = asked.files is None
    try:
        texts = {name: text.encode() for name, text in files.items()}
        return await chosen.read(texts, adopted=adopted, decides=not adopted)
    except UnicodeEncodeError:
        raise Refusal(Code.MALFORMED, pointer="/files", why="a text is not Unicode") from None
    except PolicyError as error:
        faults = [msgspec.to_builtins(problem) for problem in error.problems]
        raise Refusal(Code.MALFORMED, pointer="/files", faults=faults) from None


@get("/v1/tiers/deviations", operation_id="tier.deviations", tags=["tier"])
async def list_deviations(request: _Request, kind: FromQuery[Kind]) -> Response[Deviations]:
    """Where facts that weigh the same under the edition in force go with another tier: counted, by profile. For staff."""
    Parameters(request, "kind")
    _whole(await _staff(request, kind))
    policy = _in_force(request)
    db: Db = request.app.state.db
    async with db.read(snapshot=True) as connection:
        found = await consistency.deviations(connection, policy, kind, at=request.app.state.clock.now())
    return shown(Deviations(policy.edition, found))


@get("/v1/tiers/consistency", operation_id="tier.consistency", tags=["tier"])
async def list_odd(
    request: _Request, kind: FromQuery[Kind], cursor: Cursor = None, limit: Limit = USUAL
) -> Response[OddPage]:
    """The subjects whose tier is not the one their facts give, each with why and by which records. For staff."""
    asked = Parameters(request, "kind", "cursor", "limit")
    place = asked.cursor(str)
    caller = await _staff(request, kind)
    db: Db = request.app.state.db
    async with db.read(snapshot=True) as connection:
        found = await consistency.odd_ones(
            connection,
            _in_force(request),
            kind,
            at=request.app.state.clock.now(),
            after="" if place is None else place[0],
            most=limit + 1,
        )
    page = found[:limit]
    following = asked.cursor_to(page[-1].id) if len(found) > limit else None
    return shown(
        OddPage(items=[one for one in page if caller.sees(one.jurisdiction, one.tier)], next=following)
    )


@get("/v1/tiers/overrides", operation_id="tier.overrides", tags=["tier"])
async def list_overrides(
    request: _Request, kind: FromQuery[Kind | None] = None, cursor: Cursor = None, limit: Limit = USUAL
) -> Response[OverridePage]:
    """Every proposed override of a tier, with its direction and its records. For staff."""
    asked = Parameters(request, "kind", "cursor", "limit")
    place = asked.cursor(str)
    _whole(await _staff(request, "tier"))
    db: Db = request.app.state.db
    async with db.read() as connection:
        found = await consistency.overrides(
            connection, kind=kind, after="" if place is None else place[0], most=limit + 1
        )
    following = asked.cursor_to(found[limit - 1].approval_id) if len(found) > limit else None
    return shown(OverridePage(items=found[:limit], next=following))


@get("/v1/tiers/override-counts", operation_id="tier.override_counts", tags=["tier"])
async def count_overrides(request: _Request, kind: FromQuery[Kind | None] = None) -> Response[OverrideCounts]:
    """Overrides by member of staff, class and direction, each with the records that proposed them. For staff."""
    Parameters(request, "kind")
    _whole(await _staff(request, "tier"))
    db: Db = request.app.state.db
    async with db.read() as connection:
        found = await consistency.overrides(connection, kind=kind, after="", most=_MOST_COUNTED)
    return shown(OverrideCounts(consistency.counted(found)))


@get("/v1/tiers/plans", operation_id="tier.plans", tags=["tier"])
async def list_plans(request: _Request, cursor: Cursor = None, limit: Limit = USUAL) -> Response[PlanPage]:
    """Plans of bulk re-ranking. For staff."""
    asked = Parameters(request, "cursor", "limit")
    place = asked.cursor(str)
    await _staff(request, "tier")
    db: Db = request.app.state.db
    async with db.read() as connection:
        rows = await sql.plans(connection, after="" if place is None else place[0], most=limit + 1)
    items = [_plan(row) for row in rows[:limit]]
    return shown(
        PlanPage(items=items, next=asked.cursor_to(items[-1].plan_id) if len(rows) > limit else None)
    )


@get("/v1/tiers/plans/{plan_id:str}", operation_id="tier.plan", tags=["tier"])
async def show_plan(request: _Request, plan_id: FromPath[str]) -> Response[Plan]:
    """One plan: its dry run with samples, and how far it has come. For staff."""
    Parameters(request)
    await _staff(request, "tier")
    db: Db = request.app.state.db
    async with db.read() as connection:
        row = await sql.plan(connection, plan_id=plan_id)
    if row is None:
        raise Refusal(Code.UNKNOWN)
    return shown(_plan(row), version=row["version"])


def _plan(row: Any) -> Plan:
    plan = TierPlan.from_record(tuple(row)[: len(TierPlan.__struct_fields__)])
    return Plan(
        plan_id=plan.plan_id,
        kind=plan.kind,
        edition=plan.edition,
        state=plan.state,
        counts=plan.counts,
        looked=row["looked"] or 0,
        changed=row["changed"] or 0,
        created_at=text_of(plan.created_at) or "",
        run_record=plan.run_record,
        ended_at=text_of(plan.ended_at),
        ended_record=plan.ended_record,
        version=plan.version,
    )


async def _staff(request: _Request, family: str) -> KnownCaller:
    """Who reads, which only present staff may. Raises Refusal as `reader`."""
    caller = await reader(request, family)
    if caller.kind != "staff":
        raise Refusal(Code.REFUSED)
    return caller


def _whole(caller: KnownCaller) -> None:
    """Refuse `key_scope` to a key that opens a part only, where the answer counts all."""
    if caller.tiers or caller.jurisdictions:
        raise Refusal(Code.KEY_SCOPE)


def _in_force(request: _Request) -> Policy:
    state = request.app.state
    chosen: Editions = state.editions
    return chosen.at(state.clock.now())


async def dry_run(request: _Request, caller: Caller, asked: PlanBulk) -> None:
    """Count, before the door is asked, what the plan would change. Whoever is no staff is not worth the work."""
    if caller.kind != "staff":
        return
    policy, at = _in_force(request), request.app.state.clock.now()
    db: Db = request.app.state.db
    async with db.read(snapshot=True) as connection:
        made = await forecast.forecast(connection, policy, policy, asked.kind, at=at)
    async with db.transaction() as tx:
        await forecast.keep(tx, made, at=at)


ROUTES = [
    preview,
    list_deviations,
    list_odd,
    list_overrides,
    count_overrides,
    governed(
        "POST", "/v1/tiers/plans", PlanBulk, example={"kind": "account", "reason": "routine"}, check=dry_run
    ),
    list_plans,
    show_plan,
    governed("POST", "/v1/tiers/plans/{plan_id}/run", RunBulk, example={"reason": "routine"}),
    governed("POST", "/v1/tiers/plans/{plan_id}/stop", StopBulk, example={"reason": "routine"}),
]
