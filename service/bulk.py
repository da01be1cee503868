"""Works through running plans of bulk re-ranking: looks at all subjects by profile, and asks the door for those that change.

Nothing here decides: each of them is ranked again by the door, on what it finds under its lock. If we crash, the subjects
after the last page noted are looked at again; who was moved before is found as it should be, and left alone.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import NamedTuple

import structlog

from service.action import Action
from service.caller import Caller
from service.clock import Clock
from service.db import DatabaseUnavailable, Db, queries
from service.domain import forecast, tiers
from service.domain.accounts.tiers import RankAccount
from service.domain.forecast import Page
from service.domain.groups.ranking import RankGroup
from service.domain.reranking import FinishBulk, StopBulk, TierPlan
from service.domain.tiers import Kind
from service.door import Door
from service.editions import Editions
from service.errors import Code
from service.policy import Policy

sql = queries(__file__)
_log = structlog.get_logger("mandate.bulk")

PAGE = 20_000
"""Subjects looked at in one statement, and between two notes of how far it has come."""
PORTION = 600
"""Most acts asked of the door at once: two of its sets, so that others wait no longer, and the next is there when one ends."""
LEASE_SECONDS = 15
"""So long a plan is left alone by other processes when the one that worked on it says nothing more."""


class Looked(NamedTuple):
    """A page that was looked at under an edition: how many live there, and the acts by which some of them change."""

    page: Page
    edition: str
    number: int
    acts: list[Action]


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
        async with self._db.transaction() as tx:
            progress = await sql.take_progress(tx, plan_id=plan.plan_id, seconds=LEASE_SECONDS)
        if progress is None:
            return 0
        changed, after = 0, progress["after"]
        while (looked := await self._look(plan, after)) is not None:
            if self._closing.is_set():
                return changed
            if looked.edition != plan.edition:
                await self._door.act(StopBulk(plan_id=plan.plan_id), caller=Caller.sweep())
                return changed
            for start in range(0, len(looked.acts), PORTION):
                # An act that could not be recorded raises, and the page is looked at again later.
                answers = await asyncio.gather(
                    *(
                        self._door.act(one, caller=Caller.sweep())
                        for one in looked.acts[start : start + PORTION]
                    )
                )
                changed += sum(one.outcome == "done" for one in answers)
                if any(one.code in {Code.NOT_IN_STATE.value, Code.PLAN_STALE.value} for one in answers):
                    # Stopped, or another edition came into force, between two sets: nothing after that was done.
                    return changed
                if not await self._note(plan, after):
                    return changed
            after = looked.page.last
            if not await self._note(plan, after, looked.number):
                return changed
        async with self._db.read() as db:
            done = await sql.progress(db, plan_id=plan.plan_id)
        end = FinishBulk(plan_id=plan.plan_id, looked=done["looked"], changed=done["changed"])
        await self._door.act(end, caller=Caller.sweep())
        return changed

    async def _look(self, plan: TierPlan, after: str) -> Looked | None:
        """The next page of subjects; None where there are no more."""
        at = self._clock.now()
        policy = self._editions.at(at)
        acts: list[Action] = []
        number = 0
        async with self._db.read() as db:
            page = await forecast.page_after(db, plan.kind, after, self._page)
            if page is None:
                return None
            found = await forecast.profiles_of(db, policy, policy, plan.kind, page, at=at, with_ids=True)
        for seen, row in found:
            number += seen.number
            if row["held"] is None or changes(policy, plan.kind, seen, at):
                acts += [_act(plan, one) for one in row["ids"]]
        return Looked(page, policy.edition, number, acts)

    async def _note(self, plan: TierPlan, after: str, number: int = 0) -> bool:
        """Note how far it has come, and keep the plan; false where it runs no more."""
        async with self._db.transaction() as tx:
            still = await sql.note_progress(
                tx, plan_id=plan.plan_id, after=after, number=number, seconds=LEASE_SECONDS
            )
        return still is not None


def changes(policy: Policy, kind: Kind, seen: forecast.Seen, at: dt.datetime) -> bool:
    """Whether ranking subjects of a profile again would change what they hold, or what waits."""
    new = tiers.rank(policy, kind, seen.facts, at=at, held=seen.held, lower=seen.lower)
    return (seen.held, seen.lower) != (new.tier, new.waiting)


def _act(plan: TierPlan, subject_id: str) -> Action:
    if plan.kind == "account":
        return RankAccount(account_id=subject_id, plan=plan.plan_id)
    return RankGroup(group_id=subject_id, plan=plan.plan_id)
