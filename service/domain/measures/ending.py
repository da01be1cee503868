"""How a measure ends: one pure function for whatever ends it, by hand, by what it asked for, or by time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from service.action import Effect, Situation
from service.clock import instant_text
from service.domain.in_force import EndedHow, Measure
from service.domain.measures.imposing import Bound, Effected, told
from service.domain.notices import (
    Notice,
    Parts,
    Said,
    automation_of,
    redress_of,
    source_of,
    until_text,
)

NOTHING_TO_DO: Said = {"zh": "无需任何操作。", "en": "Nothing needs to be done."}


def end(
    here: Situation,
    ending: Sequence[tuple[Measure, Bound]],
    how: EndedHow,
    *,
    why: Said | None = None,
    reason: str | None = None,
) -> Effected:
    """End measures. Whoever got a notice of one that is lifted is told of the lifting; an end by time was told from the first.

    `why` is the sentence of that notice; `reason` the code kept with the measure.
    """
    ended = Effected([], [], [], [])
    numbers = count(1)
    for measure, bound in ending:
        number = next(numbers)
        after = measure.with_(
            ended_at=here.at, ended_how=how, ended_record=here.record_id, lift_reason=reason
        )
        ended.measures.append(after)
        ended.effects.append(Effect(f"measure.{how}", {**told(after), "at": instant_text(here.at)}))
        listed: dict[str, Any] = {
            "id": number,
            "what": f"measure_{how}",
            "measure": measure.measure_id,
            "code": measure.code,
            "of": bound.role,
        }
        if how == "lifted" and why is not None and measure.notice_id is not None:
            notice = _notice(here, measure, bound, f"{here.record_id}.{number}", why)
            ended.notices.append(notice)
            ended.effects.append(notice.effect())
            listed["notice"] = True
        ended.coupled.append(listed)
    return ended


def _notice(here: Situation, measure: Measure, bound: Bound, notice_id: str, why: Said) -> Notice:
    entry = here.policy.measures.get(measure.code)
    return Notice(
        notice_id=notice_id,
        measure_id=measure.measure_id,
        to_person=bound.addressee,
        about_type=bound.type,
        about_id=bound.id,
        jurisdiction=measure.jurisdiction,
        parts=Parts(
            kind="lifted",
            code=measure.code,
            name=None if entry is None else {"zh": entry.name_zh, "en": entry.name_en},
            territory=measure.jurisdiction,
            from_at=instant_text(measure.from_at),
            until=until_text(here.at),
            facts=measure.facts,
            source=source_of(here),
            automation=automation_of(here),
            ground=measure.ground,
            basis=measure.basis,
            explanation=why,
            redress=redress_of(here, NOTHING_TO_DO, []),
        ),
        at=here.at,
        by_record=here.record_id,
    )
