"""How credit moves: adjusted by two people, recovered by a written rule and no other way (S086-S091)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from service.action import Action, Change, Effect, Id, Need, Note, Reason, Situation, Stand, Subject
from service.domain import credit, staff
from service.domain.credit import Credit, Holder, Level
from service.domain.notices import listed, of_act, reason_said
from service.domain.operators import Operator, level_moved
from service.domain.people import Person
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Policy, Terms

MOST = 1000
"""No adjustment is larger; what can be held is narrower still (`credit_min`, `credit_max`)."""


class _OfCredit(Action, frozen=True, kw_only=True):
    """An act on one ledger: looks at it and at whose it is. Nobody acts on the credit of himself or of what he answers for."""

    subject_type: Holder
    subject_id: Id

    def target(self, here: Situation) -> Subject:
        """The person or operator."""
        return Subject(self.subject_type, self.subject_id)

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Both locked: the ledger may not be there yet."""
        kind = Person if self.subject_type == "person" else Operator
        return [
            Need(kind, (self.subject_id,), write=True),
            credit.ledger_needs(self.subject_type, self.subject_id),
            *staff.needs_of(caller),
        ]

    def holder(self, here: Situation) -> Person | Operator:
        """Whose credit it is. Raises Refusal `unknown`."""
        return here.get(Person if self.subject_type == "person" else Operator, self.subject_id)

    def stand(self, here: Situation) -> Stand:
        holder, row = self.holder(here), here.find(Credit, self.subject_type, self.subject_id)
        closed = isinstance(holder, Person) and holder.closed_at is not None
        human = self.subject_id if isinstance(holder, Person) else holder.answerable_person
        return staff.stand(here, parties=(f"person:{human}",))._replace(
            jurisdiction=holder.jurisdiction,
            version=0 if row is None else row.entries,
            private=isinstance(holder, Person),
            gone=Code.PERSON_CLOSED if closed else None,
        )

    def moved(self, here: Situation, points: int, cause: credit.Cause, terms: Terms) -> Change:
        """The change that adds one line: the level before and after, and what a change of level allows from now on.

        A fall to a lower level is a restriction, told with its reasons in the same act (S091).
        """
        movement = credit.entered(here, self.subject_type, self.subject_id, points, cause)
        parameters, holder = here.policy.parameters, self.holder(here)
        verified = holder.identity_status == "verified"
        was = credit.level(parameters, movement.before, verified=verified)
        now = credit.level(parameters, movement.after, verified=verified)
        line = movement.entries[-1]
        facts = {"points": line.points, "score": line.score, "level": now}
        change = Change(
            writes=movement.writes,
            before={"score": line.score - line.points, "level": was},
            after=facts,
            coupled=movement.coupled(),
            result={**facts, "number": line.number},
        )
        if isinstance(holder, Operator):
            change.writes += level_moved(here, holder, was, now)
        if was != now:
            allowed = allowance(here.policy, self.subject_type, now)
            before = allowance(here.policy, self.subject_type, was)
            change.coupled.append({"what": "entitlements", "before": before, "after": allowed})
            told = {"before": was, "after": now, "entitlements": allowed}
            whose = {f"{self.subject_type}_id": self.subject_id}
            change.effects.append(Effect("credit.level_changed", {**whose, **told}))
        if was is not None and now is not None and not credit.at_least(now, was):
            self._tell_fall(here, change, terms)
        return change

    def _tell_fall(self, here: Situation, change: Change, terms: Terms) -> None:
        """Add the notice to whose credit fell; of an operator's, to the person it answers through."""
        holder, parameters = self.holder(here), here.policy.parameters
        to = self.subject_id if isinstance(holder, Person) else holder.answerable_person
        if isinstance(holder, Operator):
            change.about = {"answerable": Subject("person", to)}
        (allowed,) = (one for one in change.coupled if one["what"] == "entitlements")
        reason, _ = self.why()
        why, was, now = reason_said(here, reason), change.before["level"], change.after["level"]
        lost, score = -change.after["points"], change.after["score"]
        points, days = parameters.credit_recovery_points, parameters.credit_recovery_period_d
        notice = of_act(
            here,
            "lowered",
            to=to,
            about=self.target(here),
            jurisdiction=holder.jurisdiction,
            facts={
                "level": {"before": was, "after": now},
                "points": -lost,
                "score": score,
                "reason": reason,
                "entitlements": {"before": allowed["before"], "after": allowed["after"]},
            },
            basis=terms.basis,
            explanation={
                "zh": f"信用分扣减{lost}分，现为{score}分，信用等级由{was}降为{now}。原因：{why['zh']}。已有的群组与账号不受影响，超出新额度的不再新增。",
                "en": f"{lost} points of credit were taken; {score} are left, and the level falls from {was} to {now}. Reason: "
                f"{why['en']}. Nothing held is taken away; what the new level does not allow is not added to.",
            },
            remedy={
                "zh": f"信用按公布的规则恢复：每满{days}天无违规，恢复{points}分。",
                "en": f"Credit recovers by the published rule: {points} points after each {days} clean days.",
            },
        )
        # Agreed to by a second person, the record is of his yes, whose own basis is another.
        change.basis = list(terms.basis)
        change.writes.append(notice)
        change.coupled.append(listed())
        change.effects.append(notice.effect())


def allowance(policy: Policy, holder: Holder, found: Level | None) -> dict[str, Any]:
    """What a level allows: how many groups a person may own and be in, and of which tiers; or the tiers of accounts whose
    comments an operator may manage.
    """
    if holder == "operator":
        return {"comment_tiers": credit.tiers_allowed(policy, "account", found)}
    return {
        "groups_owned": credit.entitled(policy, "groups_owned", found).value,
        "groups_joined": credit.entitled(policy, "groups_joined", found).value,
        "group_tiers": credit.tiers_allowed(policy, "group", found),
    }


class AdjustCredit(_OfCredit, frozen=True, kw_only=True, tag="credit.adjust"):
    """Move somebody's credit by hand: a reason, a second person, never in one's own matter.

    Points that would pass the least or the most that may be held are cut there; the ledger says what was applied.
    """

    points: Annotated[int, msgspec.Meta(ge=-MOST, le=MOST, description="Signed, not 0.")]
    reason: Reason | None = None
    note: Note | None = None

    def form(self, policy: Policy) -> None:
        """Refuses `malformed` (0 points)."""
        if self.points == 0:
            raise Refusal(Code.MALFORMED, pointer="/points", why="moves nothing")

    def asked(self) -> dict[str, int]:
        return {"points": self.points}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `identity_unverified` (without it there is no credit, P2), `already_in_state` (nothing left to move)."""
        holder = self.holder(here)
        if holder.identity_status != "verified":
            raise Refusal(Code.IDENTITY_UNVERIFIED, status=holder.identity_status)
        change = self.moved(here, self.points, "adjusted", terms)
        if change.after["points"] == 0:
            raise Refusal(Code.ALREADY_IN_STATE, score=change.after["score"])
        return change


class RecoverCredit(_OfCredit, frozen=True, kw_only=True, tag="credit.recover"):
    """A clean period is over: `credit_recovery_points` come back, up to the most that may be held (S088).

    Clean is a period without a finding and without an overdue duty: both begin it anew when they take points.
    """

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_state` when no period is over, or nothing is left to recover (S016)."""
        parameters, row = here.policy.parameters, here.find(Credit, self.subject_type, self.subject_id)
        since = None if row is None else row.recovering_since
        period = dt.timedelta(days=parameters.credit_recovery_period_d)
        if row is None or since is None or here.at < since + period or row.score >= parameters.credit_max:
            raise Refusal(Code.NOT_IN_STATE)
        return self.moved(here, parameters.credit_recovery_points, "recovered", terms)
