"""The lines of rules.csv: who (standing) may do what (action) to whom (relation) at which tier, under which
terms.
"""

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from .sheets import Findings, Row, one_of, read_sheet
from .vocabulary import ANY, EFFECTS, INSTRUMENTS, NO_RULE, NOUNS, RELATIONS, STANDINGS, TERM_WORDS, TIERS

COLUMNS = ("id", "effect", "standing", "action", "relation", "tier", "persons", "terms", "basis", "comment")
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/#()-]{0,127}")
ACTION = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")
MOST_BASES = 16


class Line(msgspec.Struct, frozen=True):
    """One rule as written.

    `tier` is "*" or tiers separated by `|`. `persons` is how many humans must agree (0 only for time
    itself) or the name of a tier effect that says so. `number` is the line in rules.csv, counting from 1.
    """

    number: int
    id: str
    effect: str
    standing: str
    action: str
    relation: str
    tier: str
    persons: int | str
    terms: frozenset[str]
    basis: tuple[str, ...]
    comment: str

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers this line speaks of."""
        return TIERS if self.tier == "*" else tuple(self.tier.split("|"))

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations under which this line holds; `any` holds under all."""
        return RELATIONS if self.relation == ANY else (self.relation,)


def read_lines(
    data: bytes, findings: Findings, actions: Collection[str] | None, effects: Mapping[str, Collection[str]]
) -> list[Line]:
    """The rules in file order; faulty lines are left out and named in `findings`, and then nothing is said of missing ones.

    `actions` are the known actions (None: any well-formed one). `effects` are the names of the tier effects
    by subject, which `persons` and `note` refer to.
    """
    rows = read_sheet(data, COLUMNS, ("id",), findings, may_be_empty=("terms",))
    if rows is None:
        return []
    lines = [line for row in rows if (line := _line(row, findings, actions, effects)) is not None]
    if len(lines) == len(rows):
        _say_missing(lines, findings, actions)
    return lines


def _line(
    row: Row, findings: Findings, actions: Collection[str] | None, effects: Mapping[str, Collection[str]]
) -> Line | None:
    before = len(findings.problems)
    if not CODE.fullmatch(row["id"]) or row["id"] == NO_RULE:
        findings.add(row.line, f"id '{row['id']}' is no code", f"write {CODE.pattern}, but not '{NO_RULE}'")
    one_of(row, "effect", EFFECTS, findings)
    one_of(row, "standing", STANDINGS, findings)
    one_of(row, "relation", RELATIONS, findings)
    _check_action(row, findings, actions)
    _check_tier(row, findings)
    _check_basis(row, findings)
    noun_effects = effects.get(row["action"].partition(".")[0], ())
    persons = _persons(row, findings, noun_effects)
    terms = _terms(row, findings, noun_effects)
    if len(findings.problems) > before or persons is None:
        return None
    return Line(
        number=row.line,
        id=row["id"],
        effect=row["effect"],
        standing=row["standing"],
        action=row["action"],
        relation=row["relation"],
        tier=row["tier"],
        persons=persons,
        terms=terms,
        basis=row.several("basis"),
        comment=row["comment"],
    )


def _check_action(row: Row, findings: Findings, actions: Collection[str] | None) -> None:
    action = row["action"]
    if not ACTION.fullmatch(action) or action.partition(".")[0] not in NOUNS:
        findings.add(row.line, f"action '{action}' is no noun.verb", f"begin with one of {', '.join(NOUNS)}")
    elif actions is not None and action not in actions:
        findings.add(row.line, f"action '{action}' is unknown", "correct the spelling or remove the line")


def _check_tier(row: Row, findings: Findings) -> None:
    tiers = row.several("tier")
    if tiers != ("*",) and (any(tier not in TIERS for tier in tiers) or len(set(tiers)) < len(tiers)):
        findings.add(row.line, f"tier '{row['tier']}' is unknown", f"write * or a list of {' '.join(TIERS)}")


def _check_basis(row: Row, findings: Findings) -> None:
    bases = row.several("basis")
    if len(set(bases)) < len(bases) or len(bases) > MOST_BASES:
        findings.add(row.line, "basis repeats a code or is too long", f"each once, {MOST_BASES} at most")
    for basis in bases:
        if not CODE.fullmatch(basis) or basis.partition(":")[0] not in INSTRUMENTS:
            findings.add(
                row.line, f"basis '{basis}' is unknown", f"begin with one of {', '.join(INSTRUMENTS)}"
            )


def _persons(row: Row, findings: Findings, effects: Collection[str]) -> int | str | None:
    text = row["persons"]
    if text.startswith("tier:"):
        name = text.removeprefix("tier:")
        if name in effects and name.endswith("_persons"):
            return name
        findings.add(
            row.line, f"persons '{text}' is no tier effect", "name a ..._persons effect of tiers.csv"
        )
        return None
    if text not in {"0", "1", "2", "3"}:
        findings.add(row.line, f"persons '{text}' is unknown", "write 0, 1, 2, 3 or tier:<effect>")
        return None
    if text == "0" and row["standing"] != "sweep":
        findings.add(row.line, "persons 0 for a standing that is not sweep", "write at least 1")
        return None
    return int(text)


def _terms(row: Row, findings: Findings, effects: Collection[str]) -> frozenset[str]:
    terms = row.several("terms")
    for term in terms:
        if term not in TERM_WORDS:
            findings.add(row.line, f"term '{term}' is unknown", f"use {' or '.join(TERM_WORDS)}")
    if len(set(terms)) < len(terms):
        findings.add(row.line, "terms repeats a word", "write each once")
    if "note" in terms and ("reason_note_min_chars" not in effects or "reason" not in terms):
        findings.add(row.line, "term 'note' without a reason or a tiered length", "remove it, or add reason")
    if terms and row["effect"] == "deny":
        findings.add(row.line, "a denying line with terms", "remove the terms")
    return frozenset(terms)


def _say_missing(lines: Sequence[Line], findings: Findings, actions: Collection[str] | None) -> None:
    allowed = {line.action for line in lines if line.effect == "allow"}
    for action in sorted({line.action for line in lines} | set(actions or ()) - allowed):
        if action not in allowed:
            findings.add(1, f"action '{action}' has no allowing line", "add a rule for whoever may do it")
