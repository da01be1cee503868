"""Named SQL: the statements of a module, written as prose in the `.sql` file beside it."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from aiosql.adapters.asyncpg import AsyncPGAdapter
from aiosql.query_loader import QueryLoader
from aiosql.types import SQLOperationType

from service.db.pool import Reader, Tx


class Named(msgspec.Struct, frozen=True):
    """One statement of a `.sql` file."""

    name: str
    sql: str
    """The statement with `$1`, `$2` in place of `:name`."""
    parameters: tuple[str, ...]
    """The names, in the order of the numbers."""
    operation: SQLOperationType
    about: str
    """The sentence that stands above the statement."""

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Put arguments in the order of the numbers; raises TypeError as a function would."""
        if len(args) > len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} values, {len(args)} were given")
        rest = self.parameters[len(args) :]
        if len(kwargs) != len(rest) or any(name not in kwargs for name in rest):
            raise TypeError(
                f"{self.name} needs {', '.join(rest) or 'nothing more'}; got {', '.join(kwargs) or 'none'}"
            )
        return (*args, *(kwargs[name] for name in rest))


class Queries:
    """The statements of one `.sql` file, as methods: `await sql.get_group(tx, group_id=…)`.

    What a call returns follows aiosql's marks after the name: none gives a list of rows, `^` one row or None,
    `$` one value, `!` the command tag, `<!` the one value or row that was made, `*!` nothing (a list of rows of
    arguments is taken, as dicts or tuples), `#` a script's tag.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def all(self) -> dict[str, Named]:
        """All statements by name, read at first use; raises ValueError for a name used twice."""
        adapter = AsyncPGAdapter()
        loader = QueryLoader(adapter, None, mandatory_parameters=False)  # pyright: ignore[reportArgumentType]
        found: dict[str, Named] = {}
        for datum in loader.load_query_data_from_file(self._path, encoding="utf-8"):
            if datum.query_name in found:
                raise ValueError(f"{self._path} names {datum.query_name} twice")
            names = tuple(adapter.var_sorted[datum.query_name])
            found[datum.query_name] = Named(
                datum.query_name, datum.sql, names, datum.operation_type, datum.doc_comments
            )
        return found

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            call = _callable(self.all[name])
        except KeyError:
            raise AttributeError(f"{self._path.name} has no statement named {name}") from None
        self.__dict__[name] = call
        return call


def queries(module_file: str) -> Queries:
    """Return the statements of the `.sql` file beside a module, which gives its own `__file__`."""
    path = Path(module_file).with_suffix(".sql")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: the statements of a module stand beside it")
    return Queries(path)


def _callable(named: Named) -> Callable[..., Any]:
    sql, values = named.sql, named.values

    async def rows(tx: Reader, *args: Any, **kwargs: Any) -> Any:
        return await tx.fetch(sql, *values(args, kwargs))

    async def row(tx: Reader, *args: Any, **kwargs: Any) -> Any:
        return await tx.fetchrow(sql, *values(args, kwargs))

    async def value(tx: Reader, *args: Any, **kwargs: Any) -> Any:
        return await tx.fetchval(sql, *values(args, kwargs))

    async def made(tx: Tx, *args: Any, **kwargs: Any) -> Any:
        result = await tx.fetchrow(sql, *values(args, kwargs))
        return result[0] if result is not None and len(result) == 1 else result

    async def tag(tx: Tx, *args: Any, **kwargs: Any) -> Any:
        return await tx.execute(sql, *values(args, kwargs))

    async def many(tx: Tx, items: Any) -> Any:
        lines = [values((), item) if isinstance(item, Mapping) else values(tuple(item), {}) for item in items]
        await tx.executemany(sql, lines)

    async def script(tx: Tx) -> Any:
        return await tx.execute(sql)

    call = {
        SQLOperationType.SELECT: rows,
        SQLOperationType.SELECT_ONE: row,
        SQLOperationType.SELECT_VALUE: value,
        SQLOperationType.INSERT_RETURNING: made,
        SQLOperationType.INSERT_UPDATE_DELETE: tag,
        SQLOperationType.INSERT_UPDATE_DELETE_MANY: many,
        SQLOperationType.SCRIPT: script,
    }[named.operation]
    call.__name__, call.__doc__ = named.name, named.about
    return call
