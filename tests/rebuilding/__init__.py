"""S017: the state, rebuilt from nothing but the records in their order, and compared with the tables column by column.

It shares no code with what wrote the records but the reader of records, the tags and the seals. What is personal is taken
from what the record sealed; where that opening was deleted, nobody can say the value, and it is not compared. What a test
arranged past the API stands in no record: it is put in at its place among them, as it was arranged.
"""

import datetime as dt
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from service.db.pool import Reader, Tx
from service.trail.keys import TrailKeys
from tests.rebuilding import accounts, agreeing, groups, measures, operators, people  # noqa: F401 - they register
from tests.rebuilding.facts import TELLS, Facts, Row, UntoldError
from tests.rebuilding.schema import COLUMNS, KEYS, unknown
from tests.rebuilding.told import GONE, Memory, remembered

# Of the catalogue itself: information_schema keeps silent about tables that the service may not touch.
_COLUMNS = """
SELECT c.relname AS table_name, a.attname AS column_name
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
"""
_EACH = [f"SELECT '{table}', to_jsonb(t) FROM {table} t" for table in KEYS]
_ALL = " UNION ALL ".join(_EACH)
_WRITTEN = " UNION ALL ".join(f"{one} WHERE t.xmin = pg_current_xact_id_if_assigned()::xid" for one in _EACH)
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|\+00:00)")


class Arranged(NamedTuple):
    """A row that was written past the API after the record with this number."""

    after: int
    table: str
    row: Row


async def faults(reader: Reader, keys: TrailKeys, arranged: Iterable[Arranged] = ()) -> list[str]:
    """How the state that the records tell differs from the tables, each difference as a sentence; empty where it does not."""
    found = unknown(await _columns(reader))
    memory = await remembered(reader, keys)
    if found or memory.retired:
        # Bodies that were deleted after their term tell nothing any more: from then on the state itself is the memory.
        return found
    facts, untold = rebuild(memory, arranged)
    there: dict[str, list[Row]] = {table: [] for table in KEYS}
    for table, row in await reader.fetch(_ALL):
        there[table].append(plain(row))
    return untold + [
        one for table in KEYS for one in differences(table, there[table], facts.rows[table].values())
    ]


async def arranged(tx: Tx) -> list[Arranged]:
    """The rows that this transaction has written so far, in their place among the records."""
    after = await tx.fetchval("SELECT coalesce(max(id), 0) FROM record")
    return [Arranged(after, table, plain(row)) for table, row in await tx.fetch(_WRITTEN)]


async def _columns(reader: Reader) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for row in await reader.fetch(_COLUMNS):
        columns.setdefault(row["table_name"], []).append(row["column_name"])
    return columns


def rebuild(memory: Memory, arranged: Iterable[Arranged] = ()) -> tuple[Facts, list[str]]:
    """The facts after all acts, and what a record says that no earlier one has told of."""
    facts, untold = Facts(memory.lost), list[str]()
    waiting = sorted(arranged, key=lambda one: one.after)
    for number, act in memory.acts:
        while waiting and waiting[0].after < number:
            facts.put(waiting[0].table, waiting.pop(0).row)
        if act.out == "refused":
            continue
        try:
            if act.out == "proposed":
                agreeing.proposed(facts, act)
            else:
                facts.replay(act)
        except (UntoldError, LookupError, TypeError, ValueError) as error:
            known = "" if act.act in TELLS else ", which nobody replays"
            untold.append(f"record {act.record} ({act.act}{known}) does not tell: {error!r}")
    for one in waiting:
        facts.put(one.table, one.row)
    return facts, untold


def differences(table: str, rows: Iterable[Row], told: Iterable[Row]) -> list[str]:
    """Row by row and column by column: what stands in a table and what the records tell."""
    key = KEYS[table]
    there = {tuple(row[name] for name in key): row for row in rows}
    rebuilt = {tuple(row[name] for name in key): row for row in told}
    found = [f"{table} {_name(one)}: no record tells of it" for one in there.keys() - rebuilt.keys()]
    found += [
        f"{table} {_name(one)}: records tell of it, and there is none"
        for one in rebuilt.keys() - there.keys()
    ]
    for one in there.keys() & rebuilt.keys():
        for column in COLUMNS[table]:
            kept, said = _seen(table, column, there[one].get(column)), plain(rebuilt[one].get(column))
            if not _same(kept, said):
                found.append(f"{table} {_name(one)}: {column} is {kept!r}, and by the records {said!r}")
    return sorted(found)


def _name(key: tuple[Any, ...]) -> str:
    return " ".join(map(str, key))


def _seen(table: str, column: str, value: Any) -> Any:
    """A value of a table, without what is made of names."""
    if table == "account" and column == "name_check":
        return _check(value)
    if table == "account" and column == "pending_profile" and value is not None:
        value = {name: one for name, one in value.items() if name != "name_key"}
        if "name_check" in value:
            value["name_check"] = _check(value["name_check"])
    return value


def _check(check: Any) -> Any:
    """Why a human must look at a name: as far as a record says it, without any name or likeness."""
    if check is None or "terms" not in check:
        return check
    beside = [one["account_id"] for one in check["beside"]]
    return {"why": check["why"], "kinds": check["kinds"], "beside": beside}


def plain(value: Any) -> Any:
    """A value without what only its writing makes different: instants as such, members that are null left out."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC)
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return dt.datetime.fromisoformat(value)
    return value


def _same(kept: Any, said: Any) -> bool:
    if said is GONE:
        return True
    if isinstance(kept, dict) and isinstance(said, dict):
        return kept.keys() == said.keys() and all(_same(kept[name], said[name]) for name in kept)
    return bool(kept == said)
