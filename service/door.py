"""THE DOOR: look -> decide -> apply -> record, for a set of actions in one transaction (design.md section 3).

Nothing else changes governed state and nothing else appends records. If we crash before COMMIT nothing has happened;
if we crash after it, the caller who asks again under his request key gets the first answer (S010).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import asyncpg
import msgspec

from service.action import Action, Change, Effect, Need, Receipt, Situation, Stand, Subject, action_name
from service.caller import Caller, Standing
from service.clock import Clock, instant_text
from service.db import DatabaseUnavailable, Db, Tx, queries
from service.decide import Judged, judge
from service.domain import approvals
from service.domain.keys import ApiKey, contains
from service.errors import Code, Refusal, problem
from service.looking import Facts, Gather, look_for
from service.policy import Policy
from service.rows import Row
from service.trail.append import Entry, FirstAnswer, Request, append, bodies
from service.trail.keys import TrailKeys
from service.trail.receipts import Receipts
from service.trail.writing import Written, uuid7

sql = queries(__file__)
_encode = msgspec.json.Encoder().encode

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
    "approval_open": Code.APPROVAL_PENDING,
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
    }
)
#: Looks of one act at most: what it needs, twice what that leads to, and one before them all where it is a yes to a proposal.
_ROUNDS = 4
#: So long the writer's next transaction stays open while nobody asks.
_OPEN_SECONDS = 0.01
#: So many subjects are remembered as told (`subject_name`).
_NAMED = 200_000


class Editions(Protocol):
    """Which policy is in force."""

    def at(self, instant: dt.datetime) -> Policy:
        """Return the edition in force at `instant`."""
        ...


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


class Answer(msgspec.Struct, frozen=True):
    """What the caller is told: an HTTP status and the exact bytes; the same again for the same request key."""

    status: int
    body: bytes
    record_id: str = ""
    outcome: str = ""
    code: str = ""
    rule: str = ""
    stranger: bool = False


class Checked(NamedTuple):
    """What an act would be answered at this instant, and the facts that decide it; None where they are not the caller's."""

    answer: Answer
    at: dt.datetime
    edition: str
    stand: Stand | None


class Asked(msgspec.Struct, kw_only=True, eq=False):
    """One action on its way through the door."""

    action: Action
    caller: Caller
    request: Request | None = None
    expected: int | None = None
    batch: str = ""
    request_id: str = ""
    needs: Sequence[Need] = ()
    more: Sequence[Need] = ()
    since: float = 0.0
    answer: asyncio.Future[Answer] | None = None

    def touches(self) -> list[tuple[Any, bool]]:
        """What it looks at, and whether it may change it; two acts that collide go in different sets."""
        return [((kind, key), write) for kind, key, write in (*self.needs, *self.more)]


class Outcome(NamedTuple):
    """One decided action: allowed with its change, or refused."""

    asked: Asked
    here: Situation
    stand: Stand | None
    judged: Judged | None
    refusal: Refusal | None


class Done(NamedTuple):
    """What a set came to: the answers, the records they speak of by id, and the subjects told by name."""

    answers: dict[Asked, Answer]
    records: Mapping[str, Written | bytes]
    told: set[Subject]


def request_of(action: Action, caller: Caller, key: str) -> Request:
    """Return what makes a request the same again: the caller's key id with the request key, and what was asked."""
    raw = key.encode()
    asked = hashlib.sha256(
        f"{caller.kind}\0{caller.person_id}\0{caller.staff_id}\0".encode() + _encode(action)
    ).digest()
    return Request(
        hashlib.sha256(caller.key_id.encode() + b"\0" + raw).digest(), asked, hashlib.sha256(raw).digest()
    )


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
        origin: str = "mandate",
    ) -> None:
        self._db = db
        self._chain = db.chain()
        self._editions = editions
        self._keys = keys
        self._clock = clock
        self._watch = watch
        self._limit = set_limit
        self._origin = origin
        self._waiting: deque[Asked] = deque()
        self._checks: Gather[Asked, Checked] = Gather(self._check, set_limit)
        self._named: set[Subject] = set()
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self.receipts: Receipts | None = None
        """What signs the receipts, from when entry 0 of the log is known; nobody outside is answered before."""

    # Opening and closing

    def open(self) -> None:
        """Start the writer in the running event loop."""
        self._writer = asyncio.create_task(self._write(), name="door")

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
                answers.append(_unrecorded(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers.append(answer)
        return answers

    async def check(self, action: Action, *, caller: Caller, expected: int | None = None) -> Checked:
        """Answer what the act would answer now, changing nothing (S014)."""
        return await self._checks.ask(self._prepared(Asked(action=action, caller=caller, expected=expected)))

    async def _check(self, asked: Sequence[Asked]) -> list[Checked]:
        """Answer a set of checks, all as of one instant; none knows of the others."""
        at = self._clock.now()
        policy = self._editions.at(at)
        async with self._db.read(snapshot=True) as db:
            facts = await self._look(db, asked, lock=False)
            outcomes = [(await self._propose(db, [self._decide(one, facts, at, policy)]))[0] for one in asked]
        checked: list[Checked] = []
        for outcome in outcomes:
            answer = self._answer(outcome, dry=True)
            hidden = answer.code in {Code.UNKNOWN.value, Code.KEY_INVALID.value, Code.KEY_SCOPE.value}
            checked.append(Checked(answer, at, policy.edition, None if hidden else outcome.stand))
        return checked

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
        if self._writer is None or self._closing or self._writer.done():
            raise Refusal(Code.TRAIL_UNAVAILABLE)
        asked.answer = asyncio.get_running_loop().create_future()
        self._waiting.append(self._prepared(asked))
        self._wake.set()
        return asked.answer

    # The writer

    async def _write(self) -> None:
        """Take what waits, set after set. While one commits, the next gathers: that is all the waiting for company there is."""
        while True:
            if not self._waiting:
                if self._closing:
                    await self._chain.rest()
                    return
                await self._pause()
                continue
            await self._run(self._choose())

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

    async def _run(self, chosen: Sequence[Asked]) -> None:
        """Run one set; what fails with it is run again one by one, so that only the culprit fails."""
        since = time.perf_counter()
        try:
            answers, told = await self._chain.run(lambda tx: self._set(tx, chosen), self._receipted)
        except DatabaseUnavailable as gone:
            self._fail(chosen, Refusal(Code.TRAIL_UNAVAILABLE, uncertain=gone.uncertain))
            return
        except asyncpg.PostgresError as error:
            if len(chosen) > 1:
                for asked in chosen:
                    await self._run([asked])
                return
            code = _CONSTRAINTS.get(getattr(error, "constraint_name", None) or "")
            if code is not None:
                await self._refuse_alone(chosen[0], Refusal(code))
                return
            if getattr(error, "constraint_name", None) in _MET_ELSEWHERE:
                await self._run(chosen)
                return
            self._break(chosen, error)
            return
        except Exception as error:  # noqa: BLE001 - the writer must outlive any one action
            if len(chosen) > 1:
                for asked in chosen:
                    await self._run([asked])
                return
            self._break(chosen, error)
            return
        if len(self._named) > _NAMED:
            # Telling a name again only costs a row's look.
            self._named.clear()
        self._named |= told
        self._watch.ran(acts=len(answers), seconds=time.perf_counter() - since, waiting=len(self._waiting))
        for asked in chosen:
            answer = answers.get(asked)
            if answer is None:
                asked.more = ()
                self._waiting.append(asked)
            else:
                self._deliver(asked, answer)

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
                lambda tx: self._set(tx, [asked], refusal=refusal), self._receipted
            )
            self._deliver(asked, answers[asked])
        except (DatabaseUnavailable, asyncpg.PostgresError):
            self._fail([asked], Refusal(Code.TRAIL_UNAVAILABLE))

    def _deliver(self, asked: Asked, answer: Answer) -> None:
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
        if asked.answer is not None and not asked.answer.done():
            asked.answer.set_result(answer)

    def _fail(self, chosen: Sequence[Asked], refusal: Refusal) -> None:
        for asked in chosen:
            if asked.answer is not None and not asked.answer.done():
                asked.answer.set_exception(refusal)

    def _break(self, chosen: Sequence[Asked], error: BaseException) -> None:
        """An error of ours: nothing was done. The caller is told as much; the log tells us why."""
        for asked in chosen:
            refusal = Refusal(Code.TRAIL_UNAVAILABLE)
            refusal.__cause__ = error
            if asked.answer is not None and not asked.answer.done():
                asked.answer.set_exception(refusal)

    # One set, one transaction

    async def _set(self, tx: Tx, chosen: Sequence[Asked], refusal: Refusal | None = None) -> Done:
        """Run the set."""
        at = self._clock.now()
        policy = self._editions.at(at)
        facts = await self._look(tx, chosen, lock=True)
        answers = self._repeated(chosen, facts)
        asked = self._apart([one for one in chosen if one not in answers])
        outcomes = [self._decide(one, facts, at, policy, refusal) for one in asked]
        outcomes = await self._propose(tx, outcomes)
        writes = await self._apply(tx, outcomes)
        entries: list[Entry] = []
        for outcome in outcomes:
            answer = self._answer(outcome)
            answers[outcome.asked] = answer
            if answer.record_id:
                entries += self._entries(outcome, answer)
        records: dict[str, Written | bytes] = {}
        if entries:
            made = await append(tx, entries, self._keys, at=at, edition=policy.edition, writes=writes)
            records.update((one.id, one) for one in made)
        if again := [
            one.record_id for one in answers.values() if one.record_id and one.record_id not in records
        ]:
            records |= await bodies(tx, again)
        self._forget(outcomes)
        return Done(answers, records, {subject for entry in entries for subject in entry.told})

    def _repeated(self, chosen: Sequence[Asked], facts: Any) -> dict[Asked, Answer]:
        """Answer again what was asked before (S010)."""
        answers: dict[Asked, Answer] = {}
        for asked in chosen:
            request = asked.request
            first = None if request is None else facts[FirstAnswer][request.key,]
            if request is not None and first is not None:
                answers[asked] = (
                    Answer(first.status, first.answer, _told(first.answer), outcome="repeated")
                    if first.asked == request.asked
                    else _unrecorded(Refusal(Code.REQUEST_KEY_REUSED))
                )
        return answers

    async def _look(self, db: Any, asked: Sequence[Asked], *, lock: bool) -> Facts:
        """Lock and read every row that is needed, in the order of locks."""
        facts: Facts = {}
        wanted = [need for one in asked for need in one.needs]
        for _ in range(_ROUNDS):
            await look_for(db, wanted, facts, lock=lock)
            wanted = []
            for one in asked:
                if type(one.action).more is Action.more:
                    continue
                here = Situation(caller=one.caller, at=_NEVER, record_id="", policy=None, facts=facts)  # type: ignore[arg-type]
                known = {(need.kind, need.key) for need in (*one.needs, *one.more)}
                try:
                    found = [need for need in one.action.more(here) if (need.kind, need.key) not in known]
                except Refusal:
                    continue
                one.more = [*one.more, *found]
                wanted += found
            if not wanted:
                break
        return facts

    def _apart(self, asked: Sequence[Asked]) -> list[Asked]:
        """Leave for the next set what turned out, on looking, to touch a row that another of this set changes."""
        if not any(one.more for one in asked):
            return list(asked)
        taken: dict[Any, bool] = {}
        together: list[Asked] = []
        for one in asked:
            touches = one.touches()
            if any(what in taken and (writes or taken[what]) for what, writes in touches):
                continue
            together.append(one)
            for what, writes in touches:
                taken[what] = taken.get(what, False) or writes
        return together

    def _decide(
        self, asked: Asked, facts: Any, at: dt.datetime, policy: Policy, refusal: Refusal | None = None
    ) -> Outcome:
        here = Situation(
            caller=asked.caller,
            at=at,
            record_id=uuid7(int(at.timestamp() * 1_000_000)),
            policy=policy,
            facts=facts,
        )
        stand: Stand | None = None
        try:
            asked.action.form(policy)
            key = self._admit(asked, here)
            stand = asked.action.stand(here)
            if key is not None:
                self._within_scope(asked, key, stand)
            if stand.gone is not None:
                unseen = stand.private and stand.standings == (Standing.STRANGER,)
                raise Refusal(Code.UNKNOWN if unseen else stand.gone)
            self._expected(asked, stand)
            if refusal is not None:
                raise refusal
            return Outcome(asked, here, stand, judge(asked.action, here, stand), None)
        except Refusal as no:
            return Outcome(asked, here, stand, None, no)

    def _admit(self, asked: Asked, here: Situation) -> ApiKey | None:
        """The caller's key, valid at this instant (S003). Raises Refusal `key_invalid`."""
        if not asked.caller.key_id:
            return None
        key = here.find(ApiKey, asked.caller.key_id)
        if key is None or not key.holds(here.at):
            raise Refusal(Code.KEY_INVALID)
        return key

    def _within_scope(self, asked: Asked, key: ApiKey, stand: Stand) -> None:
        family = action_name(asked.action).split(".", 1)[0]
        if key.families and family not in key.families:
            raise Refusal(Code.KEY_SCOPE, lacks="family", family=family)
        if key.tiers and stand.tier is not None and stand.tier not in key.tiers:
            raise Refusal(Code.KEY_SCOPE, lacks="tier", tier=stand.tier)
        if asked.action.scoped:
            return
        if key.jurisdictions and not any(contains(one, stand.jurisdiction) for one in key.jurisdictions):
            raise Refusal(Code.KEY_SCOPE, lacks="jurisdiction", jurisdiction=stand.jurisdiction)

    def _expected(self, asked: Asked, stand: Stand) -> None:
        if asked.expected is None:
            if asked.action.demands_version:
                raise Refusal(Code.VERSION_REQUIRED)
        elif stand.version is not None and asked.expected != stand.version:
            raise Refusal(Code.VERSION_STALE, version=stand.version)

    async def _propose(self, tx: Any, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Turn acts that need more people into proposals; a second one for the same act waits for nobody."""
        proposals = [one for one in outcomes if one.judged is not None and one.judged.persons > 1]
        if not proposals:
            return list(outcomes)
        targets = {id(one): one.asked.action.target(one.here) for one in proposals}
        rows = await sql.open_approvals(
            tx,
            actions=[action_name(one.asked.action) for one in proposals],
            types=[targets[id(one)].type for one in proposals],
            ids=[targets[id(one)].id for one in proposals],
        )
        open_now = {tuple(row) for row in rows}
        result: list[Outcome] = []
        for one in outcomes:
            if one.judged is None or one.judged.persons <= 1:
                result.append(one)
                continue
            target = targets[id(one)]
            if (action_name(one.asked.action), target.type, target.id) in open_now:
                result.append(one._replace(judged=None, refusal=Refusal(Code.APPROVAL_PENDING)))
                continue
            open_now.add((action_name(one.asked.action), target.type, target.id))
            approval = approvals.propose(one.asked.action, one.here, one.judged.stand, one.judged.persons)
            ends = instant_text(approval.expires_at)
            change = Change(
                writes=[approval],
                after={"persons": one.judged.persons, "digest": approval.digest, "until": ends},
                about=one.judged.change.about,
                links=one.judged.change.links,
                result={
                    "approval_id": approval.approval_id,
                    "persons_needed": approval.persons_needed,
                    "expires_at": ends,
                    "digest": approval.digest,
                },
            )
            result.append(one._replace(judged=one.judged._replace(change=change)))
        return result

    async def _apply(self, tx: Tx, outcomes: Sequence[Outcome]) -> dict[type[Row], list[Any]]:
        """Write what is more than rows of a table; return the rows, which are written together with the records."""
        writes: dict[type[Any], list[Any]] = {}
        for outcome in outcomes:
            if outcome.judged is not None:
                for write in outcome.judged.change.writes:
                    writes.setdefault(type(write), []).append(write)
        plain: dict[str, type[Row]] = {}
        for kind, rows in writes.items():
            if getattr(kind.apply, "__func__", None) is Row.apply.__func__ and kind.table not in plain:
                plain[kind.table] = kind
            else:
                await kind.apply(tx, rows)
        return {kind: writes[kind] for kind in plain.values()}

    # What the caller is told, and what is remembered

    def _answer(self, outcome: Outcome, *, dry: bool = False) -> Answer:
        asked, here, stand, judged, refusal = outcome
        if judged is None:
            refusal = refusal or Refusal(Code.REFUSED)
            standing = _has_standing(asked.caller, stand)
            record_id = here.record_id if not dry and refusal.code.recorded and standing else ""
            return Answer(
                refusal.code.status,
                _encode(problem(refusal, record_id)),
                record_id,
                "refused",
                refusal.code.value,
                refusal.rule,
                stranger=not standing
                and stand is not None
                and asked.caller.kind not in {"founding", "sweep"},
            )
        proposed = judged.persons > 1
        target = asked.action.target(here)
        receipt = Receipt(
            record_id="" if dry else here.record_id,
            action=action_name(asked.action),
            outcome="proposed" if proposed else "done",
            at=instant_text(here.at),
            target={"type": target.type, "id": target.id},
            rule=judged.verdict.rule,
            edition=here.policy.edition,
            result={} if dry else judged.change.result,
            batch=asked.batch,
        )
        status = 202 if proposed else 201 if asked.action.created else 200
        record_id = "" if dry else here.record_id
        return Answer(status, _encode(receipt), record_id, receipt.outcome, "", judged.verdict.rule)

    def _forget(self, outcomes: Sequence[Outcome]) -> None:
        """Drop from memory the keys that these acts deleted; were they rolled back, the next look unwraps them again."""
        for outcome in outcomes:
            for subject in outcome.judged.change.forgets if outcome.judged is not None else ():
                self._keys.keyring.forget(tag=self._keys.tag(subject.type, subject.id))

    def _entries(self, outcome: Outcome, answer: Answer) -> list[Entry]:
        """The record of one outcome with what follows from it; after a last yes also that of the deed, by who asked for it."""
        entry = self._entry(outcome, answer)
        entries = [entry, *self._followed(outcome, entry)]
        deed = outcome.judged.change.deed if outcome.judged is not None else None
        if deed is not None:
            asked = Asked(action=deed.action, caller=deed.here.caller)
            done = Outcome(asked, deed.here, deed.judged.stand, deed.judged, None)
            told = self._entry(done, Answer(200, b"", deed.here.record_id, "done"))
            entries += [told, *self._followed(done, told)]
        return entries

    def _entry(self, outcome: Outcome, answer: Answer) -> Entry:
        """The record of one outcome: who, what, under which rule, on which facts (S002, S004, S005, S020)."""
        asked, here, stand, judged, refusal = outcome
        action, caller = asked.action, asked.caller
        change = judged.change if judged is not None else Change()
        target = action.target(here)
        by_kind, by = _actor(caller)
        reason, note = action.why()
        subjects = {"target": target, **action.about(here), **change.about}
        if by is not None:
            subjects["actor"] = by
        subjects["jurisdiction"] = Subject("jurisdiction", stand.jurisdiction if stand is not None else "CN")
        p: dict[str, Any] = dict(change.named)
        if caller.key_id:
            p["key"] = caller.key_id
        if stand is not None:
            p["then"] = {
                name: value
                for name, value in (
                    ("tier", stand.tier),
                    ("class", stand.klass),
                    ("standing", stand.target_standing),
                )
                if value is not None
            }
        if public := action.asked():
            p["asked"] = public
        if asked.batch:
            p["batch"] = asked.batch
        if judged is None and refusal is not None:
            p["refusal"] = {"code": refusal.code.value, **refusal.data}
        for name, value in (("before", change.before), ("after", change.after), ("coupled", change.coupled)):
            if value:
                p[name] = value
        personal = dict(change.personal)
        if note and judged is not None:
            personal["note"] = note
        standing = (
            judged.verdict.standing
            if judged is not None
            else (stand.standings[0] if stand and stand.standings else None)
        )
        rule = judged.verdict.rule if judged is not None else refusal.rule if refusal is not None else "none"
        return Entry(
            record_id=here.record_id,
            act=action_name(action),
            out=answer.outcome,
            by_kind=by_kind,
            by_standing=_capacity(caller, target, standing),
            by=by,
            rule=rule,
            why=reason if reason in here.policy.reasons else None,
            basis=list(
                dict.fromkeys((*change.basis, *(judged.verdict.terms.basis if judged is not None else ())))
            ),
            p=p,
            subjects=subjects,
            personal=personal,
            sealed_for=change.sealed_for or subjects.get("person", target),
            links=change.links,
            effects=change.effects if answer.outcome == "done" else (),
            told=[subject for subject in dict.fromkeys(subjects.values()) if subject not in self._named],
            request=asked.request,
            status=answer.status,
            answer=answer.body,
        )

    def _followed(self, outcome: Outcome, cause: Entry) -> list[Entry]:
        """The records of what the house itself did because of an act: the same subjects, linked to the act's own record."""
        if cause.out != "done" or outcome.judged is None:
            return []
        roles = {role: one for role, one in cause.subjects.items() if role != "actor"}
        batch = {"batch": outcome.asked.batch} if outcome.asked.batch else {}
        return [
            Entry(
                record_id=one.record_id,
                act=one.act,
                out="done",
                by_kind="system",
                by_standing="system.sweep",
                by=None,
                rule=one.rule,
                why=None,
                basis=one.basis,
                p={**batch, "then": one.then, "before": one.before, "after": one.after},
                subjects=dict(roles),
                personal={},
                sealed_for=cause.sealed_for,
                links=sorted({cause.record_id, *one.links}),
                effects=one.effects,
                told=(),
                request=None,
                status=cause.status,
                answer=b"",
            )
            for one in outcome.judged.change.follows
        ]


def _told(answer: bytes) -> str:
    """The id of the record that a kept answer speaks of."""
    return msgspec.json.decode(answer, type=_Recorded).record_id


class _Recorded(msgspec.Struct):
    record_id: str = ""


_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


def _has_standing(caller: Caller, stand: Stand | None) -> bool:
    """Whether a refusal of this caller goes on the record: strangers are only counted (S006), time too late is not (S016)."""
    if caller.kind in {"founding", "sweep"} or stand is None:
        return False
    return any(standing != Standing.STRANGER for standing in stand.standings)


def _actor(caller: Caller) -> tuple[str, Subject | None]:
    """The record's `by`: kind and subject; machines act in no person's name (S015, S020)."""
    if caller.kind == "person":
        return "person", Subject("person", caller.person_id)
    if caller.kind in {"staff", "regulator"}:
        return "staff", Subject("staff", caller.staff_id)
    return "system", None


def _capacity(caller: Caller, target: Subject, standing: str | None) -> str | None:
    """The record's `by.standing`: `group.owner` for people, `staff.moderator`, `system.sweep`."""
    if caller.kind in {"backend", "sweep", "founding"}:
        return f"system.{caller.kind}"
    if standing is None:
        return None
    return f"{target.type}.{standing}" if caller.kind == "person" else f"staff.{standing}"


def _unrecorded(refusal: Refusal) -> Answer:
    return Answer(
        refusal.code.status, _encode(problem(refusal)), "", "refused", refusal.code.value, refusal.rule
    )


__all__ = ["Answer", "Asked", "Change", "Checked", "Door", "Editions", "Effect", "Watch", "request_of"]
