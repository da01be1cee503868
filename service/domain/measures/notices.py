"""The notice of reasons: what somebody whom an act affects is told, part by part, in the act itself (S133, S134)."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import msgspec

from service.action import Effect, Situation
from service.clock import instant_text
from service.rows import Row

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
    """The statement of reasons. `kind` is `imposed`, `lifted`, `warned`; `code` names the measure, where there is one.

    `source` says on whose initiative; reports and orders join it with their acts.
    """

    kind: Literal["imposed", "lifted", "warned"]
    code: str | None
    name: Said | None
    territory: str
    from_at: str
    until: str | None
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
