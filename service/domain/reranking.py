"""Bulk re-ranking after the table has changed: planned dry, agreed to by two, run under one parent, stopped by anybody.

The acts by which single subjects move are `group.rank` and `account.rank`; they name the plan they belong to.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from service.action import Action, Change, Id, Need, Note, Reason, Situation, Stand, Subject
from service.clock import instant_text
from service.db import Tx
from service.domain import staff
from service.domain.tiers import Kind
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Terms


class TierForecast(Row, frozen=True, kw_only=True):
    """What ranking all subjects of a kind again would change: counted before a plan is made, outside of any act."""

    table = "tier_forecast"
    key = ("kind",)

    kind: str
    edition: str
    at: dt.datetime
    counts: dict[str, Any]


@subject
class TierPlan(Row, frozen=True, kw_only=True):
    """A bulk re-ranking: of what, under which edition, what its dry run counted, and how far it has come in life.

    `plan_id` is the id of the record that planned it, `run_record` of the one that set it running: the parent of all.
    """

    table = "tier_plan"
    key = ("plan_id",)

    plan_id: str
    kind: Kind
    edition: str
    counts: dict[str, Any]
    state: Literal["planned", "running", "stopped", "done"] = "planned"
    created_at: dt.datetime
    run_record: str | None = None
    ended_at: dt.datetime | None = None
    ended_record: str | None = None
    version: int = 1

    def with_(self, **facts: Any) -> TierPlan:
        """The row with some facts changed and its version grown by one."""
        return msgspec.structs.replace(self, version=self.version + 1, **facts)


class Ranked(msgspec.Struct, frozen=True):
    """One more subject that a plan has moved: counted in the very transaction that moves it."""

    plan_id: str

    @classmethod
    async def apply(cls, tx: Tx, writes: Sequence[Ranked]) -> None:
        """Count them all in one statement per plan."""
        for plan_id in dict.fromkeys(one.plan_id for one in writes):
            number = sum(one.plan_id == plan_id for one in writes)
            await tx.execute(
                "UPDATE tier_progress SET changed = changed + $2 WHERE plan_id = $1", plan_id, number
            )


class Begun(msgspec.Struct, frozen=True):
    """A plan that begins to run: its progress, from nothing."""

    plan_id: str

    @classmethod
    async def apply(cls, tx: Tx, writes: Sequence[Begun]) -> None:
        """Add the rows of progress."""
        for one in writes:
            await tx.execute("INSERT INTO tier_progress (plan_id) VALUES ($1)", one.plan_id)


def plan_needs(plan_id: str | None) -> list[Need]:
    """What an act on one subject looks at to belong to a plan."""
    return [] if plan_id is None else [Need(TierPlan, (plan_id,))]


def plan_of(here: Situation, plan_id: str | None, kind: Kind) -> TierPlan | None:
    """The running plan that an act names; None where it names none.

    Raises Refusal `malformed` (only time works through a plan), `not_in_state`, `plan_stale` (another edition is in force).
    """
    if plan_id is None:
        return None
    if here.caller.kind != "sweep":
        raise Refusal(Code.MALFORMED, pointer="/plan", why="a plan is worked through by time alone")
    plan = here.get(TierPlan, plan_id)
    if plan.state != "running" or plan.kind != kind:
        raise Refusal(Code.NOT_IN_STATE, state=plan.state)
    if plan.edition != here.policy.edition:
        raise Refusal(Code.PLAN_STALE, edition=plan.edition)
    return plan


class PlanBulk(Action, frozen=True, kw_only=True, tag="tier.plan_bulk"):
    """Plan to rank all groups or all accounts again under the edition in force. Changes none of them: a dry run.

    The record keeps what was counted: how many would move from which tier to which, at once or after the wait.
    """

    created: ClassVar[bool] = True

    kind: Kind
    reason: Reason | None = None
    note: Note | None = None

    def target(self, here: Situation) -> Subject:
        """The platform's whole territory."""
        del here
        return Subject("jurisdiction", "CN")

    def asked(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(TierForecast, (self.kind,)), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        return staff.stand(here)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `plan_stale` where the edition changed while it was counted."""
        del terms
        forecast = here.find(TierForecast, self.kind)
        if forecast is None or forecast.edition != here.policy.edition:
            raise Refusal(Code.PLAN_STALE)
        plan = TierPlan(
            plan_id=here.record_id,
            kind=self.kind,
            edition=forecast.edition,
            counts=forecast.counts,
            created_at=here.at,
        )
        counts = {name: value for name, value in forecast.counts.items() if name not in {"moves", "samples"}}
        moves = [
            {name: move[name] for name in ("from", "to", "when", "count")}
            for move in forecast.counts.get("moves", [])
        ]
        return Change(
            writes=[plan],
            after={
                "kind": self.kind,
                "edition": plan.edition,
                "counted_at": instant_text(forecast.at),
                "subjects": counts.get("subjects", 0),
                "moves": moves,
            },
            result={
                "plan_id": plan.plan_id,
                "state": plan.state,
                "subjects": counts.get("subjects", 0),
                "moves": moves,
            },
        )


class _OnPlan(Action, frozen=True, kw_only=True):
    plan_id: Id

    def target(self, here: Situation) -> Subject:
        del here
        return Subject("jurisdiction", "CN")

    def needs(self, caller: Caller) -> Sequence[Need]:
        return [Need(TierPlan, (self.plan_id,), write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        return staff.stand(here)._replace(version=here.get(TierPlan, self.plan_id).version)

    def ended(self, here: Situation, state: Literal["stopped", "done"], counted: Mapping[str, Any]) -> Change:
        """The plan at its end. Refuses `not_in_state` unless it runs."""
        plan = here.get(TierPlan, self.plan_id)
        if plan.state != "running":
            raise Refusal(Code.NOT_IN_STATE, state=plan.state)
        after = plan.with_(state=state, ended_at=here.at, ended_record=here.record_id)
        return Change(
            writes=[after],
            before={"plan": "running"},
            after={"plan": state, "kind": plan.kind, **counted},
            links=[plan.plan_id, *([plan.run_record] if plan.run_record else [])],
            result={"plan_id": plan.plan_id, "state": state, **counted},
        )


class RunBulk(_OnPlan, frozen=True, kw_only=True, tag="tier.run_bulk"):
    """Set a plan running; a second person agrees. Its record is the parent of the acts by which subjects move.

    A stopped plan is not taken up again: what it moved is moved, and a new plan counts the rest.
    """

    #: The parent of what it moves bears its own name, and not that of the last yes.
    own_record: ClassVar[bool] = True

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` (run before; another of its kind runs), `plan_stale` (another edition is in force)."""
        del terms
        plan = here.get(TierPlan, self.plan_id)
        if plan.state != "planned":
            raise Refusal(Code.NOT_IN_STATE, state=plan.state)
        if plan.edition != here.policy.edition:
            raise Refusal(Code.PLAN_STALE, edition=plan.edition)
        running = plan.with_(state="running", run_record=here.record_id)
        return Change(
            writes=[running, Begun(plan.plan_id)],
            before={"plan": "planned"},
            after={"plan": "running", "kind": plan.kind, "edition": plan.edition},
            links=[plan.plan_id],
            result={"plan_id": plan.plan_id, "state": "running"},
        )


class StopBulk(_OnPlan, frozen=True, kw_only=True, tag="tier.stop_bulk"):
    """Stop a running plan at once: nobody is moved after this record. What was moved stays, each by its own record."""

    reason: Reason | None = None
    note: Note | None = None

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`."""
        del terms
        return self.ended(here, "stopped", {})


class FinishBulk(_OnPlan, frozen=True, kw_only=True, tag="tier.finish_bulk"):
    """Every subject has been looked at; says how many there were, and how many of them were moved or wait now."""

    looked: int
    changed: int

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state`."""
        del terms
        return self.ended(here, "done", {"looked": self.looked, "changed": self.changed})
