"""The catalogues of an edition: measures, violations, the published reason codes and the published documents."""

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from .sheets import Findings, Row, one_of, read_sheet, whole, yes_no
from .vocabulary import DUTY_KINDS, NOUNS, TARGET_KINDS

MEASURE_COLUMNS = (
    "code",
    "target_kind",
    "name_zh",
    "name_en",
    "rank",
    "reversible",
    "default_term",
    "max_term",
    "approvals",
    "automation",
    "group_action",
    "restrictive",
    "coupled",
    "requires",
    "opens_duty",
    "dsa_visibility",
    "dsa_provision",
    "dsa_account",
    "dsa_monetary",
    "basis",
)
DSA_COLUMNS = {
    "dsa_visibility": "DECISION_VISIBILITY_",
    "dsa_provision": "DECISION_PROVISION_",
    "dsa_account": "DECISION_ACCOUNT_",
    "dsa_monetary": "DECISION_MONETARY_",
}
VIOLATION_COLUMNS = (
    "code",
    "name_zh",
    "name_en",
    "gravity",
    "dsa_category",
    "dsa_keywords",
    "ground",
    "source",
)
REASON_COLUMNS = ("code", "name_zh", "name_en", "for", "note")
NAME_COLUMNS = ("term", "kind", "for", "note")
TERM_KINDS = ("state", "party", "army", "media", "place")
DOCUMENT_COLUMNS = ("code", "document", "version", "effective_at", "name_zh", "name_en", "note")
REVERSIBLE = ("yes", "no", "limited", "hard", "review", "earned_back", "on_reapply", "not_applicable")
GROUNDS = ("illegal", "terms", "either")
MEASURE_CODE = re.compile(r"[GUMPOX]_[A-Z]+(_[A-Z]+)*")
VIOLATION_CODE = re.compile(r"[VD][0-9]{2}")
REASON_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")
DOCUMENT_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,19}")
INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
DURATION = re.compile(r"P(?:([1-9][0-9]*)D)?(?:T(?:([1-9][0-9]*)H)?)?")
ENDLESS = ("until_lifted", "permanent")


class Term(msgspec.Struct, frozen=True):
    """How long a measure holds: `kind` is duration, once, until_lifted or permanent; `seconds` only for
    durations.
    """

    kind: str
    seconds: int | None


class Measure(msgspec.Struct, frozen=True):
    """One measure of the catalogue (measures.csv).

    `rank` orders by weight, 5 lightest to 95. `approvals` is how many humans must agree, the proposer
    included. `automation`: may be imposed without a human. `restrictive`: a notice is due. `coupled` are
    measures that come with it, each with the factor on the term. `requires`: one of these must be in force.
    The `dsa_` values go into the EU statement of reasons; empty means none.
    """

    code: str
    target_kind: str
    name_zh: str
    name_en: str
    rank: int
    reversible: str
    default_term: Term
    max_term: Term
    approvals: int
    automation: bool
    group_action: str | None
    restrictive: bool
    coupled: tuple[tuple[str, int], ...]
    requires: tuple[str, ...]
    opens_duty: str | None
    dsa_visibility: str | None
    dsa_provision: str | None
    dsa_account: str | None
    dsa_monetary: str | None
    basis: str


class Violation(msgspec.Struct, frozen=True):
    """One violation (violations.csv): V.. about content or conduct, D.. about duties; `gravity` 1 to 5
    gravest.

    `dsa_category` is None where the violation is never submitted to the EU database.
    """

    code: str
    name_zh: str
    name_en: str
    gravity: int
    dsa_category: str | None
    dsa_keywords: tuple[str, ...]
    ground: str
    source: str


class Reason(msgspec.Struct, frozen=True):
    """One published reason code (reasons.csv) and the families of acts (nouns, or "*") it may be given
    for.
    """

    code: str
    name_zh: str
    name_en: str
    families: tuple[str, ...]
    note: str

    def fits(self, action: str) -> bool:
        """Whether this reason may be given for an action `noun.verb`."""
        return "*" in self.families or action.partition(".")[0] in self.families


class ReservedTerm(msgspec.Struct, frozen=True):
    """One term (names.csv) that a name of these nouns holds only by a human's decision (S093).

    `kind` is state, party, army, media or place.
    """

    term: str
    kind: str
    nouns: tuple[str, ...]
    note: str


class Document(msgspec.Struct, frozen=True):
    """One version of a published document (documents.csv) that people accept: rules, convention, agreement.

    It is in force from `effective_at` until a later version of the same document is (S213).
    """

    document: str
    version: str
    effective_at: dt.datetime
    name_zh: str
    name_en: str
    note: str


def read_measures(data: bytes, findings: Findings) -> dict[str, Measure] | None:
    """The catalogue by code in file order, or None with findings."""
    optional = ("group_action", "coupled", "requires", "opens_duty", *DSA_COLUMNS)
    rows = read_sheet(data, MEASURE_COLUMNS, ("code",), findings, may_be_empty=optional)
    if rows is None:
        return None
    before = len(findings.problems)
    codes = {row["code"] for row in rows}
    measures = {
        row["code"]: measure for row in rows if (measure := _measure(row, codes, findings)) is not None
    }
    return None if len(findings.problems) > before else measures


def read_violations(data: bytes, findings: Findings) -> dict[str, Violation] | None:
    """The violations by code in file order, or None with findings."""
    rows = read_sheet(
        data, VIOLATION_COLUMNS, ("code",), findings, may_be_empty=("dsa_category", "dsa_keywords")
    )
    if rows is None:
        return None
    before = len(findings.problems)
    violations: dict[str, Violation] = {}
    for row in rows:
        _check_code(row, VIOLATION_CODE, findings)
        one_of(row, "ground", GROUNDS, findings)
        gravity = whole(row, "gravity", findings, low=1, high=5)
        _check_prefix(row, "dsa_category", "STATEMENT_CATEGORY_", findings)
        _check_prefix(row, "dsa_keywords", "KEYWORD_", findings)
        violations[row["code"]] = Violation(
            code=row["code"],
            name_zh=row["name_zh"],
            name_en=row["name_en"],
            gravity=gravity or 0,
            dsa_category=row["dsa_category"] or None,
            dsa_keywords=row.several("dsa_keywords"),
            ground=row["ground"],
            source=row["source"],
        )
    return None if len(findings.problems) > before else violations


def read_reasons(data: bytes, findings: Findings) -> dict[str, Reason] | None:
    """The reason codes in file order, or None with findings."""
    rows = read_sheet(data, REASON_COLUMNS, ("code",), findings, may_be_empty=("note",))
    if rows is None:
        return None
    before = len(findings.problems)
    reasons: dict[str, Reason] = {}
    for row in rows:
        _check_code(row, REASON_CODE, findings)
        for family in row.several("for"):
            if family not in (*NOUNS, "*"):
                findings.add(row.line, f"family '{family}' is unknown", f"use * or {', '.join(NOUNS)}")
        families = row.several("for")
        reasons[row["code"]] = Reason(row["code"], row["name_zh"], row["name_en"], families, row["note"])
    return None if len(findings.problems) > before else reasons


def read_documents(data: bytes, findings: Findings) -> dict[str, tuple[Document, ...]] | None:
    """The versions of each document, oldest first, or None with findings."""
    rows = read_sheet(data, DOCUMENT_COLUMNS, ("code",), findings, may_be_empty=("note",))
    if rows is None:
        return None
    before = len(findings.problems)
    documents: dict[str, list[Document]] = {}
    for row in rows:
        if not REASON_CODE.fullmatch(row["document"]):
            findings.add(
                row.line, f"document '{row['document']}' is malformed", f"write {REASON_CODE.pattern}"
            )
        if not DOCUMENT_VERSION.fullmatch(row["version"]):
            what = f"version '{row['version']}' is malformed"
            findings.add(row.line, what, f"write {DOCUMENT_VERSION.pattern}")
        code = f"{row['document']}.{row['version']}"
        if row["code"] != code:
            what = f"code '{row['code']}' does not say what the line says"
            findings.add(row.line, what, f"write {code}")
        effective_at = _instant(row, "effective_at", findings)
        if effective_at is None:
            continue
        versions = documents.setdefault(row["document"], [])
        if versions and versions[-1].effective_at >= effective_at:
            what = f"effective_at {row['effective_at']} is not after the version before"
            findings.add(row.line, what, "order versions by date")
        versions.append(
            Document(
                document=row["document"],
                version=row["version"],
                effective_at=effective_at,
                name_zh=row["name_zh"],
                name_en=row["name_en"],
                note=row["note"],
            )
        )
    if len(findings.problems) > before:
        return None
    return {document: tuple(versions) for document, versions in documents.items()}


def read_names(data: bytes, findings: Findings) -> tuple[ReservedTerm, ...] | None:
    """The reserved terms in the order of the file, or None with findings."""
    rows = read_sheet(data, NAME_COLUMNS, ("term",), findings, may_be_empty=("note",))
    if rows is None:
        return None
    before = len(findings.problems)
    terms: list[ReservedTerm] = []
    for row in rows:
        one_of(row, "kind", TERM_KINDS, findings)
        nouns = tuple(row["for"].split("|"))
        if not set(nouns) <= {"account", "group"}:
            findings.add(row.line, f"for '{row['for']}' is unknown", "write account, group, or account|group")
        if len(row["term"].strip()) < 2:
            findings.add(
                row.line, f"term '{row['term']}' is in too many names", "write two characters or more"
            )
        terms.append(ReservedTerm(term=row["term"], kind=row["kind"], nouns=nouns, note=row["note"]))
    return None if len(findings.problems) > before else tuple(terms)


def _instant(row: Row, column: str, findings: Findings) -> dt.datetime | None:
    try:
        if INSTANT.fullmatch(row[column]):
            return dt.datetime.fromisoformat(row[column])
    except ValueError:
        pass
    findings.add(row.line, f"{column} '{row[column]}' is no instant", "write 2026-07-01T00:00:00Z")
    return None


def _measure(row: Row, codes: Collection[str], findings: Findings) -> Measure | None:
    before = len(findings.problems)
    _check_code(row, MEASURE_CODE, findings)
    one_of(row, "target_kind", TARGET_KINDS, findings)
    one_of(row, "reversible", REVERSIBLE, findings)
    rank = whole(row, "rank", findings, low=5, high=95)
    approvals = whole(row, "approvals", findings, low=1, high=3)
    default, longest = _term(row, "default_term", findings), _term(row, "max_term", findings)
    if default is not None and longest is not None and not _within(default, longest):
        findings.add(row.line, f"default_term {row['default_term']} is beyond max_term", "shorten it")
    automation = yes_no(row, "automation", findings)
    if automation and approvals is not None and approvals > 1:
        findings.add(row.line, "automation yes although several humans must agree", "write automation no")
    restrictive = yes_no(row, "restrictive", findings)
    if row["opens_duty"]:
        one_of(row, "opens_duty", DUTY_KINDS, findings)
    for column, prefix in DSA_COLUMNS.items():
        _check_prefix(row, column, prefix, findings)
    coupled = _coupled(row, codes, findings)
    for code in row.several("requires"):
        if code not in codes or code == row["code"]:
            findings.add(row.line, f"requires unknown measure '{code}'", "use a code of this file")
    if len(findings.problems) > before or None in (rank, approvals, default, longest):
        return None
    return Measure(
        code=row["code"],
        target_kind=row["target_kind"],
        name_zh=row["name_zh"],
        name_en=row["name_en"],
        rank=rank or 0,
        reversible=row["reversible"],
        default_term=default or Term("once", None),
        max_term=longest or Term("once", None),
        approvals=approvals or 0,
        automation=automation,
        group_action=row["group_action"] or None,
        restrictive=restrictive,
        coupled=coupled,
        requires=row.several("requires"),
        opens_duty=row["opens_duty"] or None,
        dsa_visibility=row["dsa_visibility"] or None,
        dsa_provision=row["dsa_provision"] or None,
        dsa_account=row["dsa_account"] or None,
        dsa_monetary=row["dsa_monetary"] or None,
        basis=row["basis"],
    )


def check_references(
    measures: Mapping[str, Measure],
    reasons: Mapping[str, Reason],
    asking: Mapping[str, int],
    findings: Sequence[Findings],
) -> None:
    """Note group actions in measures.csv without a rule, and families that ask for a reason but have none.

    `asking` are actions with a rule, each with the line of rules.csv whose terms ask for a reason (0: none
    asks). `findings` are those of measures.csv and rules.csv, in this order.
    """
    in_measures, in_rules = findings
    for number, measure in enumerate(measures.values(), 2):
        if measure.group_action is not None and measure.group_action not in asking:
            in_measures.add(
                number, f"group_action '{measure.group_action}' has no rule", "correct or add a rule"
            )
    for action, line in asking.items():
        if line and not any(reason.fits(action) for reason in reasons.values()):
            in_rules.add(line, f"'{action}' asks for a reason, but none fits", "add a code to reasons.csv")


def _coupled(row: Row, codes: Collection[str], findings: Findings) -> tuple[tuple[str, int], ...]:
    pairs: list[tuple[str, int]] = []
    for item in row.several("coupled"):
        code, star, factor = item.partition("*")
        if code not in codes or code == row["code"] or not star or factor not in {"1", "2", "3"}:
            findings.add(row.line, f"coupled '{item}' cannot be read", "write CODE*factor, factor 1 to 3")
        else:
            pairs.append((code, int(factor)))
    return tuple(pairs)


def _term(row: Row, column: str, findings: Findings) -> Term | None:
    text = row[column]
    if text == "once" or text in ENDLESS:
        return Term(text, None)
    match = DURATION.fullmatch(text)
    if match is None or not (match[1] or match[2]) or text.endswith("T"):
        findings.add(
            row.line, f"{column} '{text}' is no term", "write PnD, PTnH, once, until_lifted or permanent"
        )
        return None
    return Term("duration", int(match[1] or 0) * 86400 + int(match[2] or 0) * 3600)


def _within(default: Term, longest: Term) -> bool:
    if default.seconds is not None:
        return longest.kind in ENDLESS or (longest.seconds is not None and default.seconds <= longest.seconds)
    return default.kind == longest.kind


def _check_code(row: Row, pattern: re.Pattern[str], findings: Findings) -> None:
    if not pattern.fullmatch(row["code"]):
        findings.add(row.line, f"code '{row['code']}' is malformed", f"write {pattern.pattern}")


def _check_prefix(row: Row, column: str, prefix: str, findings: Findings) -> None:
    for item in row.several(column):
        if not item.startswith(prefix):
            findings.add(
                row.line, f"{column} '{item}' is unknown", f"use a {prefix}... value of the EU schema"
            )
