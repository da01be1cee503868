"""Are stored tiers what their stored inputs give? Computed again, each under its own edition, and compared byte for byte.

What is proved: the results that groups and accounts hold now, and every result that a record keeps. It needs the
database alone: no running service, no policy folder (S078).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from service.db import queries
from service.db.pool import Reader
from service.domain import tiers
from service.domain.tiers import Basis, Kind
from service.policy import TierEdition, adopted_tiers, digest

sql = queries(__file__)
_STEP = 1_000


class Differs(msgspec.Struct, frozen=True, kw_only=True):
    """A stored result that is not what its inputs give. `where`: `now` of a subject, or the record that keeps it."""

    kind: str
    id: str
    where: str
    why: str


class Proved(NamedTuple):
    """How many results were computed again, how many subjects hold none, and those that differ."""

    results: int
    unranked: int
    differing: list[Differs]


class Editions:
    """The adopted editions as the database keeps them, read when one is met."""

    def __init__(self, db: Reader) -> None:
        """Nothing is read yet."""
        self._db = db
        self._known: dict[str, TierEdition | str] = {}

    async def of(self, edition: str) -> TierEdition | str:
        """The tiers of an edition, or a sentence on why there are none."""
        if edition not in self._known:
            self._known[edition] = await self._read(edition)
        return self._known[edition]

    async def _read(self, edition: str) -> TierEdition | str:
        texts = await sql.edition_files(self._db, digest=edition)
        if texts is None:
            return f"edition {edition} was never adopted"
        files = {name: text.encode() for name, text in texts.items()}
        if digest(files) != edition:
            return f"the kept files of edition {edition} are not those of its digest"
        try:
            return adopted_tiers(edition, files)
        except (ValueError, KeyError, StopIteration) as error:
            return f"the tables of edition {edition} cannot be read: {error!r}"


async def prove(db: Reader, told: Callable[[int], None]) -> Proved:
    """Compute every stored result again, in a snapshot. `told` hears how many were looked at since it was last told."""
    editions = Editions(db)
    differing: list[Differs] = []
    results = unranked = 0
    async for row in db.walk(sql.all["stored_now"].sql):
        if row["tier_basis"] is None or row["tier_basis"] == {}:
            unranked += 1
        else:
            results += 1
            why = await _fault(editions, row["kind"], row["tier_basis"])
            why = why or _held(row)
            if why:
                differing.append(Differs(kind=row["kind"], id=row["id"], where="now", why=why))
        if (results + unranked) % _STEP == 0:
            told(_STEP)
    async for row in db.walk(sql.all["stored_in_records"].sql):
        after = msgspec.json.decode(row["body"])["p"].get("after", {})
        kept = after.get("tier_basis")
        if not kept or "how" in kept:
            continue
        results += 1
        kind = "account" if "class" in kept["inputs"] else "group"
        if why := await _fault(editions, kind, kept):
            differing.append(Differs(kind=kind, id="", where=row["rid"], why=why))
        if results % _STEP == 0:
            told(_STEP)
    return Proved(results, unranked, differing)


async def size(db: Reader) -> int:
    """About how many results there are: for a bar."""
    return int(await sql.stored_count(db))


async def _fault(editions: Editions, kind: Kind, kept: Mapping[str, Any]) -> str:
    """What is wrong with one stored result; empty where nothing is."""
    try:
        basis = msgspec.convert(kept, Basis)
    except msgspec.ValidationError as error:
        return f"cannot be read: {error}"
    edition = await editions.of(basis.edition)
    if isinstance(edition, str):
        return edition
    try:
        again = tiers.rank_again(edition, kind, basis)
    except (KeyError, ValueError, StopIteration) as error:
        return f"cannot be computed from its inputs: {error!r}"
    if tiers.basis_bytes(again) == tiers.basis_bytes(kept):
        return ""
    now = tiers.told(again)
    odd = sorted(name for name in {*now, *kept} if now.get(name) != kept.get(name))
    return "; ".join(f"{name} is {kept.get(name)}, computed {now.get(name)}" for name in odd)


def _held(row: Any) -> str:
    """Whether the tier in force is the stored result under the override that stands."""
    tier = tiers.in_force(msgspec.convert(row["tier_basis"], Basis), row["override_tier"])
    return "" if tier == row["tier"] else f"tier {row['tier']} is in force, {tier} follows from the result"
