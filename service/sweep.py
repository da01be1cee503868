"""What time does: finds what has fallen due and enters by the door like anyone else, under its own name (S015, S016).

Nothing here decides. What was ended by hand since it was found is refused by the door and leaves no record; two processes
may sweep at once. If we crash, what was due is due still.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog

from service.action import Action, action_name
from service.caller import Caller
from service.clock import Clock, later
from service.db import DatabaseUnavailable, Db, queries
from service.domain import credit
from service.domain.accounts.closing import CloseAccount
from service.domain.accounts.tiers import ExpireAccountOverride, RankAccount
from service.domain.accounts.transfer import ExpireAccountTransfer
from service.domain.approvals import ExpireApproval
from service.domain.crediting import RecoverCredit
from service.domain.groups.bars import ExpireBar
from service.domain.groups.joining import ExpireRequest
from service.domain.groups.mutes import ExpireMute, ExpireMuteAll
from service.domain.groups.ranking import ExpireOverride, RankGroup
from service.domain.measures.acts import ExpireMeasure, ImposeMeasure
from service.domain.measures.dormancy import PAUSE, WarnDormant
from service.domain.measures.licensing import SUSPENSION, ExpireCredential
from service.domain.ownership.succession import OpenSuccession, Orphan, Succeed
from service.domain.ownership.transfer import ExpireTransfer
from service.domain.retention.purge import Purge
from service.door import Door
from service.editions import Editions

sql = queries(__file__)
_log = structlog.get_logger("mandate.sweep")

BATCH = 500
"""Most acts of one kind that are asked of the door at once."""
SETTLED_SECONDS = 60
"""So long after its move a level is looked at again: another process may have ranked an account on the former one meanwhile."""
WALK = 2000
"""Groups whose owners, and accounts whose use, are looked at in one turn: a million takes some eight minutes, at a turn a second."""


class Due(NamedTuple):
    """One kind of what falls due: the statement of sweep.sql that finds it, and the act that ends it.

    `make` takes a row of the statement. `days`, `months`: the parameter that says how long it may wait; without it the row
    itself says until when.
    """

    query: str
    make: Callable[[Any], Action]
    days: str = ""
    months: str = ""


#: In the order in which one turn goes through them. Who cannot be succeeded is orphaned: the same groups, asked again.
DUE: tuple[Due, ...] = (
    Due("mutes_due", lambda row: ExpireMute(group_id=row["group_id"], person_id=row["person_id"])),
    Due("mutes_all_due", lambda row: ExpireMuteAll(group_id=row["group_id"])),
    Due("bars_due", lambda row: ExpireBar(group_id=row["group_id"], person_id=row["person_id"])),
    Due(
        "requests_due",
        lambda row: ExpireRequest(group_id=row["group_id"], person_id=row["person_id"]),
        days="admit_request_lapse_d",
    ),
    Due("group_overrides_due", lambda row: ExpireOverride(group_id=row["group_id"])),
    Due("group_falls_due", lambda row: RankGroup(group_id=row["group_id"]), days="tier_down_wait_d"),
    Due("offers_due", lambda row: ExpireTransfer(group_id=row["group_id"])),
    Due("account_falls_due", lambda row: RankAccount(account_id=row["account_id"]), days="tier_down_wait_d"),
    Due("account_offers_due", lambda row: ExpireAccountTransfer(account_id=row["account_id"])),
    Due("account_closings_due", lambda row: CloseAccount(account_id=row["account_id"])),
    Due("account_overrides_due", lambda row: ExpireAccountOverride(account_id=row["account_id"])),
    Due("approvals_due", lambda row: ExpireApproval(approval_id=row["approval_id"])),
    Due("successions_due", lambda row: Succeed(group_id=row["group_id"])),
    Due("successions_due", lambda row: Orphan(group_id=row["group_id"])),
    Due("measures_due", lambda row: ExpireMeasure(measure_id=row["measure_id"])),
    Due("credentials_due", lambda row: ExpireCredential(credential_id=row["credential_id"])),
    Due(
        "old_answers_due",
        lambda row: Purge(klass="first_answers", before=row["before"]),
        days="request_key_keep_d",
    ),
    Due(
        "old_effects_due",
        lambda row: Purge(klass="effects", before=row["before"]),
        months="log_retention_months",
    ),
    Due(
        "credit_due",
        lambda row: RecoverCredit(subject_type=row["subject_type"], subject_id=row["subject_id"]),
        days="credit_recovery_period_d",
    ),
)


class Sweep:
    """Time as a caller. `once` is one turn; `open` takes turns in the background until `close`."""

    def __init__(self, db: Db, door: Door, clock: Clock, editions: Editions) -> None:
        self._db = db
        self._door = door
        self._clock = clock
        self._editions = editions
        self._walked: dict[str, str] = {}
        self._closing = asyncio.Event()
        self._turning: asyncio.Task[None] | None = None

    # The background

    def open(self, seconds: float) -> None:
        """Start taking a turn every so many seconds, in the running event loop."""
        self._turning = asyncio.create_task(self.run(seconds), name="sweep")

    async def run(self, seconds: float) -> None:
        """Take turns until closed; a turn that fails is told of, and the next one finds what it left."""
        while not await self._rested(seconds):
            try:
                done = await self.once()
            except DatabaseUnavailable as gone:
                _log.warning("sweep", lost=str(gone))
            except Exception as error:  # noqa: BLE001 - time must go on
                _log.error("sweep", exc_info=error)
            else:
                if done:
                    _log.info("sweep", done=done)

    async def close(self) -> None:
        """End after the turn that is under way."""
        self._closing.set()
        if self._turning is not None:
            await self._turning

    async def _rested(self, seconds: float) -> bool:
        """Wait for the next turn; true when closed meanwhile."""
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return False
        return True

    # One turn

    async def once(self) -> int:
        """End everything that has fallen due by now; return how many acts were done. Raises DatabaseUnavailable."""
        done = await self._open_successions()
        for due in DUE:
            done += await self._end(due)
        return done + await self._reweigh() + await self._impose()

    async def _end(self, due: Due) -> int:
        """End what is due by now; what the door does not end is left for the next turn, and what stands behind it is not."""
        now = self._clock.now()
        parameters = self._editions.at(now).parameters
        before = now - dt.timedelta(days=getattr(parameters, due.days) if due.days else 0)
        if due.months:
            before = later(now, -getattr(parameters, due.months))
        return await self._exhaust(due.query, due.make, before=before)

    async def _exhaust(self, query: str, make: Callable[[Any], Action], **asked: Any) -> int:
        """Act on all that a statement finds, batch by batch; return how many acts were done."""
        done = skipped = 0
        while True:
            async with self._db.read() as db:
                rows = await getattr(sql, query)(db, most=BATCH, skipped=skipped, **asked)
            ended = await self._act([make(row) for row in rows])
            done += ended
            skipped += len(rows) - ended
            if len(rows) < BATCH or self._closing.is_set():
                return done

    async def _reweigh(self) -> int:
        """Rank anew the accounts of operators whose level of credit moved: each by an act of its own (S077)."""
        now = self._clock.now()
        parameters = self._editions.at(now).parameters
        async with self._db.read() as db:
            moves = await sql.level_moves(db)
        done = 0
        for move in moves:
            level = credit.weight(parameters, move["score"], verified=move["verified"])
            operator = {"operator_id": move["operator_id"], "level": level}
            found = await self._exhaust(
                "accounts_on_another_level",
                lambda row: RankAccount(account_id=row["account_id"]),
                **operator,
            )
            done += found
            if not found and now - move["at"] >= dt.timedelta(seconds=SETTLED_SECONDS):
                async with self._db.transaction() as tx:
                    await sql.level_settled(tx, by_record=move["by_record"], **operator)
        return done

    async def _open_successions(self) -> int:
        """Owners are lost by what becomes of persons, not of groups: so groups are walked through, some each turn."""
        now = self._clock.now()
        absent = dt.timedelta(days=self._editions.at(now).parameters.owner_absent_d)
        found = await self._walk("owners_lost", absent_since=now - absent, now=now)
        return await self._act([OpenSuccession(group_id=group_id) for group_id in found["lost"]])

    async def _impose(self) -> int:
        """Accounts fall silent by what does not happen to them: so they are walked through, some each turn."""
        now = self._clock.now()
        values = self._editions.at(now).parameters
        warn, pause = values.dormancy_warn_d, values.dormancy_pause_d
        found = await self._walk(
            "accounts_neglected",
            now=now,
            warn_before=now - dt.timedelta(days=warn),
            pause_before=now - dt.timedelta(days=pause),
            warned_before=now - dt.timedelta(days=pause - warn),
        )
        return await self._act(
            [
                *(ImposeMeasure(code=SUSPENSION, target_id=one) for one in found["to_suspend"]),
                *(WarnDormant(account_id=one) for one in found["to_warn"]),
                *(ImposeMeasure(code=PAUSE, target_id=one) for one in found["to_pause"]),
            ]
        )

    async def _walk(self, query: str, **asked: Any) -> Any:
        """Look at the next rows of a walk; the one after the last begins anew."""
        async with self._db.read() as db:
            found = await getattr(sql, query)(db, after=self._walked.get(query, ""), most=WALK, **asked)
        self._walked[query] = found["last"] or ""
        return found

    async def _act(self, acts: Sequence[Action]) -> int:
        """Ask the door for all; one that breaks never stops the others."""
        answers = await asyncio.gather(
            *(self._door.act(act, caller=Caller.sweep()) for act in acts), return_exceptions=True
        )
        for act, answer in zip(acts, answers, strict=True):
            if isinstance(answer, BaseException):
                _log.warning("sweep", failed=action_name(act), code=str(answer))
        return sum(not isinstance(one, BaseException) and one.outcome == "done" for one in answers)
