"""Works through running plans of bulk re-ranking: looks at every subject, and asks the door for those that change.

Nothing here decides: each subject is ranked again by the door, on what it finds under its lock. If we crash, the subjects
after the last page noted are looked at again; who was moved before is found as it should be, and left alone.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import msgspec
import structlog

from service.action import Action
from service.caller import Caller
from service.clock import Clock
from service.db import DatabaseUnavailable, Db, queries
from service.domain import forecast, tiers
from service.domain.accounts.tiers import RankAccount
from service.domain.groups.ranking import RankGroup
from service.domain.reranking import FinishBulk, StopBulk, TierPlan
from service.domain.tiers import Basis
from service.door import Answer, Door
from service.editions import Editions
from service.errors import Code
from service.policy import Policy

sql = queries(__file__)
_log = structlog.get_logger("mandate.bulk")

PAGE = 3_000
"""Subjects looked at between two notes of how far it has come: some ten sets of the door, where all of them change."""
LEASE_SECONDS = 15
"""So long a plan is left alone by other processes when the one that worked on it says nothing more."""
_BREATH = 250


class BulkRanking:
    """The plans as work. `once` goes through all that runs; `open` looks for them in the background until `close`."""

    def __init__(self, db: Db, door: Door, clock: Clock, editions: Editions, *, page: int = PAGE) -> None:
        """`page`: see PAGE; less for tests."""
        self._db = db
        self._door = door
        self._clock = clock
        self._editions = editions
        self._page = page
        self._closing = asyncio.Event()
        self._working: asyncio.Task[None] | None = None

    def open(self, seconds: float) -> None:
        """Look every so many seconds, in the running event loop."""
        self._working = asyncio.create_task(self._run(seconds), name="bulk")

    async def close(self) -> None:
        """End after the page that is under way; what is left is left for the next start."""
        self._closing.set()
        if self._working is not None:
            await self._working

    async def _run(self, seconds: float) -> None:
        while not self._closing.is_set():
            try:
                await self.once()
            except DatabaseUnavailable as gone:
                _log.warning("bulk", lost=str(gone))
            except Exception as error:  # noqa: BLE001 - plans must go on
                _log.error("bulk", exc_info=error)
            try:
                await asyncio.wait_for(self._closing.wait(), seconds)
            except TimeoutError:
                continue

    async def once(self) -> int:
        """Work through every running plan; return how many subjects were changed. Raises DatabaseUnavailable."""
        async with self._db.read() as db:
            plans = [TierPlan.from_record(row) for row in await sql.running_plans(db)]
        return sum([await self._work(plan) for plan in plans])

    async def _work(self, plan: TierPlan) -> int:
        """One plan, page by page, until its end, its stop or ours."""
        held: dt.datetime | None = None
        changed = 0
        while not self._closing.is_set():
            async with self._db.transaction() as tx:
                progress = await sql.take_progress(
                    tx, plan_id=plan.plan_id, mine=held, lease=dt.timedelta(seconds=LEASE_SECONDS)
                )
            if progress is None:
                return changed
            held = progress["held_until"]
            policy = self._editions.at(self._clock.now())
            if policy.edition != plan.edition:
                await self._door.act(StopBulk(plan_id=plan.plan_id), caller=Caller.sweep())
                return changed
            statement = forecast.sql.account_page if plan.kind == "account" else forecast.sql.group_page
            async with self._db.read() as db:
                rows = await statement(db, after=progress["after"], most=self._page)
            if not rows:
                end = FinishBulk(plan_id=plan.plan_id, looked=progress["looked"], changed=progress["changed"])
                await self._door.act(end, caller=Caller.sweep())
                return changed
            answers = await self._rank(plan, policy, rows)
            changed += sum(one.outcome == "done" for one in answers)
            if any(one.code in {Code.NOT_IN_STATE.value, Code.PLAN_STALE.value} for one in answers):
                # Stopped, or another edition came into force, between two sets: nothing after that was done.
                return changed
            async with self._db.transaction() as tx:
                await sql.note_progress(tx, plan_id=plan.plan_id, after=rows[-1]["id"], number=len(rows))
        return changed

    async def _rank(self, plan: TierPlan, policy: Policy, rows: list[Any]) -> list[Answer]:
        """Ask the door for the subjects of a page that ranking again would change."""
        at = self._clock.now()
        acts: list[Action] = []
        for place, row in enumerate(rows):
            if place % _BREATH == 0:
                await asyncio.sleep(0)
            if changes(policy, plan, row, at):
                acts.append(
                    RankAccount(account_id=row["id"], plan=plan.plan_id)
                    if plan.kind == "account"
                    else RankGroup(group_id=row["id"], plan=plan.plan_id)
                )
        # An act that could not be recorded raises, and the page is looked at again later.
        return await asyncio.gather(*(self._door.act(act, caller=Caller.sweep()) for act in acts))


def changes(policy: Policy, plan: TierPlan, row: Any, at: dt.datetime) -> bool:
    """Whether ranking a subject again would change its result, or it has none yet."""
    if not row["tier_basis"]:
        return True
    seen = forecast.seen_of(policy, plan.kind, row, at=at)
    new = tiers.rank(policy, plan.kind, seen.facts, at=at, held=seen.held, lower=seen.lower)
    return not tiers.settled(msgspec.convert(row["tier_basis"], Basis), new)
