"""Works through running plans of bulk re-ranking: looks at every subject, and asks the door for those that change.

Nothing here decides: each subject is ranked again by the door, on what it finds under its lock. If we crash, the subjects
after the last page noted are looked at again; who was moved before is found as it should be, and left alone.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, NamedTuple

import structlog

from service.action import Action
from service.caller import Caller
from service.clock import Clock
from service.db import DatabaseUnavailable, Db, queries
from service.domain import forecast, tiers
from service.domain.accounts.tiers import RankAccount
from service.domain.groups.ranking import RankGroup
from service.domain.reranking import FinishBulk, StopBulk, TierPlan
from service.door import Door
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


class Page(NamedTuple):
    """Subjects looked at under an edition: what is to be done, the last one's id (empty: there were none), how many."""

    edition: str
    acts: list[Action]
    last: str
    number: int


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
        """One plan, page by page, until its end, its stop or ours. While the door writes one page, the next is looked at."""
        async with self._db.transaction() as tx:
            progress = await sql.take_progress(tx, plan_id=plan.plan_id, seconds=LEASE_SECONDS)
        if progress is None:
            return 0
        changed = 0
        page = await self._look(plan, progress["after"])
        while page.last and not self._closing.is_set():
            if page.edition != plan.edition:
                await self._door.act(StopBulk(plan_id=plan.plan_id), caller=Caller.sweep())
                return changed
            asking = asyncio.gather(*(self._door.act(act, caller=Caller.sweep()) for act in page.acts))
            following = await self._look(plan, page.last)
            # An act that could not be recorded raises, and the page is looked at again later.
            answers = await asking
            changed += sum(one.outcome == "done" for one in answers)
            if any(one.code in {Code.NOT_IN_STATE.value, Code.PLAN_STALE.value} for one in answers):
                # Stopped, or another edition came into force, between two sets: nothing after that was done.
                return changed
            if not await self._note(plan, page):
                return changed
            page = following
        if not page.last:
            async with self._db.read() as db:
                done = await sql.progress(db, plan_id=plan.plan_id)
            end = FinishBulk(plan_id=plan.plan_id, looked=done["looked"], changed=done["changed"])
            await self._door.act(end, caller=Caller.sweep())
        return changed

    async def _look(self, plan: TierPlan, after: str) -> Page:
        """The subjects after one, and the acts of those that ranking again would change."""
        at = self._clock.now()
        policy = self._editions.at(at)
        statement = forecast.sql.account_page if plan.kind == "account" else forecast.sql.group_page
        async with self._db.read() as db:
            rows = await statement(db, after=after, most=self._page)
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
        return Page(policy.edition, acts, rows[-1]["id"] if rows else "", len(rows))

    async def _note(self, plan: TierPlan, page: Page) -> bool:
        """Note that a page is done, and keep the plan; false where it runs no more."""
        async with self._db.transaction() as tx:
            still = await sql.note_progress(
                tx, plan_id=plan.plan_id, after=page.last, number=page.number, seconds=LEASE_SECONDS
            )
        return still is not None


def changes(policy: Policy, plan: TierPlan, row: Any, at: dt.datetime) -> bool:
    """Whether ranking a subject again would change its result, or it has none yet."""
    seen = forecast.seen_of(policy, plan.kind, row, at=at)
    new = tiers.rank(policy, plan.kind, seen.facts, at=at, held=seen.held, lower=seen.lower)
    return row["held"] is None or (seen.held, seen.lower) != (new.tier, new.waiting)
