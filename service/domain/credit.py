"""Credit: a ledger of signed points for each person and operator, folded to a level A, B, C or D (S086, P2, O2).

The level is never stored: it is the sum of the ledger under the thresholds of an edition. What a level allows is asked with
`entitled`; acts that do not ask for it never look at these rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import msgspec

from service.action import Need, Situation
from service.clock import instant_text
from service.domain.caps import Cap
from service.errors import Code, Refusal
from service.rows import Row, subject

if TYPE_CHECKING:
    from service.policy import Parameters, Policy

Level = Literal["A", "B", "C", "D"]
LOWEST: Level = "D"
Holder = Literal["person", "operator"]
Cause = Literal["opened", "adjusted", "recovered", "suspended", "resumed", "frozen"]
"""Why an entry stands in a ledger. The last three move no points: identity lost, proved again, the person closed for good.

Losses by finding (S087) and by overdue duty (S172), which begin the clean period anew, and the opposite of an entry after a
founded appeal (S089) join here with cases, duties and appeals.
"""


@subject
class Credit(Row, frozen=True, kw_only=True):
    """What one ledger comes to. `recovering_since`: since when the present clean period runs; None: none does (S088)."""

    table = "credit"
    key = ("subject_type", "subject_id")
    reading = "read"

    subject_type: Holder
    subject_id: str
    score: int
    entries: int
    recovering_since: dt.datetime | None


class CreditEntry(Row, frozen=True, kw_only=True):
    """One line of a ledger: signed points as applied, the sum so far, and the record that caused it."""

    table: ClassVar[str] = "credit_entry"
    key: ClassVar[tuple[str, ...]] = ("subject_type", "subject_id", "number")
    appended: ClassVar[bool] = True

    subject_type: Holder
    subject_id: str
    number: int
    at: dt.datetime
    points: int
    score: int
    cause: Cause
    by_record: str


# The level


class Folded(NamedTuple):
    """What a ledger says: the points held, and whether the identity was proved, without which there is no level (P2)."""

    score: int
    verified: bool


def fold(entries: Iterable[CreditEntry]) -> Folded | None:
    """What the entries up to some instant, in their order, come to; None where the ledger was not opened yet. Pure."""
    folded = None
    for entry in entries:
        verified = folded is None or folded.verified
        if entry.cause in {"suspended", "resumed"}:
            verified = entry.cause == "resumed"
        folded = Folded((0 if folded is None else folded.score) + entry.points, verified)
    return folded


def level_of(parameters: Parameters, score: int) -> Level:
    """The level of so many points, by `credit_a_from`, `credit_b_from` and `credit_c_from`."""
    if score >= parameters.credit_a_from:
        return "A"
    if score >= parameters.credit_b_from:
        return "B"
    return "C" if score >= parameters.credit_c_from else LOWEST


def level(parameters: Parameters, credit: Credit | None, *, verified: bool) -> Level | None:
    """The level of a subject now; None where its identity is not proved (P2).

    Who was verified before there were ledgers has none until his first entry, and stands where all begin.
    """
    if not verified:
        return None
    return level_of(parameters, parameters.credit_start if credit is None else credit.score)


def weight(parameters: Parameters, score: int | None, *, verified: bool) -> Level:
    """What a tier takes for an operator's credit (S077): its level, and the lowest where it has none (P2).

    `score`: None where there is no ledger yet.
    """
    return level_of(parameters, parameters.credit_start if score is None else score) if verified else LOWEST


def at_least(found: Level | None, least: str) -> bool:
    """Whether a level is `least` or better; no level never is."""
    return found is not None and found <= least


# What a level allows


def entitled(policy: Policy, what: Literal["groups_owned", "groups_joined"], found: Level | None) -> Cap:
    """How many groups a person of this level may own or be in; without a level none."""
    if found is None:
        return Cap(0, "credit_start")
    source = f"{what}_cap_{found.lower()}"
    return Cap(int(policy.parameter(source)), source)


def tiers_allowed(policy: Policy, noun: Literal["group", "account"], found: Level | None) -> list[int]:
    """The tiers a level is enough for: of groups one may own, of accounts whose comments the operator may manage."""
    what = "owner_credit_min" if noun == "group" else "comment_credit_min"
    return [tier for tier in (1, 2, 3, 4) if at_least(found, str(policy.tier_effect(noun, what, tier)))]


def too_low(
    policy: Policy, found: Level | None, least: str, source: str, *, pointer: str | None = None
) -> Refusal:
    """The refusal `credit_too_low`: the level held, the least that is asked, and the line that asks it."""
    return Refusal(
        Code.CREDIT_TOO_LOW,
        pointer=pointer,
        level=found,
        minimum=least,
        source=source,
        edition=policy.edition,
    )


# The ledger


class Movement(NamedTuple):
    """What an act does to one ledger: the sum before and after, and the lines it adds."""

    before: Credit | None
    after: Credit
    entries: list[CreditEntry]

    @property
    def writes(self) -> list[Any]:
        """The rows to write."""
        return [self.after, *self.entries]

    def coupled(self, of: str = "target") -> list[dict[str, Any]]:
        """The lines as the record lists them; the last says since when a clean period runs, where that changed."""
        lines: list[dict[str, Any]] = [
            {
                "what": "credit",
                "of": of,
                "number": entry.number,
                "cause": entry.cause,
                "points": entry.points,
                "score": entry.score,
            }
            for entry in self.entries
        ]
        since = self.after.recovering_since
        if since != (None if self.before is None else self.before.recovering_since):
            lines[-1]["recovering_since"] = None if since is None else instant_text(since)
        return lines


def ledger_needs(holder: Holder, subject_id: str) -> Need:
    """The row to lock by whoever adds to a ledger. He locks the person or operator too: the row may not be there yet."""
    return Need(Credit, (holder, subject_id), write=True)


def opened(here: Situation, holder: Holder, subject_id: str) -> Movement:
    """The ledger of somebody verified for the first time: it begins at `credit_start`."""
    start = here.policy.parameters.credit_start
    empty = Credit(subject_type=holder, subject_id=subject_id, score=0, entries=0, recovering_since=None)
    return _entered(here, Movement(None, empty, []), start, "opened")


def entered(here: Situation, holder: Holder, subject_id: str, points: int, cause: Cause) -> Movement:
    """The ledger with one more line; points that would pass `credit_min` or `credit_max` are cut there.

    A ledger that is missing, of somebody verified before there were any, is opened first.
    """
    credit = here.find(Credit, holder, subject_id)
    found = opened(here, holder, subject_id) if credit is None else Movement(credit, credit, [])
    return _entered(here, found, points, cause)


def reidentified(
    here: Situation, holder: Holder, subject_id: str, *, was: bool, now: bool
) -> Movement | None:
    """What a check of identity does to a ledger: opens it at the first success, suspends or resumes it; None: nothing."""
    credit = here.find(Credit, holder, subject_id)
    if credit is None:
        return opened(here, holder, subject_id) if now else None
    if was == now:
        return None
    return entered(here, holder, subject_id, 0, "resumed" if now else "suspended")


def _entered(here: Situation, found: Movement, points: int, cause: Cause) -> Movement:
    parameters, credit = here.policy.parameters, found.after
    score = max(parameters.credit_min, min(parameters.credit_max, credit.score + points))
    if (score - credit.score) * points <= 0:
        # Where an edition moved the bounds past what is held, nothing is taken from who is given to, nor given to who loses.
        score = credit.score
    after = msgspec.structs.replace(
        credit,
        score=score,
        entries=credit.entries + 1,
        recovering_since=_recovering_since(here, credit, score, cause),
    )
    entry = CreditEntry(
        subject_type=credit.subject_type,
        subject_id=credit.subject_id,
        number=after.entries,
        at=here.at,
        points=score - credit.score,
        score=score,
        cause=cause,
        by_record=here.record_id,
    )
    return Movement(found.before, after, [*found.entries, entry])


def _recovering_since(here: Situation, credit: Credit, score: int, cause: Cause) -> dt.datetime | None:
    """When the clean period began that runs after this entry; at the most there is nothing to recover (S088)."""
    parameters = here.policy.parameters
    if score >= parameters.credit_max or cause in {"suspended", "frozen"}:
        return None
    if cause == "recovered" and credit.recovering_since is not None:
        return credit.recovering_since + dt.timedelta(days=parameters.credit_recovery_period_d)
    return credit.recovering_since or here.at
