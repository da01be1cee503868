"""THE DOOR: the one way in. It collects what is asked, carries it out set after set, and gives each his answer and receipt.

Nothing else changes governed state and nothing else appends records (design.md section 3); how one set is carried out
stands in `sets`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
import msgspec

from service.action import Action, Need, Subject, action_name
from service.caller import Caller
from service.clock import Clock
from service.db import DatabaseUnavailable, Db, Tx
from service.domain.keys import ApiKey
from service.errors import Code, Refusal
from service.looking import Gather
from service.outcome import Answer, Asked, Checked, Done, request_of, unrecorded
from service.rows import LOCK_ORDER
from service.sets import Editions, Sets
from service.trail.append import FirstAnswer
from service.trail.keys import TrailKeys
from service.trail.receipts import Receipts

#: A named constraint becomes a named refusal.
_CONSTRAINTS = {
    "person_pkey": Code.ALREADY_EXISTS,
    "groups_pkey": Code.ALREADY_EXISTS,
    "account_pkey": Code.ALREADY_EXISTS,
    "account_name_key": Code.NAME_RESERVED,
    "account_name_held": Code.NAME_RESERVED,
    "operator_pkey": Code.ALREADY_EXISTS,
    "api_key_pkey": Code.ALREADY_EXISTS,
    "api_key_token_key": Code.ALREADY_EXISTS,
    "groups_members_fit": Code.CAP_MEMBERS,
    "join_request_open": Code.ALREADY_IN_STATE,
    "staff_role_open": Code.ALREADY_IN_STATE,
    "staff_post_held_once": Code.ALREADY_ASSIGNED,
    "edition_pkey": Code.ALREADY_EXISTS,
    "filing_once": Code.ALREADY_IN_STATE,
    "edition_effective_at_idx": Code.BACKDATED,
    "tier_plan_running": Code.ALREADY_IN_STATE,
}
#: Constraints that only another process can have met first: what it did is there now, so the act looks again.
_MET_ELSEWHERE = frozenset(
    {
        "request_key_pkey",
        "mute_open",
        "mute_all_open",
        "bar_open",
        "hidden_item_open",
        "credit_entry_pkey",
        "measure_in_force",
        "role_open",
        "role_one_owner",
        "answerable_open",
        "approval_open",
    }
)
#: So often in a row; who still meets one then has met what looking does not show.
_MEETINGS = 20
#: What is said of a lock that did not come free in time, or of a statement that took too long.
_LOCKED = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
#: After one of these, sets wait for locks less long for so many seconds: whoever holds one should not hold up all others.
_CAUTIOUS_SECONDS = 5.0
_CAUTIOUS_LOCKS = "SET LOCAL lock_timeout = '200ms'"
#: So many acts in a row that meet a lock alone: something that all need is locked, and the rest of the set is not tried.
_LOCKED_ALONE = 3
#: So long the writer's next transaction stays open while nobody asks.
_OPEN_SECONDS = 0.01
#: So long those who were just answered may take to ask again before the next set goes without them.
_COMPANY_SECONDS = 0.005
#: So many sets wait for nobody after one has waited in vain.
_ALONE = 16


class Watch(Protocol):
    """Who is told what the door did: logs and metrics. Gets codes and ids of records, never personal values."""

    def acted(
        self,
        *,
        act: str,
        outcome: str,
        code: str,
        rule: str,
        record_id: str,
        request_id: str,
        seconds: float,
        stranger: bool,
    ) -> None:
        """One action was answered; `stranger`: with a refusal that is only counted (S006)."""
        ...

    def ran(self, *, acts: int, seconds: float, waiting: int) -> None:
        """One set of so many acts went through; so many wait for the next."""
        ...

    def waits(self, acts: int) -> None:
        """A set failed; so many acts wait for the next."""
        ...


class Door:
    """The one way in. `act` and `act_all` meet in one writer, which runs one set at a time."""

    def __init__(
        self,
        *,
        db: Db,
        editions: Editions,
        keys: TrailKeys,
        clock: Clock,
        watch: Watch,
        set_limit: int = 300,
    ) -> None:
        self._db = db
        self._chain = db.chain()
        self._sets = Sets(editions=editions, keys=keys, clock=clock)
        self._watch = watch
        self._limit = set_limit
        self._waiting: deque[Asked] = deque()
        self._checks: Gather[Asked, Checked] = Gather(self._check, set_limit)
        self._wake = asyncio.Event()
        # So many wake the writer; so many it hopes for; so many sets it still goes without waiting.
        self._enough = 1
        self._hoped = 0
        self._alone = 0
        self._cautious_until = 0.0
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self.receipts: Receipts | None = None
        """What signs the receipts, from when entry 0 of the log is known; nobody outside is answered before."""

    # Opening and closing

    def open(self) -> None:
        """Start the writer in the running event loop."""
        self._writer = asyncio.create_task(self._write(), name="door")

    @property
    def working(self) -> bool:
        """Whether acts are carried out; an error of ours may have ended the writer."""
        return self._writer is not None and not self._writer.done() and not self._closing

    async def close(self) -> None:
        """Finish what was asked, then stop."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer

    # Asking

    async def act(
        self,
        action: Action,
        *,
        caller: Caller,
        key: str | None = None,
        expected: int | None = None,
        request_id: str = "",
    ) -> Answer:
        """Decide, apply and record one action. `key`: the request key; `expected`: the subject's version (S012)."""
        request = None if key is None else request_of(action, caller, key)
        asked = Asked(action=action, caller=caller, request=request, expected=expected, request_id=request_id)
        return await self._enter(asked)

    async def act_all(
        self,
        items: Sequence[tuple[int, Action, int | None]],
        *,
        caller: Caller,
        key: str,
        batch: str,
        request_id: str = "",
    ) -> list[Answer]:
        """Do many: an outcome per item in the order sent, one refusal never stops the others (S013).

        An item is its place in the call, which with `key` makes its request key, the action, and the version expected.
        """
        futures = [
            self._enter(
                Asked(
                    action=action,
                    caller=caller,
                    request=request_of(action, caller, f"{key}\0{place}"),
                    expected=expected,
                    batch=batch,
                    request_id=request_id,
                )
            )
            for place, action, expected in items
        ]
        answers: list[Answer] = []
        for answer in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(answer, Refusal):
                answers.append(unrecorded(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers.append(answer)
        return answers

    async def check(self, action: Action, *, caller: Caller, expected: int | None = None) -> Checked:
        """Answer what the act would answer now, changing nothing (S014)."""
        return await self._checks.ask(self._prepared(Asked(action=action, caller=caller, expected=expected)))

    async def _check(self, asked: Sequence[Asked]) -> list[Checked]:
        async with self._db.read(snapshot=True) as db:
            return await self._sets.check(db, asked)

    def _prepared(self, asked: Asked) -> Asked:
        caller = asked.caller
        own = [Need(ApiKey, (caller.key_id,))] if caller.key_id else []
        if asked.request is not None:
            own.append(Need(FirstAnswer, (asked.request.key,), write=True))
        asked.needs = [*own, *asked.action.needs(caller)]
        asked.since = time.perf_counter()
        return asked

    def _enter(self, asked: Asked) -> asyncio.Future[Answer]:
        """Queue an action for the writer; the future is its answer."""
        if not self.working:
            raise Refusal(Code.TRAIL_UNAVAILABLE)
        asked.answer = asyncio.get_running_loop().create_future()
        self._waiting.append(self._prepared(asked))
        if len(self._waiting) >= self._enough:
            self._wake.set()
        return asked.answer

    # The writer

    async def _write(self) -> None:
        """Take what waits, set after set. While one commits, the next gathers."""
        while True:
            if not self._waiting:
                if self._closing:
                    await self._chain.rest()
                    return
                await self._pause()
                continue
            await self._company()
            chosen = self._choose()
            try:
                await self._run(chosen)
            except Exception as error:  # noqa: BLE001 - what failed is telling of acts, and must stop none that follow
                # Whoever has no answer yet asks again under his key: what was done is done.
                self._break(chosen, error)
            again = sum(
                not asked.batch and asked.answer is not None and asked.answer.done() for asked in chosen
            )
            self._hoped = min(again + len(self._waiting), self._limit)

    async def _company(self) -> None:
        """Wait a moment for those who were just answered: many clients ask again at once, and a large set costs little more.

        Who asks alone waits for nobody. Where fewer than three quarters of those hoped for came, the next sets go at once.
        """
        if self._alone > 0:
            self._alone -= 1
            return
        if len(self._waiting) >= self._hoped or self._closing:
            return
        self._wake.clear()
        self._enough = self._hoped
        late = asyncio.get_running_loop().call_later(_COMPANY_SECONDS, self._wake.set)
        await self._wake.wait()
        late.cancel()
        self._enough = 1
        if 4 * len(self._waiting) < 3 * self._hoped:
            self._alone = _ALONE

    async def _pause(self) -> None:
        """Wait for something to do; where nothing comes soon, no transaction stays open meanwhile."""
        self._wake.clear()
        soon = None
        if not self._chain.resting:
            soon = asyncio.get_running_loop().call_later(_OPEN_SECONDS, self._wake.set)
        await self._wake.wait()
        if soon is not None:
            soon.cancel()
            if not self._waiting:
                await self._chain.rest()

    def _choose(self) -> list[Asked]:
        """Take from the queue, in order, what can go together: one writer per row, nobody overtakes on a row."""
        chosen: list[Asked] = []
        later: list[Asked] = []
        taken: dict[Any, bool] = {}
        while self._waiting and len(chosen) < self._limit:
            asked = self._waiting.popleft()
            if asked.answer is not None and asked.answer.cancelled():
                continue
            touches = asked.touches()
            collides = any(what in taken and (writes or taken[what]) for what, writes in touches)
            (later if collides else chosen).append(asked)
            for what, writes in touches:
                taken[what] = taken.get(what, False) or writes or collides
        self._waiting.extendleft(reversed(later))
        return chosen

    async def _run(self, chosen: Sequence[Asked], meetings: int = 0) -> bool:
        """Run one set; what fails with it is run again one by one, so that only the culprit fails. False: something is locked."""
        since = time.perf_counter()
        try:
            answers, told = await self._chain.run(lambda tx: self._carry_out(tx, chosen), self._receipted)
        except DatabaseUnavailable as gone:
            self._fail(chosen, Refusal(Code.TRAIL_UNAVAILABLE, uncertain=gone.uncertain))
            return True
        except asyncpg.PostgresError as error:
            locked = isinstance(error, _LOCKED)
            if locked:
                self._cautious_until = time.monotonic() + _CAUTIOUS_SECONDS
            if len(chosen) > 1:
                await self._one_by_one(chosen)
                return True
            constraint = getattr(error, "constraint_name", None) or ""
            code = _CONSTRAINTS.get(constraint)
            if code is not None:
                await self._refuse_alone(chosen[0], Refusal(code))
                return True
            made = any(constraint == f"{kind.table}_pkey" for kind in LOCK_ORDER)
            if (made or constraint in _MET_ELSEWHERE) and meetings < _MEETINGS:
                return await self._run(chosen, meetings + 1)
            if locked:
                self._fail(chosen, Refusal(Code.TRAIL_UNAVAILABLE))
                return False
            self._break(chosen, error)
            return True
        except Exception as error:  # noqa: BLE001 - the writer must outlive any one action
            if len(chosen) > 1:
                await self._one_by_one(chosen)
            else:
                self._break(chosen, error)
            return True
        self._sets.committed(told)
        self._watch.ran(acts=len(answers), seconds=time.perf_counter() - since, waiting=len(self._waiting))
        put_off: list[Asked] = []
        for asked in chosen:
            answer = answers.get(asked)
            if answer is None:
                put_off.append(asked)
            else:
                self._deliver(asked, answer)
        # First in the next set, with what they turned out to touch: behind those that came meanwhile they would be put off
        # again and again.
        self._waiting.extendleft(reversed(put_off))
        return True

    async def _carry_out(self, tx: Tx, chosen: Sequence[Asked]) -> Done:
        if time.monotonic() < self._cautious_until:
            await tx.execute(_CAUTIOUS_LOCKS)
        return await self._sets.run(tx, chosen)

    async def _one_by_one(self, chosen: Sequence[Asked]) -> None:
        locked = 0
        for asked in chosen:
            if locked == _LOCKED_ALONE:
                self._fail([asked], Refusal(Code.TRAIL_UNAVAILABLE))
                continue
            locked = 0 if await self._run([asked]) else locked + 1

    def _receipted(self, done: Done) -> tuple[dict[Asked, Answer], set[Subject]]:
        """The answers with the receipts of their records: a member more, the same bytes each time; and the subjects told.

        Signed while the set commits; none leaves before that. Time keeps no receipts, so none is signed for it.
        """
        answers: dict[Asked, Answer] = {}
        for asked, answer in done.answers.items():
            record = done.records.get(answer.record_id)
            receipt = None
            if record is not None and self.receipts is not None and asked.caller.kind != "sweep":
                receipt = (
                    self.receipts.receipt(record) if isinstance(record, bytes) else self.receipts.of(record)
                )
            answers[asked] = (
                answer
                if receipt is None
                else msgspec.structs.replace(answer, body=b'%b,"receipt":%b}' % (answer.body[:-1], receipt))
            )
        return answers, done.told

    async def _refuse_alone(self, asked: Asked, refusal: Refusal) -> None:
        """Record a refusal that only a constraint found."""
        try:
            answers, _ = await self._chain.run(
                lambda tx: self._sets.run(tx, [asked], refusal=refusal), self._receipted
            )
            self._deliver(asked, answers[asked])
        except (DatabaseUnavailable, asyncpg.PostgresError):
            self._fail([asked], Refusal(Code.TRAIL_UNAVAILABLE))

    def _deliver(self, asked: Asked, answer: Answer) -> None:
        if asked.answer is not None and not asked.answer.done():
            asked.answer.set_result(answer)
        self._watch.acted(
            act=action_name(asked.action),
            outcome=answer.outcome,
            code=answer.code,
            rule=answer.rule,
            record_id=answer.record_id,
            request_id=asked.request_id,
            seconds=time.perf_counter() - asked.since,
            stranger=answer.stranger,
        )

    def _fail(self, chosen: Sequence[Asked], refusal: Refusal) -> None:
        self._watch.waits(len(self._waiting))
        for asked in chosen:
            if asked.answer is not None and not asked.answer.done():
                asked.answer.set_exception(refusal)

    def _break(self, chosen: Sequence[Asked], error: BaseException) -> None:
        """An error of ours: nothing was done. The caller is told as much; the log tells us why."""
        refusal = Refusal(Code.TRAIL_UNAVAILABLE)
        refusal.__cause__ = error
        self._fail(chosen, refusal)
