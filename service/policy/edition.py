"""One edition of policy: its files, its digest, its tables, and the decision as a dictionary look-up."""

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec

from .bands import EFFECTS, TierTable, read_tiers
from .catalogue import (
    Document,
    Measure,
    Reason,
    ReservedTerm,
    Violation,
    check_references,
    read_documents,
    read_measures,
    read_names,
    read_reasons,
    read_violations,
)
from .compiled import Cell, ModelError, Table, compile_table, keep_table, kept_table, read_model
from .lines import Line, read_lines
from .parameters import Parameters, read_parameters
from .promises import breaches
from .sheets import Findings, PolicyError, Problem, read_text
from .vocabulary import ANY, NO_RULE, RELATIONS, TIERS

FILES = (
    "README.md",
    "documents.csv",
    "measures.csv",
    "model.conf",
    "parameters.csv",
    "reasons.csv",
    "rules.csv",
    "tiers.csv",
    "violations.csv",
)
#: Editions adopted before there was this file do not have it; in them it is empty.
ADDED = ("names.csv",)
LEAST_SIMILARITY = 0.8
"""Below it similar names are not found: see `service.domain.names`."""
MUTE_LIMITS = ("admin_mute_max_s", "owner_mute_max_s", "admin_mute_all_max_s", "owner_mute_all_max_s")


class Terms(msgspec.Struct, frozen=True):
    """Under which terms a line allows.

    `persons` humans must agree (1 the caller alone, 2 plus an approver, 3 plus approver and compliance, 0
    time). `note_min_chars` is the shortest note accepted, in characters; 0 where none is needed.
    `basis` are codes of law or of the platform's choice, weightiest first.
    """

    persons: int = 1
    needs_reason: bool = False
    needs_note: bool = False
    note_min_chars: int = 0
    basis: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """What policy answers.

    `rule` is the deciding line (the denying one if denied), or "none". `standing` and `relation` are those
    of the deciding line; `standing` is None unless allowed. `lacking` names, where nothing matched, the
    relations under which one of the caller's standings would have been allowed.
    """

    allowed: bool
    rule: str
    standing: str | None
    relation: str | None
    terms: Terms
    lacking: frozenset[str]


class _Choices(msgspec.Struct, frozen=True):
    """What one standing may get for one action at one tier, best first, and the answer where nothing
    holds.
    """

    entries: tuple[tuple[int, str | None, Verdict], ...]
    refusal: Verdict


NO_TERMS = Terms()
REFUSED = Verdict(False, NO_RULE, None, None, NO_TERMS, frozenset())


class Policy:
    """An edition, read and checked as a whole; immutable. Made by `from_folder` and `from_files` only."""

    def __init__(
        self,
        *,
        files: Mapping[str, bytes],
        lines: Sequence[Line],
        parameters: Parameters,
        tiers: Mapping[str, TierTable],
        catalogues: tuple[dict[str, Measure], dict[str, Violation], dict[str, Reason]],
        documents: Mapping[str, tuple[Document, ...]],
        reserved: tuple[ReservedTerm, ...],
        table: Table,
    ) -> None:
        self.files: Mapping[str, bytes] = MappingProxyType(dict(files))
        self.edition: str = digest(files)
        self.lines: tuple[Line, ...] = tuple(lines)
        self.parameters: Parameters = parameters
        self.tiers: Mapping[str, TierTable] = MappingProxyType(dict(tiers))
        measures, violations, reasons = catalogues
        self.measures: Mapping[str, Measure] = MappingProxyType(measures)
        self.violations: Mapping[str, Violation] = MappingProxyType(violations)
        self.reasons: Mapping[str, Reason] = MappingProxyType(reasons)
        self.documents: Mapping[str, tuple[Document, ...]] = MappingProxyType(dict(documents))
        self.reserved: tuple[ReservedTerm, ...] = reserved
        self.table: Mapping[Cell, int] = MappingProxyType(table)
        self._terms = self._resolve_terms()
        self._choices = self._arrange()

    @classmethod
    def from_folder(
        cls, folder: Path, *, actions: Collection[str] | None = None, cache: Path | None = None
    ) -> "Policy":
        """Read the edition in a folder. Raises PolicyError with every fault found."""
        return cls.from_files(read_folder(folder), actions=actions, cache=cache)

    @classmethod
    def from_files(
        cls,
        files: Mapping[str, bytes],
        *,
        actions: Collection[str] | None = None,
        promises: bool = True,
        cache: Path | None = None,
    ) -> "Policy":
        """Read an edition from its files by name, as kept in the database.

        `actions` are all known actions: each must have a rule and no rule may name another (None: not
        checked). `promises`: whether it must keep them, as one must that is to decide anything. `cache` is a
        folder for compiled tables, by edition digest. Raises PolicyError with every fault of what each file
        says; where there is none, with every fault of what they say together.
        """
        problems: list[Problem] = []
        _check_names(files, problems)
        readable = {name: files.get(name, b"") for name in (*FILES, *ADDED)}
        sheet = {name: Findings(name, problems if name in files else []) for name in readable}
        if not (read_text(readable["README.md"], sheet["README.md"]) or "").strip():
            sheet["README.md"].add(1, "is empty", "say how this folder is read")
        tiers = read_tiers(readable["tiers.csv"], sheet["tiers.csv"])
        parameters = read_parameters(readable["parameters.csv"], sheet["parameters.csv"])
        measures = read_measures(readable["measures.csv"], sheet["measures.csv"])
        violations = read_violations(readable["violations.csv"], sheet["violations.csv"])
        reasons = read_reasons(readable["reasons.csv"], sheet["reasons.csv"])
        documents = read_documents(readable["documents.csv"], sheet["documents.csv"])
        reserved = read_names(readable["names.csv"], sheet["names.csv"]) if "names.csv" in files else ()
        lines = read_lines(readable["rules.csv"], sheet["rules.csv"], actions, EFFECTS)
        edition = digest(files)
        kept = kept_table(edition, lines, cache) if cache is not None and not problems else None
        model = read_model(readable["model.conf"], sheet["model.conf"]) if kept is None else None
        if tiers is None or parameters is None or measures is None or violations is None or reasons is None:
            raise PolicyError(problems)
        if problems or documents is None or reserved is None:
            raise PolicyError(problems)
        asking = {line.action: 0 for line in lines}
        asking.update({line.action: line.number for line in lines if "reason" in line.terms})
        check_references(measures, reasons, asking, (sheet["measures.csv"], sheet["rules.csv"]))
        _check_mutes(readable["tiers.csv"], tiers, parameters, sheet["tiers.csv"])
        if not LEAST_SIMILARITY <= parameters.name_similarity_review <= 1:
            line = _line_of(readable["parameters.csv"], "name_similarity_review,")
            what = f"name_similarity_review is {parameters.name_similarity_review}"
            sheet["parameters.csv"].add(line, what, f"write {LEAST_SIMILARITY} to 1")
        table = kept if model is None else _table(model, lines, sheet)
        if table is not None and promises:
            _check_promises(lines, table, tiers, readable["tiers.csv"], sheet)
        if problems or table is None:
            raise PolicyError(problems)
        if kept is None and cache is not None:
            keep_table(table, edition, cache)
        return cls(
            files=files,
            lines=lines,
            parameters=parameters,
            tiers=tiers,
            catalogues=(measures, violations, reasons),
            documents=documents,
            reserved=reserved,
            table=table,
        )

    def decide(
        self, standings: Sequence[str], action: str, relations: Collection[str], tier: int | None
    ) -> Verdict:
        """Whether someone with these standings may act, given the relations found true. No I/O, no Casbin.

        `any` always holds and need not be given; `tier` is the target's, None for subjects without one. A
        denial under any standing and relation beats every allowance; among several the first in file order
        is named.
        """
        choices = self._choices
        best: Verdict | None = None
        best_order = 0
        refusal: Verdict | None = None
        for standing in standings:
            found = choices.get((action, standing, tier))
            if found is None:
                continue
            for order, relation, verdict in found.entries:
                if relation is None or relation in relations:
                    if best is None or order < best_order:
                        best, best_order = verdict, order
                    break
            else:
                refusal = found.refusal if refusal is None else _both(refusal, found.refusal)
        return best or refusal or REFUSED

    def line(self, cell: Cell) -> Line | None:
        """The line that decides a cell, or None where none matches."""
        index = self.table.get(cell)
        return None if index is None else self.lines[index]

    def terms(self, line: Line, tier: str) -> Terms:
        """The terms of a line for a target at a tier ("-" without one), counts looked up in tiers.csv."""
        return self._terms[(line.id, tier)]

    @property
    def tier_down_wait_d(self) -> int:
        """Days for which a lower result must hold before a tier falls: what computing a tier takes beside the tables."""
        return self.parameters.tier_down_wait_d

    def parameter(self, name: str) -> int | float:
        """A value of parameters.csv by name, in the unit its name says. KeyError for a name that is none."""
        if name not in Parameters.__struct_fields__:
            raise KeyError(name)
        return getattr(self.parameters, name)

    def tier_effect(self, subject: str, name: str, tier: int) -> int | str | None:
        """What a tier (1 to 4) changes for "group" or "account"; None is no maximum or not applicable.

        Raises KeyError for an unknown subject or effect, ValueError for another tier.
        """
        if tier not in (1, 2, 3, 4):
            raise ValueError(f"tier {tier}")
        return self.tiers[subject].effects[name][tier - 1]

    def document_in_force(self, document: str, at: dt.datetime) -> Document | None:
        """The version of a published document that is in force at an instant; None where none is (S213)."""
        begun = [one for one in self.documents.get(document, ()) if one.effective_at <= at]
        return begun[-1] if begun else None

    def _resolve_terms(self) -> dict[tuple[str, str], Terms]:
        return {(line.id, tier): _terms(line, tier, self.tiers) for line in self.lines for tier in TIERS}

    def _arrange(self) -> dict[tuple[str, str, int | None], _Choices]:
        held: defaultdict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
        for (action, standing, relation, tier), index in self.table.items():
            held[action, standing, tier][relation] = index
        return {
            (action, standing, None if tier == "-" else int(tier)): self._choose(by_relation, standing, tier)
            for (action, standing, tier), by_relation in held.items()
        }

    def _choose(self, by_relation: Mapping[str, int], standing: str, tier: str) -> _Choices:
        entries: list[tuple[int, str | None, Verdict]] = []
        everywhere = by_relation.get(ANY)
        for relation in RELATIONS:
            index = by_relation.get(relation)
            if index is None or (index == everywhere and relation != ANY):
                continue
            line = self.lines[index]
            allowed = line.effect == "allow"
            verdict = Verdict(
                allowed=allowed,
                rule=line.id,
                standing=standing if allowed else None,
                relation=line.relation,
                terms=self._terms[(line.id, tier)] if allowed else NO_TERMS,
                lacking=frozenset(),
            )
            # Denying lines sort before all allowing ones.
            order = index if allowed else index - len(self.lines)
            entries.append((order, None if relation == ANY else relation, verdict))
        entries.sort(key=lambda entry: entry[0])
        lacking = frozenset(relation for _, relation, verdict in entries if verdict.allowed and relation)
        return _Choices(tuple(entries), msgspec.structs.replace(REFUSED, lacking=lacking))


def digest(files: Mapping[str, bytes]) -> str:
    """The edition: SHA-256 (hex) over all files, sorted by name, each as name, length and bytes.

    Per file: the UTF-8 name, LF, the length in bytes as decimal digits, LF, the bytes.
    """
    hashed = hashlib.sha256()
    for name in sorted(files):
        hashed.update(f"{name}\n{len(files[name])}\n".encode())
        hashed.update(files[name])
    return hashed.hexdigest()


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file of a policy folder by name. Raises PolicyError where it cannot be read or holds a folder
    or link.
    """
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise PolicyError(
            [Problem(str(folder), 1, f"cannot be read ({error.strerror})", "name a folder")]
        ) from error
    for path in paths:
        if path.is_symlink() or not path.is_file():
            problems.append(Problem(path.name, 1, "is no plain file", "keep plain files only"))
        else:
            files[path.name] = path.read_bytes()
    if problems:
        raise PolicyError(problems)
    return files


def _check_names(files: Mapping[str, bytes], problems: list[Problem]) -> None:
    for name in FILES:
        if name not in files:
            problems.append(Problem(name, 1, "is missing", "add the file"))
    for name in files:
        if name not in FILES and name not in ADDED:
            problems.append(Problem(name, 1, "is no policy file", f"keep only {', '.join((*FILES, *ADDED))}"))


def _check_mutes(
    data: bytes, tiers: Mapping[str, TierTable], parameters: Parameters, findings: Findings
) -> None:
    for name in MUTE_LIMITS:
        for tier, value in enumerate(tiers["group"].effects[name], 1):
            if isinstance(value, int) and not parameters.mute_min_s <= value <= parameters.mute_max_s:
                line = _line_of(data, f"group.effect.{name}.{tier},")
                what = f"{name} of tier {tier} is {value}"
                findings.add(line, what, f"write {parameters.mute_min_s} to {parameters.mute_max_s} or null")


def _check_promises(
    lines: Sequence[Line],
    table: Table,
    tiers: Mapping[str, TierTable],
    data: bytes,
    sheet: Mapping[str, Findings],
) -> None:
    found = breaches(lines, table, lambda line, tier: _terms(line, tier, tiers).persons)
    for breach, cures in found.items():
        promise, effect = breach.promise, breach.effect
        what = f"'{effect or breach.line.id}' breaks {promise.rule}: {promise.says}"
        name = "rules.csv" if effect is None else "tiers.csv"
        line = breach.line.number if effect is None else _line_of(data, f"{effect},")
        sheet[name].add(line, what, ", ".join(cures))


def _line_of(data: bytes, start: str) -> int:
    return data.decode().partition(start)[0].count("\n") + 1


def _table(model: str, lines: Sequence[Line], sheet: Mapping[str, Findings]) -> Table | None:
    try:
        table = compile_table(model, lines)
    except ModelError as fault:
        sheet["model.conf"].add(1, str(fault), "restore the published model")
        return None
    _check_reach(lines, table, sheet["rules.csv"])
    return table


def _check_reach(lines: Sequence[Line], table: Table, findings: Findings) -> None:
    alive = set(table.values())
    for index, line in enumerate(lines):
        if index not in alive:
            over = lines[table[(line.action, line.standing, line.relations[-1], line.tiers[0])]]
            how = "denied" if over.effect == "deny" else "already decided"
            findings.add(
                line.number, f"'{line.id}' never decides: {how} by '{over.id}'", "remove one of them"
            )


def _terms(line: Line, tier: str, tiers: Mapping[str, TierTable]) -> Terms:
    effects = tiers[line.action.partition(".")[0]].effects if line.action.partition(".")[0] in tiers else {}
    persons = _at(effects, line.persons, tier) if isinstance(line.persons, str) else line.persons
    needs_note = "note" in line.terms
    return Terms(
        persons=persons,
        needs_reason="reason" in line.terms,
        needs_note=needs_note,
        note_min_chars=_at(effects, "reason_note_min_chars", tier) if needs_note else 0,
        basis=line.basis,
    )


def _at(effects: Mapping[str, tuple[int | str | None, ...]], name: str, tier: str) -> int:
    """A count by tier; where the tier is not known the strictest one, so that nothing gets lighter by not
    knowing.
    """
    counts = [value for value in effects[name] if isinstance(value, int)]
    return max(counts) if tier == "-" else counts[int(tier) - 1]


def _both(one: Verdict, other: Verdict) -> Verdict:
    return msgspec.structs.replace(one, lacking=one.lacking | other.lacking)
