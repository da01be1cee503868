"""Reading the files of a policy folder strictly: every fault is collected with its file and line.

A table is UTF-8 without byte order mark, LF line ends, a header row and RFC 4180 quoting. Strictness is
deliberate: an invisible character or a shifted column would change who may do what without anybody seeing it.
"""

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True, order=True):
    """One fault in a policy folder: where it is, what is wrong and what to do. Lines count from 1."""

    file: str
    line: int
    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}; {self.cure}"


class PolicyError(Exception):
    """A policy folder has faults; nothing of it may be used. `problems` lists all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Findings:
    """The faults found so far in one file. Shared by all readers of that file."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems

    def add(self, line: int, what: str, cure: str) -> None:
        """Note a fault at `line` of this file."""
        self.problems.append(Problem(self.file, line, what, cure))


class Row(msgspec.Struct, frozen=True):
    """One line of a table: its number in the file and its cells by column name."""

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def several(self, column: str) -> tuple[str, ...]:
        """The items of a list cell, separated by `|`; an empty cell is an empty list."""
        return tuple(self.cells[column].split("|")) if self.cells[column] else ()


def read_text(data: bytes, findings: Findings) -> str | None:
    """The text of a file, or None (with findings) where its bytes cannot be trusted to mean what they
    show.
    """
    before = len(findings.problems)
    if data.startswith(b"\xef\xbb\xbf"):
        findings.add(1, "begins with a byte order mark", "save as UTF-8 without it")
    if b"\0" in data:
        findings.add(_line_of(data, data.index(b"\0")), "holds a NUL byte", "remove it")
    if b"\r" in data:
        findings.add(_line_of(data, data.index(b"\r")), "holds a carriage return", "save with LF line ends")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        findings.add(_line_of(data, error.start), "is not UTF-8", "save the file as UTF-8")
        return None
    if len(findings.problems) > before:
        return None
    if text and not text.endswith("\n"):
        findings.add(text.count("\n") + 1, "ends without a line end", "end the last line with LF")
    for number, line in enumerate(text.split("\n"), 1):
        if line.isprintable():  # nearly all are, and this is said at once
            continue
        hidden = [char for char in line if char != "\t" and unicodedata.category(char) in {"Cc", "Cf"}]
        if hidden:
            name = f"U+{ord(hidden[0]):04X}"
            findings.add(number, f"holds the invisible character {name}", "remove it")
    return text


def read_sheet(
    data: bytes,
    columns: Sequence[str],
    key: Sequence[str],
    findings: Findings,
    *,
    may_be_empty: Sequence[str],
) -> list[Row] | None:
    """The rows of a table in file order, or None with findings where a line cannot be read.

    What the lines mean is then not judged: it would only tell what follows from the one that is lacking. `key` names the columns whose values together must be unique; `may_be_empty` the columns that need no
    value.
    """
    before = len(findings.problems)
    text = read_text(data, findings)
    if text is None:
        return None
    rows: list[Row] = []
    seen: dict[tuple[str, ...], int] = {}
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records = _records(reader, findings)
    _, header = next(records, (1, []))
    if header != list(columns):
        findings.add(1, f"columns are {','.join(header)}", f"write exactly {','.join(columns)}")
        return None
    for line, cells in records:
        if len(cells) != len(columns):
            findings.add(
                line, f"has {len(cells)} cells for {len(columns)} columns", "quote commas, fill gaps"
            )
            continue
        row = Row(line, dict(zip(columns, cells, strict=True)))
        if not _tidy(row, may_be_empty, findings):
            continue
        name = tuple(row[column] for column in key)
        if name in seen:
            findings.add(line, f"{'/'.join(name)} is already in line {seen[name]}", "keep one of them")
            continue
        seen[name] = line
        rows.append(row)
    if len(findings.problems) > before:
        return None
    if not rows:
        findings.add(1, "holds no line", "add at least one")
        return None
    return rows


def one_of(row: Row, column: str, words: Sequence[str], findings: Findings) -> bool:
    """Whether the cell is one of a closed list; notes the fault where not."""
    if row[column] in words:
        return True
    findings.add(row.line, f"{column} '{row[column]}' is unknown", f"use one of {', '.join(words)}")
    return False


def whole(row: Row, column: str, findings: Findings, *, low: int = 0, high: int | None = None) -> int | None:
    """The cell as a whole number within bounds (inclusive), or None with a finding."""
    text = row[column]
    if not (text.isascii() and text.isdigit()) or (text != "0" and text.startswith("0")):
        findings.add(row.line, f"{column} '{text}' is no whole number", "write digits only")
        return None
    value = int(text)
    if value < low or (high is not None and value > high):
        limits = f"{low} to {high}" if high is not None else f"{low} or more"
        findings.add(row.line, f"{column} {value} is out of range", f"write {limits}")
        return None
    return value


def yes_no(row: Row, column: str, findings: Findings) -> bool:
    """The cell as a truth value; anything but yes or no is a finding."""
    return one_of(row, column, ("yes", "no"), findings) and row[column] == "yes"


def _records(reader: "Iterator[list[str]]", findings: Findings) -> Iterator[tuple[int, list[str]]]:
    while True:
        line = getattr(reader, "line_num", 0) + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            findings.add(line, f"is not a table row ({error})", "quote cells that hold commas or quotes")
            return
        yield line, cells


def _tidy(row: Row, may_be_empty: Sequence[str], findings: Findings) -> bool:
    tidy = True
    for column, cell in row.cells.items():
        if cell != cell.strip() or "\n" in cell:
            findings.add(row.line, f"{column} has space around it or a line end inside", "remove it")
            tidy = False
        elif not cell and column not in may_be_empty:
            findings.add(row.line, f"{column} is empty", "fill it in")
            tidy = False
    return tidy


def _line_of(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
