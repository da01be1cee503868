"""Reading an edition aloud: why a cell is as it is, what differs between two editions, what is wrong in a
folder.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from .edition import NO_TERMS, Policy, Terms
from .sheets import PolicyError, Problem
from .vocabulary import NO_RULE, RELATIONS, STANDINGS, TIERS


class Answer(msgspec.Struct, frozen=True):
    """What one cell says: `effect` is allow, deny or none; `rule` the deciding line's id or "none"."""

    effect: str
    rule: str
    terms: Terms


class Explanation(msgspec.Struct, frozen=True):
    """Why one cell is as it is.

    `line` is the deciding line in rules.csv (0 where none matched); `others` are the ids of further lines
    that match but do not decide; `lacking` the relations under which this standing would be allowed here.
    """

    edition: str
    standing: str
    action: str
    relation: str
    tier: str
    answer: Answer
    line: int
    comment: str
    others: tuple[str, ...]
    lacking: tuple[str, ...]


class CellChange(msgspec.Struct, frozen=True):
    """A cell whose effect, rule or terms differ between two editions."""

    action: str
    standing: str
    relation: str
    tier: str
    before: Answer
    after: Answer


class ValueChange(msgspec.Struct, frozen=True):
    """A row of another table (or a whole file) that differs; None where it is absent on that side."""

    file: str
    key: str
    before: str | None
    after: str | None


def explain(policy: Policy, standing: str, action: str, relation: str, tier: int | None) -> Explanation:
    """Why one cell is as it is. Raises ValueError for a standing, relation or tier outside the closed
    lists.
    """
    level = "-" if tier is None else str(tier)
    for word, words in ((standing, STANDINGS), (relation, RELATIONS), (level, TIERS)):
        if word not in words:
            raise ValueError(f"{word} is none of {', '.join(words)}")
    decider = policy.line((action, standing, relation, level))
    matching = [
        line
        for line in policy.lines
        if (line.standing, line.action) == (standing, action)
        and relation in line.relations
        and level in line.tiers
    ]
    return Explanation(
        edition=policy.edition,
        standing=standing,
        action=action,
        relation=relation,
        tier=level,
        answer=answer(policy, (action, standing, relation, level)),
        line=decider.number if decider else 0,
        comment=decider.comment if decider else "",
        others=tuple(line.id for line in matching if line != decider),
        lacking=tuple(sorted(policy.decide((standing,), action, (relation,), tier).lacking)),
    )


def answer(policy: Policy, cell: tuple[str, str, str, str]) -> Answer:
    """What a cell (action, standing, relation, tier) says in an edition."""
    line = policy.line(cell)
    if line is None:
        return Answer("none", NO_RULE, NO_TERMS)
    return Answer(line.effect, line.id, policy.terms(line, cell[3]) if line.effect == "allow" else NO_TERMS)


def diff(old: Policy, new: Policy) -> list[CellChange]:
    """Every cell that changes from one edition to another, in the order of action, standing, relation and
    tier.
    """
    changes: list[CellChange] = []
    for action in sorted({line.action for line in (*old.lines, *new.lines)}):
        for cell in ((action, s, r, t) for s in STANDINGS for r in RELATIONS for t in TIERS):
            before, after = answer(old, cell), answer(new, cell)
            if before != after:
                changes.append(CellChange(*cell, before, after))
    return changes


def diff_values(old: Policy, new: Policy) -> list[ValueChange]:
    """Every line of the other files that changes, by the first cell of its row; the README and the model as
    wholes.
    """
    changes: list[ValueChange] = []
    for name in sorted({*old.files, *new.files} - {"rules.csv"}):
        before, after = _rows(name, old.files.get(name, b"")), _rows(name, new.files.get(name, b""))
        changes += [
            ValueChange(name, key, before.get(key), after.get(key))
            for key in _in_order(before, after)
            if before.get(key) != after.get(key)
        ]
    return changes


def check(folder: Path, actions: Collection[str] | None = None) -> list[Problem]:
    """The faults of a policy folder; an empty list means it can be adopted."""
    try:
        Policy.from_folder(folder, actions=actions)
    except PolicyError as error:
        return list(error.problems)
    return []


def _rows(name: str, data: bytes) -> dict[str, str]:
    text = data.decode()
    return (
        {line.partition(",")[0]: line for line in text.splitlines()}
        if name.endswith(".csv")
        else {name: text}
    )


def _in_order(before: Iterable[str], after: Iterable[str]) -> list[str]:
    return list(dict.fromkeys((*before, *after)))
