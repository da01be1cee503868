"""Evidence bundles from the database: all of one subject's records, or a range, as of the newest checkpoint (section 9).

Everything is read in one snapshot. The bundle goes to a file first: a slow reader holds no connection, and what cannot be
made fails before the first byte is sent.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from service.db import Db, Reader, queries
from service.trail import ended, stored
from service.trail.bundle import BundleWriter, Shown, read_said
from service.trail.entry import bucket_of
from service.trail.fields import FIELD_PURPOSE, SealError, open_sealed
from service.trail.growth import PLACE_BYTES, PLACES, tree_of
from service.trail.kept import Damaged, undamaged
from service.trail.keys import TrailKeys
from service.trail.merkle import Frontier, blocks, leaf, prove_inclusion
from service.trail.note import LARGEST_SIZE, Checkpoint, Note, Vkey, to_base64

sql = queries(__file__)
_AT_ONCE = 500
"""Records are read so many at a time."""
_LINES_AT_ONCE = 100
"""After so many lines others have their turn, the connection among them: it takes in what is read ahead."""
_LEAVES_AT_ONCE = 4_000
_ATTEMPTS = 100
_PAUSE_SECONDS = 0.05
_COSIGNED_SECONDS = 3.0
"""How long an export waits for witnesses to sign the newest checkpoint, where they signed the one before it."""


class NotPublished(Exception):
    """There is no checkpoint yet, or none of the newest map within some seconds."""


class OutsideTrail(Exception):
    """The range asked for does not lie within the `n` records of the subject."""

    def __init__(self, n: int) -> None:
        super().__init__(f"the subject has {n} records")
        self.n = n


class Asked(NamedTuple):
    """Which bundle: whose, which records (all if None), for a reader who checked the log at `old_size`.

    `opened`: whether the reader may see personal fields. `log`: name of a log that was ended, None for the one that stands.
    """

    subject: tuple[str, str]
    opened: bool
    span: tuple[int, int] | None = None
    old_size: int | None = None
    log: str | None = None


class UnknownLog(Exception):
    """No log of this name was ended here."""


class _Tree(NamedTuple):
    """A subject: how many records it has, their root, and the places of the newest, as its row holds them."""

    tag: bytes
    n: int
    root: bytes
    tail: bytes


class Exporter:
    """Writes bundles; keeps the upper levels of the map in memory from the first one on."""

    def __init__(
        self, db: Db, keys: TrailKeys, map_bits: int, witnesses: Sequence[Vkey] = (), quorum: int = 0
    ) -> None:
        """`quorum`: from how many of these `witnesses` readers want to see a signature."""
        self._witnesses = [str(one) for one in witnesses]
        self._quorum = quorum
        self._db = db
        self._keys = keys
        self._map = stored.StoredMap(map_bits)
        self._one = asyncio.Lock()

    async def write(self, asked: Asked, write: Callable[[bytes], object]) -> None:
        """Write one bundle. One at a time, so that exports never take more than one connection from acts.

        Raises NotPublished, OutsideTrail, UnknownLog, Damaged, DatabaseUnavailable.
        """
        async with self._one:
            if asked.log is not None:
                await self._write_ended(asked, asked.log, write)
                return
            await self._map.build()
            patient = time.monotonic() + _COSIGNED_SECONDS
            for _ in range(_ATTEMPTS):
                async with self._db.read(snapshot=True) as db:
                    state = await stored.sql.log_state(db)
                    newest = await stored.sql.newest_checkpoint(db)
                    if newest is not None and newest["size"] > state["size"]:
                        raise Damaged(f"checkpoint {newest['size']}")
                    # Between commit and signature the subjects are ahead of what is signed.
                    if (
                        newest is not None
                        and newest["size"] == state["size"]
                        and not (time.monotonic() < patient and await self._worth_waiting(db, newest))
                    ):
                        with undamaged("checkpoint, log_entry, log_tile, subject or subject_leaf"):
                            await self._write(db, newest["note"], asked, write, self._map)
                        return
                await asyncio.sleep(_PAUSE_SECONDS)
        raise NotPublished

    async def _write_ended(self, asked: Asked, log: str, write: Callable[[bytes], object]) -> None:
        """Write a bundle of an ended log, as of its last checkpoint; its map is made for this one bundle."""
        async with self._db.read(snapshot=True) as db:
            genesis = await ended.enter(db, log)
        if genesis is None:
            raise UnknownLog
        held = stored.StoredMap(genesis.map_bits)
        await held.build()
        async with self._db.read(snapshot=True) as db:
            await ended.enter(db, log)
            state = await stored.sql.log_state(db)
            newest = await stored.sql.newest_checkpoint(db)
            if newest is None or newest["size"] != state["size"]:
                raise NotPublished
            with undamaged("checkpoint, log_entry, log_tile, subject or subject_leaf"):
                await self._write(db, newest["note"], asked, write, held)

    async def _worth_waiting(self, db: Reader, newest: Any) -> bool:
        """Whether witnesses are about to sign: a witness that is away must not hold up each export."""
        if len(set(self._witnesses) & set(newest["vkeys"])) >= self._quorum:
            return False
        before = await sql.cosigned_before(db, size=newest["size"], vkeys=self._witnesses)
        return before is None or before >= self._quorum

    async def _write(
        self, db: Reader, note: str, asked: Asked, write: Callable[[bytes], object], held: stored.StoredMap
    ) -> None:
        checkpoint = Checkpoint.parse(Note.parse(note).text)
        size = checkpoint.size
        tag = self._keys.tag(*asked.subject)
        edge = await sql.edge(db, bucket=bucket_of(tag, held.bits), tag=tag)
        tree = None if edge is None else _Tree(tag, *tree_of(tag, edge))
        n = 0 if tree is None else tree.n
        a, b = asked.span or (0, n)
        if not a <= b <= n:
            raise OutsideTrail(n)
        left, right = (
            ([], []) if tree is None else (await _sides(db, tree, 0, a), await _sides(db, tree, b, n))
        )
        writer = BundleWriter(write, size)
        writer.bundle(checkpoint.origin, *asked.subject, a, b)
        writer.checkpoint(note)
        for row in await stored.sql.configs(db):
            if row["idx"] < size:
                writer.config(row["idx"], row["entry"])
        if asked.old_size is not None and asked.old_size < size:
            writer.consistency(asked.old_size, await stored.consistency(db, asked.old_size, size))
        await _map_line(db, writer, held, tag, size)
        if tree is not None:
            writer.subject(n, tree.root, left, right)
            await self._records(db, writer, tree, a, b, opened=asked.opened)
            await self._cite(db, writer, size)
        writer.nodes(await stored.log_hashes(db, writer.gaps()))
        writer.end()

    async def _records(
        self, db: Reader, writer: BundleWriter, tree: _Tree, a: int, b: int, *, opened: bool
    ) -> None:
        """Write records a to b - 1. While some are written, the database looks up those that follow."""
        batches = _batches(db, tree, a, b)
        ahead = asyncio.create_task(anext(batches, None))
        try:
            while (rows := await ahead) is not None:
                found = await self._shown(db, rows, writer.size, opened=opened)
                ahead = asyncio.create_task(anext(batches, None))
                for number, shown in enumerate(found, 1):
                    writer.record(shown)
                    if number % _LINES_AT_ONCE == 0:
                        await asyncio.sleep(0)
        finally:
            # Nothing may still be reading when the connection is given back.
            ahead.cancel()
            await asyncio.wait([ahead])

    async def _shown(self, db: Reader, rows: Sequence[Any], size: int, *, opened: bool) -> list[Shown]:
        """The records as the reader may see them. A deletion that is not yet in the log cannot be named: so null stands there."""
        heard = [(row, None if row["body"] is None else read_said(row["body"])) for row in rows]
        committed = [row["rid"] for row, said in heard if said is not None and said.sd]
        fields = await self._opened(db, committed) if opened and committed else {}
        deleted: dict[str, dict[str, str]] = {}
        for row in await sql.deleted(db, rids=committed, size=size) if committed else ():
            deleted.setdefault(row["record_id"], {})[row["name"]] = row["deleted_by"]
        found: list[Shown] = []
        for row, said in heard:
            index, entry, rid, body, retired_by = row
            if said is None:
                found.append(Shown(index, entry, None, gone=retired_by))
            elif not said.sd:
                found.append(Shown(index, entry, body, said=said))
            else:
                shown, by = fields.get(rid, {}), deleted.get(rid, {})
                withheld = {name: by.get(name) for name in said.sd.keys() - shown.keys()}
                found.append(Shown(index, entry, body, shown, withheld, said=said))
        return found

    async def _cite(self, db: Reader, writer: BundleWriter, size: int) -> None:
        """Cite the deletions that what was shown relies on. Raises NotPublished while one is not yet in the log."""
        if not writer.needed:
            return
        rows = await sql.cited(db, rids=sorted(writer.needed), size=size)
        for shown in await self._shown(db, rows, size, opened=False):
            writer.cited(shown)
        if writer.needed:
            raise NotPublished

    async def _opened(self, db: Reader, rids: Sequence[str]) -> dict[str, dict[str, tuple[bytes, Any]]]:
        """Salt and value of the personal fields that still can be opened, by record and name."""
        sealed = await sql.sealed(db, rids=rids)
        fields: dict[str, dict[str, tuple[bytes, Any]]] = {}
        for row in sealed:
            tag = self._keys.tag(row["key_type"], row["key_id"])
            try:
                key = self._keys.keyring.unwrap(row["wrapped"], purpose=FIELD_PURPOSE, tag=tag)
                opening = open_sealed(key, record_id=row["record_id"], name=row["name"], sealed=row["sealed"])
            except SealError:
                continue
            fields.setdefault(row["record_id"], {})[row["name"]] = opening
        return fields


async def _map_line(db: Reader, writer: BundleWriter, held: stored.StoredMap, tag: bytes, size: int) -> None:
    await held.catch_up(db, size)
    bucket = bucket_of(tag, held.bits)
    entry = await stored.sql.entries(db, start=size - 1, end=size)
    _refuse_missing("log_entry", [size - 1], entry)
    rows = await stored.sql.buckets(db, numbers=[bucket])
    members = stored.members_of(rows[0]["members"]) if rows else {}
    writer.map(size - 1, entry[0]["entry"], members.items(), held.path(bucket))


async def _places(db: Reader, tree: _Tree, start: int, end: int) -> Sequence[int]:
    """Where records number start to end - 1 of a subject stand in the log. Raises Damaged."""
    first, full = start // PLACES, tree.n // PLACES
    rows = await sql.places(db, tag=tree.tag, first=first, last=min(full, -(-end // PLACES)))
    held = b"".join(row["places"] for row in rows) + (tree.tail if end > full * PLACES else b"")
    places = struct.unpack(f">{len(held) // PLACE_BYTES}Q", held[: len(held) // PLACE_BYTES * PLACE_BYTES])
    wanted = places[start - first * PLACES : end - first * PLACES]
    if len(wanted) != end - start or max(wanted, default=0) > LARGEST_SIZE:
        raise Damaged(f"subject_leaf, the places of records {start} to {end - 1} of the subject")
    return wanted


def _refuse_missing(what: str, places: Sequence[int], rows: Sequence[Any]) -> None:
    """Raise Damaged where rows at some places are not there."""
    if len(rows) != len(places):
        missing = set(places) - {row["idx"] for row in rows}
        raise Damaged(f"{what} {min(missing, default=places[0])}")


async def _batches(db: Reader, tree: _Tree, a: int, b: int) -> AsyncIterator[Sequence[Any]]:
    """Rows of records a to b - 1 of a subject, some at a time. Raises Damaged where one is missing."""
    known: Sequence[int] = ()
    for start in range(a, b, _AT_ONCE):
        if not known:
            known = await _places(db, tree, start, min(b, start + _LEAVES_AT_ONCE))
        places, known = known[:_AT_ONCE], known[_AT_ONCE:]
        rows = await sql.records(db, places=places)
        _refuse_missing("log_entry", places, rows)
        for row in rows:
            if row["rid"] is None:
                raise Damaged(f"record of log_entry {row['idx']}")
        yield rows


async def _sides(db: Reader, tree: _Tree, start: int, end: int) -> list[bytes]:
    """The roots of the blocks of a subject's tree from one record to before another, read leaf by leaf."""
    ends = {at + (1 << level) for at, level in blocks(start, end)}
    found: list[bytes] = []
    block = Frontier()
    for first in range(start, end, _LEAVES_AT_ONCE):
        places = await _places(db, tree, first, min(end, first + _LEAVES_AT_ONCE))
        rows = await sql.leaves(db, places=places)
        _refuse_missing("log_entry", places, rows)
        for number, row in enumerate(rows, first + 1):
            block.append(leaf(row["entry"]))
            if number in ends:
                found.append(block.root())
                block = Frontier()
        await asyncio.sleep(0)
    return found


async def inclusion(db: Reader, record_id: str, asked: int | None = None) -> dict[str, Any] | None:
    """The proof that the signed log of `asked` entries (the newest if None) holds a record: its entry and the path.

    None where that tree does not hold it. Raises NotPublished if no tree of this size was signed, Damaged. `db`: a snapshot.
    """
    newest = await stored.sql.newest_checkpoint(db)
    if newest is None:
        raise NotPublished
    size: int = newest["size"] if asked is None else asked
    signed = newest if asked is None else await stored.sql.checkpoint_of(db, size=size)
    if signed is None:
        raise NotPublished
    row = await sql.logged(db, rid=record_id)
    if row is None or row["idx"] >= size:
        return None
    index: int = row["idx"]
    with undamaged("log_entry or log_tile"):
        hashes = await stored.proof(db, lambda hash_of: prove_inclusion(index, size, hash_of))
    return {
        "entry": to_base64(row["entry"]),
        "hashes": [to_base64(one) for one in hashes],
        "index": index,
        "kind": "inclusion",
        "note": signed["note"],
    }
