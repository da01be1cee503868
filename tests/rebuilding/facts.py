"""The facts that are rebuilt: rows by table, as acts make and change them, beginning with none."""

from collections.abc import Callable
from typing import Any

from tests.rebuilding.schema import COLUMNS, KEYS
from tests.rebuilding.told import Act

Row = dict[str, Any]

_VERSIONED = {table for table, columns in COLUMNS.items() if "version" in columns and table != "filing"}
#: Acts that may follow from another one in its transaction, and the table they speak of.
_FOLLOWING = {"group.rank": "groups", "account.rank": "account"}


class UntoldError(Exception):
    """A record speaks of a row that no record made."""


class Facts:
    """The rows as of the acts replayed so far. `lost`: by each deletion, the records whose values went with it."""

    def __init__(self, lost: dict[str, set[str]]) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], Row]] = {table: {} for table in KEYS}
        self.lost = lost
        self.proposals: dict[str, Act] = {}
        self._grown: dict[int, str] = {}
        self._last: Act | None = None

    def replay(self, act: Act) -> None:
        """Take one act. Raises UntoldError."""
        last, self._last = self._last, act
        caused = last is not None and last.record in act.links and last.who["target"] == act.who["target"]
        if act.act in _FOLLOWING and caused:
            # What it says of the row its cause has written: the row's version has grown already.
            self._grown[id(self.get(_FOLLOWING[act.act], act.id("target")))] = act.record
        TELLS[act.act](self, act)

    def put(self, table: str, row: Row) -> None:
        """Put a row as it is, over one with its key."""
        self.rows[table][tuple(row[name] for name in KEYS[table])] = row

    def add(self, table: str, act: Act, **facts: Any) -> Row:
        """A new row. What is not named has never been."""
        row = {**facts, "version": 1} if table in _VERSIONED else facts
        self.put(table, row)
        self._grown[id(row)] = act.record
        return row

    def change(self, row: Row, act: Act, **facts: Any) -> Row:
        """Change facts of a row. Its version grows by one with each record that changes it."""
        row.update(facts)
        if "version" in row and self._grown.get(id(row)) != act.record:
            row["version"] += 1
            self._grown[id(row)] = act.record
        return row

    def get(self, table: str, *key: Any) -> Row:
        """The row with this key. Raises UntoldError."""
        if key not in self.rows[table]:
            raise UntoldError(f"{table} {' '.join(map(str, key))}")
        return self.rows[table][key]

    def all(self, table: str, **match: Any) -> list[Row]:
        """The rows with these facts; None also stands for what has never been."""
        return [
            row
            for row in self.rows[table].values()
            if all(row.get(name) == value for name, value in match.items())
        ]

    def only(self, table: str, **match: Any) -> Row | None:
        """The one row with these facts, or None. Raises UntoldError where there are several."""
        found = self.all(table, **match)
        if len(found) > 1:
            raise UntoldError(f"which of {len(found)} rows of {table} with {match}")
        return found[0] if found else None

    def one(self, table: str, **match: Any) -> Row:
        """The one row with these facts. Raises UntoldError."""
        found = self.only(table, **match)
        if found is None:
            raise UntoldError(f"{table} with {match}")
        return found


Tell = Callable[[Facts, Act], None]
TELLS: dict[str, Tell] = {}
"""What each act does to the facts, by its name."""


def tells(*acts: str) -> Callable[[Tell], Tell]:
    """Say what these acts do."""

    def kept(tell: Tell) -> Tell:
        TELLS.update(dict.fromkeys(acts, tell))
        return tell

    return kept


def ended(act: Act, how: str | None = None) -> Row:
    """The columns of an end by this act."""
    return {"ended_at": act.at, "ended_record": act.record, **({} if how is None else {"ended_how": how})}
