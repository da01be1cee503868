"""Row: one table's row as a frozen struct, looked at and written in sets, one statement per kind (design.md section 3).

The SQL is derived from the struct, so a column has one home. Reads for people (lists, chains) are prose in `.sql` files.
"""

from __future__ import annotations

import datetime as dt
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Self, TypeVar

import msgspec

from service.db import Tx

R = TypeVar("R", bound="Row")

_ARRAYS: dict[Any, str] = {
    str: "text[]",
    int: "bigint[]",
    bool: "boolean[]",
    dt.datetime: "timestamptz[]",
    bytes: "bytea[]",
}


def _bare(hint: Any) -> Any:
    """Return the type a column holds: without None, Annotated and enums' wrapping."""
    if typing.get_origin(hint) is typing.Annotated:
        return _bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else Any
    return str if typing.get_origin(hint) is typing.Literal else hint


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row. A subclass names its `table`, its `key` and, where only open rows count, the `only` clause.

    `locks`: looking at it locks it; off for parts whose parent is locked by the same act. `reading`
    is the lock of acts that only read it: `share`, or `read` where no invariant rests on it staying as it is. `appended`:
    rows are only ever added. Columns are the fields, in
    their order; anything but text, integers, booleans, instants and bytes is kept as jsonb.
    """

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    look_key: ClassVar[tuple[str, ...]] = ()
    only: ClassVar[str] = ""
    locks: ClassVar[bool] = False
    reading: ClassVar[str] = "share"
    appended: ClassVar[bool] = False
    _sql: ClassVar[dict[str, str]]
    _keys: ClassVar[tuple[str, ...]]
    _json: ClassVar[frozenset[str]]
    _made: ClassVar[Callable[..., Any]]

    @classmethod
    def noun(cls) -> str:
        """What callers are told that it is: the name of the class in words."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()

    @classmethod
    def statements(cls) -> dict[str, str]:
        """Return the statements of this table, made once per class: `apply`, and the parts that `look_at` joins."""
        if "_sql" in cls.__dict__:
            return cls._sql
        hints = typing.get_type_hints(cls)
        names = cls.__struct_fields__
        kinds = [_ARRAYS.get(_bare(hints[name]), "jsonb[]") for name in names]
        cls._json = frozenset(name for name, kind in zip(names, kinds, strict=True) if kind == "jsonb[]")
        look_key = cls.look_key or cls.key
        cls._keys = tuple(_ARRAYS[_bare(hints[name])] for name in look_key)
        keys = ", ".join(f"{{key{i}}}" for i in range(len(look_key)))
        match = " AND ".join(f"t.{name} = k.k{i}" for i, name in enumerate(look_key))
        alias = ", ".join(f"k{i}" for i in range(len(look_key)))
        only = f" AND {cls.only}" if cls.only else ""
        columns_of = ", ".join(f"t.{name}" for name in names)
        # One look-up per key, in the order of the keys. Joined, a plan made while the table was empty would walk it for ever.
        look = (
            f"FROM unnest({keys}) AS k({alias}) CROSS JOIN LATERAL"
            f" (SELECT {columns_of} FROM {cls.table} t WHERE {match}{only} "
        )
        # Made by name once, as dataclasses are: a dict of the columns for every row would take half of the time of a look.
        taken = ", ".join(f"v{i}" for i in range(len(names)))
        given = ", ".join(
            f"{name}=v{i} and convert(v{i}, hints[{name!r}])" if name in cls._json else f"{name}=v{i}"
            for i, name in enumerate(names)
        )
        scope = {"cls": cls, "convert": msgspec.convert, "hints": hints}
        cls._made = eval(f"lambda {taken}: cls({given})", scope)  # noqa: S307  of our own fields' names
        values = ", ".join(f"{{v{i}}}::{kind.replace('jsonb', 'text')}" for i, kind in enumerate(kinds))
        columns = ", ".join(f"v{i}{'::jsonb' if kind == 'jsonb[]' else ''}" for i, kind in enumerate(kinds))
        rest = [name for name in names if name not in cls.key]
        update = ", ".join(f"{name} = excluded.{name}" for name in rest)
        cls._sql = {
            "columns": columns_of,
            "read": f"{look}OFFSET 0) t",
            "share": f"{look}FOR SHARE) t",
            "lock": f"{look}FOR NO KEY UPDATE) t",
            "apply": (
                f"INSERT INTO {cls.table} ({', '.join(names)}) SELECT {columns}"
                f" FROM unnest({values}) AS u({', '.join(f'v{i}' for i in range(len(names)))})"
                + ("" if cls.appended else f" ON CONFLICT ({', '.join(cls.key)}) DO UPDATE SET {update}")
            ),
        }
        return cls._sql

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Read the rows of `keys`, locked as `lock` says (`read`, `share`, `lock`), in the order given."""
        return (await look_at(db, [(cls, keys, lock)]))[0][cls]

    @classmethod
    def from_record(cls, record: Any) -> Self:
        """Make a row of a database record whose columns stand in the struct's order."""
        if "_made" not in cls.__dict__:
            cls.statements()
        return cls._made(*record)

    @classmethod
    async def apply(cls, tx: Tx, writes: Sequence[Self]) -> None:
        """Insert or replace the rows in one statement, in the order given."""
        await tx.execute(cls.applying(), *cls.applied(writes))

    @classmethod
    async def insert(cls, tx: Tx, rows: Sequence[Self]) -> None:
        """Insert rows that are not there. Raises UniqueViolationError where another process was quicker."""
        statement, _, _ = cls.applying().partition(" ON CONFLICT ")
        await tx.execute(statement, *cls.applied(rows))

    @classmethod
    def looked_by(cls, row: Self) -> tuple[Any, ...]:
        """The key by which a row is looked for."""
        return tuple(getattr(row, name) for name in cls.look_key or cls.key)

    @classmethod
    def applying(cls, first: int = 1) -> str:
        """The statement that inserts or replaces rows; its values begin with number `first`, a list for each column."""
        names = {f"v{i}": f"${first + i}" for i in range(len(cls.__struct_fields__))}
        return cls.statements()["apply"].format(**names)

    @classmethod
    def applied(cls, writes: Sequence[Self]) -> list[list[Any]]:
        """The values of `applying` for these rows, in the order given."""
        cls.statements()
        json = cls._json
        columns: list[list[Any]] = []
        for name in cls.__struct_fields__:
            column = [getattr(row, name) for row in writes]
            if name in json:
                column = [None if value is None else msgspec.json.encode(value).decode() for value in column]
            columns.append(column)
        return columns


Wanted = tuple[type[Row], Sequence[tuple[Any, ...]], str]
"""A kind of rows, their keys, and how they are locked: `read`, `share`, `lock`."""


async def look_at(
    db: Any, wanted: Sequence[Wanted]
) -> tuple[dict[type[Any], dict[tuple[Any, ...], Any]], bool]:
    """Read rows of several kinds in one statement, locked kind by kind in the order given.

    All of them are seen as they were when the statement began, but for those that it locks: these are seen as they are
    once the lock is held. The second answer is whether that is the same, because nothing was committed meanwhile.
    """
    statement = _joined(tuple((kind, lock) for kind, _, lock in wanted))
    keys = [list(column) for _, rows, _ in wanted for column in zip(*rows, strict=True)]
    found: dict[type[Any], dict[tuple[Any, ...], Any]] = {kind: {} for kind, _, _ in wanted}
    kinds = [(kind, kind.look_key or kind.key, found[kind]) for kind, _, _ in wanted]
    same = True
    for place, record in await db.fetch(statement, *keys):
        if place < 0:
            (same,) = record
            continue
        kind, names, rows = kinds[place]
        row = kind.from_record(record)
        rows[tuple([getattr(row, name) for name in names])] = row
    return found, same


@cache
def _joined(wanted: tuple[tuple[type[Row], str], ...]) -> str:
    """The statement for these kinds: a row is the place of its kind and its columns. Appended parts run one after another.

    Where it locks, a row with place -1 says whether nothing was committed since it began.
    """
    parts: list[str] = []
    number = 0
    for place, (kind, lock) in enumerate(wanted):
        statements = kind.statements()
        keys = {f"key{i}": f"${number + i + 1}::{array}" for i, array in enumerate(kind._keys)}  # noqa: SLF001
        number += len(keys)
        parts.append(f"SELECT {place}, ROW({statements['columns']}) {statements[lock].format(**keys)}")
    if any(lock != "read" for _, lock in wanted):
        # Last, when all locks are held.
        parts.append("SELECT -1, ROW(undisturbed(pg_current_snapshot()))")
    return " UNION ALL ".join(parts)


#: The order in which rows of different kinds are locked, here and nowhere else: no two acts can wait for each other.
LOCK_ORDER: list[type[Row]] = []


@cache
def lock_place(kind: type[Row]) -> int:
    """Where a kind stands in the order of locks; what is locked with its parent comes last."""
    return LOCK_ORDER.index(kind) if kind in LOCK_ORDER else len(LOCK_ORDER)


def subject(kind: type[R]) -> type[R]:
    """Mark a row kind whose rows are locked when looked at; modules are imported in the order of their life."""
    kind.locks = True
    LOCK_ORDER.append(kind)
    return kind


class Gated(Row, frozen=True, kw_only=True):
    """Looked at behind a gate, one at a time where something will be changed; it opens when the transaction ends.

    `gate`: its name. A gate is waited for when all rows are locked, so whoever has it waits for nobody.
    """

    locks: ClassVar[bool] = True
    gate: ClassVar[str]

    @classmethod
    async def look(
        cls, db: Any, keys: Sequence[tuple[str, ...]], *, lock: str = "read"
    ) -> Mapping[tuple[str, ...], Self]:
        """Wait for the gate, unless nothing will be changed; then look."""
        if lock != "read":
            await db.fetchval(
                "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))::text", f"mandate.{cls.gate}"
            )
        return await cls.found(db, keys)

    @classmethod
    async def found(cls, db: Any, keys: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], Self]:
        """Look behind the gate."""
        raise NotImplementedError
