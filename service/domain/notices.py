"""The notice of reasons: what somebody whom an act affects is told, part by part, in the act itself (S133, S134)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from service.action import Effect, Situation, Subject
from service.clock import InstantText, instant_text
from service.rows import Row

Kind = Literal["imposed", "lifted", "warned", "refused", "lowered"]
Source = Literal["platform_rule", "staff", "request"]
Said = dict[Literal["zh", "en"], str]
"""One sentence in Chinese and in English."""


class Automation(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a machine detected and whether a machine decided: both follow from who acts, nobody says them (S136)."""

    detection: bool
    decision: bool


class Redress(msgspec.Struct, frozen=True, kw_only=True):
    """How to object, until when, and what would end it sooner: `remedy` with `papers`.

    The window is `window_months` calendar months from when the person was informed, for everybody and free of charge.
    """

    object: Said
    window_months: int
    window_from: str = "informed_at"
    free: bool = True
    remedy: Said
    papers: list[str]


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The statement of reasons. `kind`: of a measure `imposed` or `lifted`; of another act `warned` (dormancy), `refused` (an account,
    a change of profile, a credential), `lowered` (credit). `code` names the measure, where there is one.

    `source` says on whose initiative; reports and orders join it with their acts.
    """

    kind: Kind
    code: str | None
    name: Said | None
    territory: str
    from_at: InstantText
    until: InstantText | None
    facts: dict[str, Any]
    source: Source
    automation: Automation
    ground: str
    basis: list[str]
    explanation: Said
    redress: Redress


class Notice(Row, frozen=True, kw_only=True):
    """One notice; made with its act and never changed."""

    table = "notice"
    key = ("notice_id",)
    appended = True

    notice_id: str
    measure_id: str | None
    to_person: str
    about_type: str
    about_id: str
    jurisdiction: str
    parts: Parts
    at: dt.datetime
    by_record: str

    def effect(self) -> Effect:
        """What the backend carries to the person."""
        return Effect(
            "notice.sent",
            {
                "notice_id": self.notice_id,
                "measure_id": self.measure_id,
                "to": self.to_person,
                "about": {"type": self.about_type, "id": self.about_id},
                "parts": msgspec.to_builtins(self.parts),
            },
        )


def of_act(
    here: Situation,
    kind: Kind,
    *,
    to: str,
    about: Subject,
    jurisdiction: str,
    facts: dict[str, Any],
    basis: Sequence[str],
    explanation: Said,
    remedy: Said,
    papers: Sequence[str] = (),
    until: dt.datetime | None = None,
    number: int = 1,
) -> Notice:
    """The notice of an act that is no measure, on the ground of the platform's agreement; `number`: its place in the record.

    `facts` hold no personal values. The record lists it as `listed` says.
    """
    return Notice(
        notice_id=f"{here.record_id}.{number}",
        measure_id=None,
        to_person=to,
        about_type=about.type,
        about_id=about.id,
        jurisdiction=jurisdiction,
        parts=Parts(
            kind=kind,
            code=None,
            name=None,
            territory=jurisdiction,
            from_at=instant_text(here.at),
            until=until_text(until),
            facts=facts,
            source=source_of(here),
            automation=automation_of(here),
            ground="terms",
            basis=list(basis),
            explanation=explanation,
            redress=redress_of(here, remedy, list(papers)),
        ),
        at=here.at,
        by_record=here.record_id,
    )


def listed(number: int = 1) -> dict[str, Any]:
    """A notice of an act as its record lists it: it is about the target."""
    return {"id": number, "what": "notice", "of": "target"}


def reason_said(here: Situation, reason: str | None) -> Said:
    """A published reason in words. `other` has none that may be told: what it stands for is in the note, which is sealed."""
    entry = None if reason is None or reason == "other" else here.policy.reasons.get(reason)
    if entry is None:
        return {"zh": "其他原因", "en": "another reason"}
    return {"zh": entry.name_zh, "en": entry.name_en}


def automation_of(here: Situation) -> Automation:
    """Machines detect and decide where a machine acts; staff decide where staff act, on what people brought before them."""
    machine = here.caller.kind in {"sweep", "backend"}
    return Automation(detection=machine, decision=machine)


def source_of(here: Situation) -> Source:
    """On whose initiative an act is: a published rule's, that of staff, or of whom it concerns."""
    if here.caller.kind == "person":
        return "request"
    return "platform_rule" if here.caller.kind in {"sweep", "backend"} else "staff"


def redress_of(here: Situation, remedy: Said, papers: list[str]) -> Redress:
    """The ways to object under the edition in force."""
    months = here.policy.parameters.appeal_window_months
    return Redress(
        object={
            "zh": f"自收到告知之日起{months}个月内可免费申诉，由未参与本决定的工作人员处理并书面答复。",
            "en": f"You may object free of charge for {months} months from being informed; a human who took no part "
            "in this decision answers in writing.",
        },
        window_months=months,
        remedy=remedy,
        papers=papers,
    )


def until_text(until: dt.datetime | None) -> str | None:
    """An end as notices and records write it."""
    return None if until is None else instant_text(until)
