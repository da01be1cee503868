"""One set of actions in one transaction: look -> decide -> apply -> record (design.md section 3). Only the door runs it.

If we crash before COMMIT nothing has happened; if we crash after it, the caller who asks again under his request key gets
the first answer (S010).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import convert

from service.action import Action, Change, Situation, Stand, Subject, action_name
from service.caller import Caller, Standing
from service.clock import Clock, instant_text, to_us
from service.db import Reader, Tx, queries
from service.decide import judge
from service.domain import approvals
from service.domain.keys import ApiKey, contains
from service.errors import Code, Refusal
from service.looking import Facts, Looked, look_for
from service.outcome import Answer, Asked, Checked, Done, Outcome, answered, entries_of, told, unrecorded
from service.policy import Policy
from service.rows import Row
from service.trail.append import Entry, FirstAnswer, append, bodies
from service.trail.keys import TrailKeys
from service.trail.writing import Written, uuid7

sql = queries(__file__)

#: Looks of one act at most: what it needs, twice what that leads to, and one before them all where it is a yes to a proposal.
_ROUNDS = 4
#: So many subjects are remembered as told (`subject_name`).
_NAMED = 200_000
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


class Editions(Protocol):
    """Which policy is in force."""

    def at(self, instant: dt.datetime) -> Policy:
        """Return the edition in force at `instant`."""
        ...


class Sets:
    """Carries out sets of actions, each in a transaction of who calls."""

    def __init__(self, *, editions: Editions, keys: TrailKeys, clock: Clock) -> None:
        self._editions = editions
        self._keys = keys
        self._clock = clock
        self._named: set[Subject] = set()

    async def run(self, tx: Tx, chosen: Sequence[Asked], refusal: Refusal | None = None) -> Done:
        """Carry out the set; whom the answers leave out goes in a later one. `refusal`: what a constraint said of a lone act."""
        facts, moved = await self._look(tx, chosen, lock=True)
        # Only now, with the locks held: of two acts on one row, by whatever processes, the later one has the later instant.
        at = self._clock.now()
        policy = self._editions.at(at)
        answers = self._repeated(chosen, facts)
        asked = [one for one in chosen if one not in answers]
        if refusal is None:
            asked = self._apart(asked, moved)
        outcomes = [self._decide(one, facts, at, policy, refusal) for one in asked]
        outcomes = await self._propose(tx, outcomes)
        writes = await self._apply(tx, outcomes, facts)
        entries: list[Entry] = []
        for outcome in outcomes:
            answer = answered(outcome)
            answers[outcome.asked] = answer
            if answer.record_id:
                entries += entries_of(outcome, answer, self._named)
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

    def committed(self, told: set[Subject]) -> None:
        """Remember whom the records of a committed set told by name, so that no later one does again."""
        if len(self._named) > _NAMED:
            # Telling a name again only costs a row's look.
            self._named.clear()
        self._named |= told

    async def check(self, db: Reader, asked: Sequence[Asked]) -> list[Checked]:
        """Answer a set of checks, all as of one instant; none knows of the others."""
        at = self._clock.now()
        policy = self._editions.at(at)
        facts, _ = await self._look(db, asked, lock=False)
        outcomes = [(await self._propose(db, [self._decide(one, facts, at, policy)]))[0] for one in asked]
        checked: list[Checked] = []
        for outcome in outcomes:
            answer = answered(outcome, dry=True)
            hidden = answer.code in {Code.UNKNOWN.value, Code.KEY_INVALID.value, Code.KEY_SCOPE.value}
            checked.append(Checked(answer, at, policy.edition, None if hidden else outcome.stand))
        return checked

    def _repeated(self, chosen: Sequence[Asked], facts: Any) -> dict[Asked, Answer]:
        """Answer again what was asked before (S010)."""
        answers: dict[Asked, Answer] = {}
        for asked in chosen:
            request = asked.request
            first = None if request is None else facts[FirstAnswer][request.key,]
            if request is not None and first is not None:
                answers[asked] = (
                    Answer(first.status, first.answer, told(first.answer), outcome="repeated")
                    if first.asked == request.asked
                    else unrecorded(Refusal(Code.REQUEST_KEY_REUSED))
                )
        return answers

    async def _look(self, db: Any, asked: Sequence[Asked], *, lock: bool) -> tuple[Facts, set[Looked]]:
        """Lock and read every row that is needed, in the order of locks; and tell which of them came to be meanwhile."""
        facts: Facts = {}
        moved: set[Looked] = set()
        for one in asked:
            # What an attempt that failed led to must be looked at anew.
            one.more = ()
        leading = [one for one in asked if type(one.action).more is not Action.more]
        wanted = [need for one in asked for need in one.needs]
        if lock and leading:
            # What acts lead to is found without locks first: locked when it is found, it would be out of order.
            await self._look(db, leading, lock=False)
            wanted += [need for one in leading for need in one.more]
            for one in leading:
                one.more = ()
        for _ in range(_ROUNDS):
            moved |= await look_for(db, wanted, facts, lock=lock)
            wanted = []
            for one in leading:
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
        return facts, moved

    def _apart(self, asked: Sequence[Asked], moved: set[Looked]) -> list[Asked]:
        """Leave for the next set what turned out, on looking, to touch a row that another of this set changes, or one that
        came to be meanwhile.
        """
        if moved:
            asked = [one for one in asked if not any(what in moved for what, _ in one.touches())]
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
            record_id=uuid7(to_us(at)),
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
                unseen = stand.private and stand.standings == (Standing.STRANGER,)
                present: dict[str, Any] = (
                    {} if unseen or stand.version is None else {"version": stand.version}
                )
                pointer = "/expected_version" if asked.batch else "If-Match"
                raise Refusal(Code.VERSION_REQUIRED, pointer=pointer, **present)
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
        open_now = {tuple(row)[:3]: (row["approval_id"], convert(row["proposer"], Caller)) for row in rows}
        result: list[Outcome] = []
        for one in outcomes:
            if one.judged is None or one.judged.persons <= 1:
                result.append(one)
                continue
            target = targets[id(one)]
            what = (action_name(one.asked.action), target.type, target.id)
            if what in open_now:
                result.append(one._replace(judged=None, refusal=self._pending(one, *open_now[what])))
                continue
            approval = approvals.propose(one.asked.action, one.here, one.judged.stand, one.judged.persons)
            open_now[what] = (approval.approval_id, approval.proposer)
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

    @staticmethod
    def _pending(one: Outcome, approval_id: str, proposer: Caller) -> Refusal:
        """Which approval waits is told to who may read it, staff, and to who asked for it."""
        caller = one.asked.caller
        mine = caller == proposer or (caller.human and caller.human == proposer.human)
        told = {"approval_id": approval_id} if caller.kind == "staff" or mine else {}
        return Refusal(Code.APPROVAL_PENDING, **told)

    async def _apply(self, tx: Tx, outcomes: Sequence[Outcome], facts: Facts) -> dict[type[Row], list[Any]]:
        """Write what is more than rows of a table, and subjects that were unknown; return the rows that are written together
        with the records.
        """
        writes: dict[type[Any], list[Any]] = {}
        for outcome in outcomes:
            if outcome.judged is not None:
                for write in outcome.judged.change.writes:
                    writes.setdefault(type(write), []).append(write)
        plain: dict[str, type[Row]] = {}
        for kind, rows in writes.items():
            if getattr(kind.apply, "__func__", None) is not Row.apply.__func__ or kind.table in plain:
                await kind.apply(tx, rows)
                continue
            plain[kind.table] = kind
            if kind.locks and kind.only:
                # Two processes that make the same rows wait for each other in one order. Others keep theirs: an owner's
                # role ends before the next one's begins.
                rows.sort(key=kind.looked_by)
            elif kind.locks:
                writes[kind] = await self._known(tx, kind, rows, facts)
        return {kind: writes[kind] for kind in plain.values() if writes[kind]}

    async def _known(self, tx: Tx, kind: type[Row], rows: list[Any], facts: Facts) -> list[Any]:
        """Insert the subjects that were not there, and return the others.

        What is not there cannot be locked: another process may be making it just now, and must not be written over.
        """
        there = facts.get(kind, {})
        new: dict[tuple[Any, ...], Any] = {}
        others: list[Any] = []
        for row in rows:
            key = kind.looked_by(row)
            if there.get(key, row) is None and key not in new:
                new[key] = row
            else:
                others.append(row)
        if new:
            await kind.insert(tx, [new[key] for key in sorted(new)])
        return others

    def _forget(self, outcomes: Sequence[Outcome]) -> None:
        """Drop from memory the keys that these acts deleted; were they rolled back, the next look unwraps them again."""
        for outcome in outcomes:
            for subject in outcome.judged.change.forgets if outcome.judged is not None else ():
                self._keys.keyring.forget(tag=self._keys.tag(subject.type, subject.id))
