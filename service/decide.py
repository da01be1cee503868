"""Judge one act on looked-at facts: standing, key scope, version, policy, preconditions, reason. Pure; no I/O."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from service.action import Action, Change, Situation, Stand, action_name
from service.caller import PEOPLE_STANDINGS, Relation, Standing
from service.errors import Code, Refusal
from service.policy import Terms, Verdict

#: What a refusal is called when only this relation was lacking; the first that applies.
_LACKING = (
    (Relation.LOWER, Code.RANK_NOT_LOWER),
    (Relation.APART, Code.OWN_MATTER),
    (Relation.UNINVOLVED, Code.OWN_MATTER),
    (Relation.IN_SCOPE, Code.OUTSIDE_SCOPE),
)

NOBODY_NAMED = "people do this, a backend does not: name the person it acts for"
REASONS = "a code of reasons.csv in the edition in force: GET /v1/editions/current"

FOUNDING = Verdict(
    allowed=True,
    rule="founding",
    standing=None,
    relation=None,
    terms=Terms(basis=("platform-choice",)),
    lacking=frozenset(),
)


class Judged(NamedTuple):
    """An allowed act: who the caller was, which line allowed it, and what it changes."""

    stand: Stand
    verdict: Verdict
    change: Change
    persons: int


def allow(action: Action, here: Situation, stand: Stand) -> Verdict:
    """Ask the policy; founding asks nobody, for there is nobody yet. Raises Refusal: the denying line, or the relation that was lacking, or `refused` with rule none."""
    if here.caller.kind == "founding":
        return FOUNDING
    verdict = here.policy.decide(stand.standings, action_name(action), stand.relations, stand.tier)
    if verdict.allowed:
        return verdict
    if stand.private and stand.standings == ("stranger",):
        raise Refusal(Code.UNKNOWN)
    if verdict.relation == Relation.SELF:
        raise Refusal(Code.SELF_TARGET, rule=verdict.rule)
    for relation, code in _LACKING:
        if relation in verdict.lacking:
            raise Refusal(code, rule=verdict.rule)
    if here.caller.kind == "backend" and _is_for_people(action, here):
        raise Refusal(Code.REFUSED, rule=verdict.rule, pointer="X-On-Behalf-Of", advice=NOBODY_NAMED)
    raise Refusal(Code.REFUSED, rule=verdict.rule)


def _is_for_people(action: Action, here: Situation) -> bool:
    """Whether people may do it under some rule, and a backend in its own name under none."""
    name = action_name(action)
    allowed = {line.standing for line in here.policy.lines if (line.action, line.effect) == (name, "allow")}
    return Standing.BACKEND not in allowed and not allowed.isdisjoint(PEOPLE_STANDINGS)


def weigh_reason(action: Action, here: Situation, terms: Terms) -> None:
    """Refuse a reason that is missing, not on the published list, or whose note is too thin for the tier (S018)."""
    reason, note = action.why()
    if (terms.needs_reason and reason is None) or (reason is not None and reason not in here.policy.reasons):
        raise Refusal(Code.REASON_MISSING, pointer="/reason", advice=REASONS)
    if terms.note_min_chars:
        text = (note or "").strip()
        if len(text) < terms.note_min_chars or not any(
            unicodedata.category(char)[0] in "LN" for char in text
        ):
            raise Refusal(Code.REASON_MISSING, pointer="/note", minimum=terms.note_min_chars)


def judge(action: Action, here: Situation, stand: Stand) -> Judged:
    """Decide `action` for a caller who stands as `stand`. Raises Refusal in the order of domain.md section (f)."""
    verdict = allow(action, here, stand)
    change = action.change(here, verdict.terms)
    weigh_reason(action, here, verdict.terms)
    return Judged(stand, verdict, change, verdict.terms.persons if change.persons is None else change.persons)


def following(here: Situation, act: str, tier: int | None) -> Verdict:
    """Under which line the house itself does `act`, where it follows from another one: as time would. Raises Refusal."""
    verdict = here.policy.decide((Standing.SWEEP,), act, (Relation.ANY,), tier)
    if not verdict.allowed:
        raise Refusal(Code.REFUSED, rule=verdict.rule, act=act)
    return verdict
