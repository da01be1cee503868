"""One act on its way through the door: asked, judged, answered, remembered. Nothing here looks or writes."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from service.action import Action, Change, Need, Receipt, Situation, Stand, Subject, action_name
from service.caller import Caller, Standing
from service.clock import instant_text
from service.decide import Judged
from service.errors import Code, Refusal, problem
from service.trail.append import Entry, Request
from service.trail.writing import Written

_encode = msgspec.json.Encoder().encode


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


def answered(outcome: Outcome, *, dry: bool = False) -> Answer:
    """What the caller is told; `dry`: it is only asked what he would be told, so nothing is named that does not exist."""
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
            stranger=not standing and stand is not None and asked.caller.kind not in {"founding", "sweep"},
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


def unrecorded(refusal: Refusal) -> Answer:
    """A refusal that is on no record."""
    return Answer(
        refusal.code.status, _encode(problem(refusal)), "", "refused", refusal.code.value, refusal.rule
    )


def told(answer: bytes) -> str:
    """The id of the record that a kept answer speaks of."""
    return msgspec.json.decode(answer, type=_Recorded).record_id


class _Recorded(msgspec.Struct):
    record_id: str = ""


def entries_of(outcome: Outcome, answer: Answer, named: Collection[Subject]) -> list[Entry]:
    """The record of one outcome with what follows from it; after a last yes also that of the deed, by who asked for it.

    `named`: subjects that were told by name before.
    """
    entry = _entry(outcome, answer, named)
    entries = [entry, *_followed(outcome, entry)]
    deed = outcome.judged.change.deed if outcome.judged is not None else None
    if deed is not None:
        asked = Asked(action=deed.action, caller=deed.here.caller)
        done = Outcome(asked, deed.here, deed.judged.stand, deed.judged, None)
        own = _entry(done, Answer(200, b"", deed.here.record_id, "done"), named)
        entries += [own, *_followed(done, own)]
    return entries


def _entry(outcome: Outcome, answer: Answer, named: Collection[Subject]) -> Entry:
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
        told=[subject for subject in dict.fromkeys(subjects.values()) if subject not in named],
        request=asked.request,
        status=answer.status,
        answer=answer.body,
    )


def _followed(outcome: Outcome, cause: Entry) -> list[Entry]:
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
