"""The numbered rules: each in scope has a test that names it, each other one says what it waits for."""

import ast
import csv
import re
from collections import defaultdict
from functools import cache

import pytest

from tests.conftest import REPOSITORY

#: The rules this house speaks of so far. A rule of these ranges is shown by a test, or the table says what it waits for.
RULES = [
    *(f"S{number:03}" for number in (*range(1, 117), 119, 124, 125, 128, 133, 134, 136)),
    *(f"S{number:03}" for number in (190, 197, 199, 200, 202, 203, 205, *range(211, 215))),
    *(f"P{number}" for number in range(1, 5)),
    *(f"G{number}" for number in range(1, 10)),
    *(f"A{number}" for number in range(1, 8)),
    "O1",
    "O2",
]
#: What a rule may wait for: a noun, or a part of one, that the service does not have yet.
WAITS = re.compile(
    r"(cases|duties|reports|subscriptions|transfer of accounts"
    r"|closing of accounts|contracts of MCNs)\b.*"
)


def table() -> list[dict[str, str]]:
    with (REPOSITORY / "tests" / "rules.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def docstrings(path: str) -> dict[str, str]:
    """The docstring of each test of a file."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return {
        one.name: ast.get_docstring(one) or ""
        for one in tree.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def faults(rows: list[dict[str, str]]) -> list[str]:
    """What is wrong with a table of rules."""
    found: list[str] = []
    by_rule: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_rule[row["rule"]].append(row)
    found += [f"{rule} is not in the table" for rule in RULES if rule not in by_rule]
    found += [f"{rule} is no rule in scope" for rule in by_rule if rule not in RULES]
    for rule, lines in by_rule.items():
        reasons = [line["waits_for"] for line in lines if line["waits_for"]]
        tests = [line["test"] for line in lines if line["test"]]
        if bool(reasons) == bool(tests) or len(reasons) > 1 or len(set(tests)) < len(tests):
            found.append(f"{rule} has either tests, each once, or one thing it waits for")
        found += [
            f"{rule} waits for {reason}, which is nothing"
            for reason in reasons
            if not WAITS.fullmatch(reason)
        ]
        for test in tests:
            path, _, name = test.partition("::")
            known = docstrings(path) if (REPOSITORY / path).is_file() else {}
            if not name.startswith("test_") or name not in known:
                found.append(f"{rule}: there is no test {test}")
            elif not re.search(rf"\b{rule}\b", known[name].split("\n\n")[0]):
                found.append(f"{rule}: {test} does not name it")
    return found


def test_every_rule_in_scope_has_a_test_that_names_it() -> None:
    """The table is whole, every test in it exists, and its docstring says which rule it shows."""
    assert faults(table()) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("S007", "", "S007 is not in the table"),
        ("S007", "S999", "S999 is no rule in scope"),
        ("test_records_are_changed_and_deleted_by_nobody", "test_gone", "S007: there is no test"),
        ("test_records_are_changed_and_deleted_by_nobody", "everything", "S007: there is no test"),
        (
            "test_records_are_changed_and_deleted_by_nobody",
            "test_no_column_is_made_for_who_somebody_is",
            "S007: ",
        ),
        ("subscriptions", "better days", "waits for better days"),
    ],
)
def test_a_broken_table_is_noticed(old: str, new: str, fault: str) -> None:
    """A number without a test, a test that does not exist, one that names another rule, and an empty excuse are faults."""
    broken = [
        {
            key: new
            if key == "rule" and value == old
            else value.replace(old, new)
            if key != "rule"
            else value
            for key, value in row.items()
        }
        for row in table()
    ]
    assert any(fault in one for one in faults([row for row in broken if row["rule"]]))


def test_a_rule_that_waits_is_claimed_by_no_test() -> None:
    """No docstring says that it shows a rule which the table says cannot hold yet."""
    waiting = {row["rule"] for row in table() if row["waits_for"]}
    claimed: list[str] = []
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        for name, text in docstrings(str(path.relative_to(REPOSITORY))).items():
            opening = re.match(r"((?:S\d{3}|[PGAO]\d)(?:, )?)+(?=[:,])", text)
            named = set(re.findall(r"S\d{3}|[PGAO]\d", opening[0])) if opening else set()
            claimed += [f"{path.name}::{name} claims {rule}" for rule in sorted(named & waiting)]
    assert claimed == []
