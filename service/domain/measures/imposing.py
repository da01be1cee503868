"""How a measure begins: one pure function for whatever imposes, by itself or as part of another act.

The sweep imposes by it here; what staff impose on cases and orders comes the same way, with another ground.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from service.action import Effect, Situation
from service.clock import instant_text
from service.domain.in_force import Measure, TargetType
from service.domain.notices import (
    Notice,
    Parts,
    Said,
    automation_of,
    redress_of,
    source_of,
    until_text,
)
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy.catalogue import Measure as Entry

NAMED_AT_MOST = 60
"""Targets one record can name beside its own: a record holds 64 subjects (trail-format.md section 4)."""
LINKED_AT_MOST = 32
"""Earlier records one record can be linked to (trail-format.md section 4)."""


class Bound(NamedTuple):
    """What a measure binds and who is told: the target, its territory, its role in the record, the person it answers through."""

    type: TargetType
    id: str
    jurisdiction: str
    addressee: str
    role: str = "target"


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What a measure rests on (M2), and what it says for itself; no personal values.

    `until`: an end other than the usual term. `scope`: the part of the target it is about. `remedy`: what ends it sooner.
    """

    ground: Literal["illegal", "terms", "both"]
    basis: list[str]
    facts: dict[str, Any]
    explanation: Said
    remedy: Said
    papers: list[str] = []
    scope: str | None = None
    until: dt.datetime | None = None
    links: list[str] = []


class Effected(NamedTuple):
    """What imposing or ending measures writes, what its record lists as coupled, and what the backend hears."""

    measures: list[Measure]
    notices: list[Notice]
    coupled: list[dict[str, Any]]
    effects: list[Effect]

    @property
    def writes(self) -> list[Any]:
        """The rows, measures first."""
        return [*self.measures, *self.notices]


def impose(here: Situation, code: str, bound: Sequence[Bound], ground: Ground) -> Effected:
    """Impose a measure of the catalogue on targets, each with what the catalogue couples to it and its own notice (S119, S133).

    Refuses `unknown` (no such code, S108), `wrong_target` (M1), `human_needed` (a machine may not, S129),
    `duration_over_limit` (M4).
    """
    entry = here.policy.measures.get(code)
    if entry is None:
        raise Refusal(Code.UNKNOWN, pointer="/code")
    if any(one.type != entry.target_kind for one in bound):
        raise Refusal(Code.WRONG_TARGET, pointer="/target_type", takes=entry.target_kind)
    if here.caller.kind in {"sweep", "backend"} and not entry.automation:
        raise Refusal(Code.HUMAN_NEEDED, measure=code)
    until = _end(here, entry, ground)
    imposed = Effected([], [], [], [])
    numbers = count(1)
    for target in bound:
        parent = _begin(here, entry, target, ground, until, next(numbers), None, imposed)
        for other, factor in entry.coupled:
            also = here.policy.measures[other]
            ends = _coupled_end(here, also, until, factor)
            _begin(here, also, target, ground, ends, next(numbers), parent, imposed)
    return imposed


def _end(here: Situation, entry: Entry, ground: Ground) -> dt.datetime | None:
    """The end: as the ground says, else the usual term of the code; within the longest (M4)."""
    term, longest = entry.default_term, entry.max_term
    until = ground.until
    if until is None:
        if term.kind == "once":
            until = here.at
        elif term.seconds is not None:
            until = here.at + dt.timedelta(seconds=term.seconds)
    if longest.seconds is not None and (
        until is None or until > here.at + dt.timedelta(seconds=longest.seconds)
    ):
        raise Refusal(Code.DURATION_OVER_LIMIT, pointer="/until", maximum=longest.seconds)
    return until


def _coupled_end(here: Situation, entry: Entry, until: dt.datetime | None, factor: int) -> dt.datetime | None:
    """The end of a coupled measure: so many times the term of the first, cut at its own longest; once: this instant."""
    if entry.max_term.kind == "once":
        return here.at
    longest = (
        None if entry.max_term.seconds is None else here.at + dt.timedelta(seconds=entry.max_term.seconds)
    )
    if until is None:
        return longest
    wanted = here.at + factor * (until - here.at)
    return wanted if longest is None else min(wanted, longest)


def _begin(
    here: Situation,
    entry: Entry,
    target: Bound,
    ground: Ground,
    until: dt.datetime | None,
    number: int,
    parent: Measure | None,
    imposed: Effected,
) -> Measure:
    name = f"{here.record_id}.{number}"
    machine = here.caller.kind in {"sweep", "backend"}
    measure = Measure(
        measure_id=name,
        code=entry.code,
        target_type=target.type,
        target_id=target.id,
        scope=ground.scope,
        jurisdiction=target.jurisdiction,
        ground=ground.ground,
        basis=ground.basis,
        facts=ground.facts,
        imposed_as="automation" if machine else "platform",
        from_at=here.at,
        until=until,
        # An account addresses an unlimited public; groups, whose surface differs (G9), come with their measures.
        dsa_surface="online_platform",
        coupled_to=None if parent is None else parent.measure_id,
        notice_id=name if entry.restrictive else None,
        by_record=here.record_id,
    )
    imposed.measures.append(measure)
    imposed.effects.append(Effect("measure.imposed", told(measure)))
    listed = {
        "id": number,
        "what": "measure_imposed",
        "code": measure.code,
        "of": target.role,
        "until": until_text(until),
    }
    if parent is not None:
        listed["coupled_to"] = int(parent.measure_id.rpartition(".")[2])
    if entry.restrictive:
        notice = _notice(here, entry, measure, target, ground)
        imposed.notices.append(notice)
        imposed.effects.append(notice.effect())
        listed["notice"] = True
    imposed.coupled.append(listed)
    return measure


def _notice(here: Situation, entry: Entry, measure: Measure, target: Bound, ground: Ground) -> Notice:
    return Notice(
        notice_id=measure.measure_id,
        measure_id=measure.measure_id,
        to_person=target.addressee,
        about_type=target.type,
        about_id=target.id,
        jurisdiction=target.jurisdiction,
        parts=Parts(
            kind="imposed",
            code=entry.code,
            name={"zh": entry.name_zh, "en": entry.name_en},
            territory=target.jurisdiction,
            from_at=instant_text(here.at),
            until=until_text(measure.until),
            facts=ground.facts,
            source=source_of(here),
            automation=automation_of(here),
            ground=ground.ground,
            basis=ground.basis,
            explanation=ground.explanation,
            redress=redress_of(here, ground.remedy, ground.papers),
        ),
        at=here.at,
        by_record=here.record_id,
    )


def said(measure: Measure) -> dict[str, Any]:
    """A measure as the record of its act says what it rests on."""
    return {
        "code": measure.code,
        "ground": measure.ground,
        "basis": measure.basis,
        "facts": measure.facts,
        "scope": measure.scope,
        "until": until_text(measure.until),
        "imposed_as": measure.imposed_as,
        "surface": measure.dsa_surface,
    }


def told(measure: Measure) -> dict[str, Any]:
    """A measure as the backend hears of it: whom it binds, until when, and what it takes away within its scope (S131)."""
    return {
        "measure_id": measure.measure_id,
        "code": measure.code,
        "target": {"type": measure.target_type, "id": measure.target_id},
        "scope": measure.scope,
        "from": instant_text(measure.from_at),
        "until": until_text(measure.until),
        "coupled_to": measure.coupled_to,
        "takes_away": list(measure.takes_away()),
    }
