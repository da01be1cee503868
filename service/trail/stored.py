"""The log as the database holds it, for reading: hashes of its tree, tiles, and the map, whose upper levels are in memory.

Hashes of full subtrees never change. Who needs the map as of one map entry reads inside one snapshot.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from service.db import Db, Reader, queries
from service.trail.entry import (
    MEMBER_BYTES,
    RecordEntry,
    bucket_leaf,
    bucket_of,
    decode,
    empty_map,
)
from service.trail.kept import Damaged
from service.trail.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Frontier,
    MapTree,
    Subtree,
    blocks,
    leaf,
    node,
    prove_consistency,
    root,
)

sql = queries(__file__)
_TILE_BITS = TILE_WIDTH.bit_length() - 1
_TILES_AT_ONCE = 256
_AT_ONCE = 20_000
"""Buckets are brought into the map so many at a time: between two of these the transaction speaks again."""
_READ_ALL = 200_000
"""So many entries behind, all buckets are read and not only those that changed."""

Place = tuple[int, int]


def batched(numbers: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """These numbers, so many at a time."""
    return (numbers[at : at + most] for at in range(0, len(numbers), most))


async def on_record(db: Db) -> bool:
    """Whether this database holds a log or a record: then its keys were made before."""
    async with db.read() as reader:
        return bool(await sql.on_record(reader))


def edge_of_log(state: Mapping[str, Any]) -> Frontier:
    """The right edge of the log tree, from the row of log_state. Raises Damaged where it is none."""
    try:
        return Frontier.parse(state["frontier"])
    except ValueError:
        raise Damaged("the row of log_state was changed: its edge is none of a tree") from None


def split(hashes: bytes) -> list[bytes]:
    """The 32-byte hashes that stand one after another."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


async def tile(db: Reader, level: int, number: int) -> list[bytes]:
    """The hashes of one tile, as many as there are: 256 once it is full. Empty where the log does not reach. Raises Damaged."""
    found = await sql.full_tiles(db, levels=[level], numbers=[number])
    if found:
        return split(found[0]["hashes"])
    start = number * TILE_WIDTH
    if level == 0:
        rows = await sql.entries(db, start=start, end=start + TILE_WIDTH)
        for place, row in enumerate(rows, start):
            if row["idx"] != place:
                raise Damaged(f"log_entry {place}")
        return [leaf(row["entry"]) for row in rows]
    rows = await sql.tile_roots(db, level=level - 1, start=start, end=start + TILE_WIDTH)
    return [row["root"] for row in rows]


async def log_hashes(db: Reader, subtrees: Iterable[Place]) -> list[bytes]:
    """The roots of these (start, count) subtrees of the log tree, which must lie within the log. Raises Damaged."""
    asked = [(start, list(blocks(start, start + count))) for start, count in subtrees]
    found: list[bytes] = []
    batch: list[list[tuple[int, int]]] = []
    wanted: set[Place] = set()
    for _, parts in asked:
        batch.append(parts)
        wanted.update(_tile_of(start, level) for start, level in parts)
        if len(wanted) >= _TILES_AT_ONCE:
            found += await _roots(db, batch, wanted)
            batch, wanted = [], set()
    return found + await _roots(db, batch, wanted)


async def log_root(db: Reader, size: int) -> bytes:
    """Root of the log tree when it had `size` entries."""
    return (await log_hashes(db, [(0, size)]))[0] if size else EMPTY_ROOT


async def consistency(db: Reader, old: int, size: int) -> list[bytes]:
    """The proof that the log of `size` entries extends that of `old`; 0 < old < size."""
    return await proof(db, lambda hash_of: prove_consistency(old, size, hash_of))


async def proof(db: Reader, prove: Callable[[Subtree], list[bytes]]) -> list[bytes]:
    """A proof over the log tree; which hashes it needs is asked first, then all are read at once."""
    places: list[Place] = []

    def note_down(start: int, count: int) -> bytes:
        places.append((start, count))
        return len(places).to_bytes(HASH_BYTES, "big")

    order = prove(note_down)
    hashes = await log_hashes(db, places)
    return [hashes[int.from_bytes(one, "big") - 1] for one in order]


def _tile_of(start: int, level: int) -> Place:
    """The tile that holds what a perfect subtree of 2^level leaves is made from."""
    floor = level // _TILE_BITS
    return floor, start >> (floor * _TILE_BITS) >> _TILE_BITS


async def _roots(db: Reader, asked: Sequence[Sequence[tuple[int, int]]], wanted: set[Place]) -> list[bytes]:
    """The roots of subtrees given as their perfect blocks, the tiles read in one go."""
    places = sorted(wanted)
    rows = await sql.full_tiles(db, levels=[one[0] for one in places], numbers=[one[1] for one in places])
    tiles = {(row["level"], row["n"]): split(row["hashes"]) for row in rows}
    for place in places:
        if place not in tiles:
            tiles[place] = await tile(db, *place)
    found: list[bytes] = []
    for parts in asked:
        whole = None
        for start, level in reversed(parts):
            floor, number = _tile_of(start, level)
            first = (start >> (floor * _TILE_BITS)) % TILE_WIDTH
            width = 1 << (level - floor * _TILE_BITS)
            hashes = tiles[floor, number][first : first + width]
            if len(hashes) != width:
                raise Damaged(f"log_tile {floor}/{number}")
            block = root(hashes)
            whole = block if whole is None else node(block, whole)
        found.append(EMPTY_ROOT if whole is None else whole)
    return found


class StoredMap:
    """The map as of the end of the log: buckets from the subjects' rows, the levels above in memory (64 MB for 2^20).

    Not for two tasks at once.
    """

    def __init__(self, bits: int) -> None:
        """Nothing is made or read before `build` or `catch_up`."""
        self.bits = bits
        self._tree: MapTree | None = None
        self._size = 0

    async def build(self) -> None:
        """Make the empty map if there is none, without the database, in a thread that nobody waits for at the end."""
        if self._tree is not None:
            return
        loop = asyncio.get_running_loop()
        made: asyncio.Future[MapTree] = loop.create_future()

        def hand_over(tree: MapTree) -> None:
            if not made.done():
                made.set_result(tree)

        def make() -> None:
            tree = MapTree(self.bits, empty_map(self.bits))
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(hand_over, tree)

        threading.Thread(target=make, daemon=True, name="map").start()
        tree = await made
        if self._tree is None:
            self._tree, self._size = tree, 0

    async def catch_up(self, db: Reader, size: int) -> None:
        """Bring it to the log of `size` entries, the one that `db` sees.

        `db` must be a snapshot, or nobody else may be sequencing. Call `build` before the transaction begins: while it takes
        its time the server would end a transaction that does nothing.
        """
        if self._tree is None or size < self._size:
            self.forget()
            await self.build()
        if size - self._size >= _READ_ALL:
            leaves: dict[int, bytes] = {}
            async for row in db.walk(sql.all["every_bucket"].sql):
                leaves[row["bucket"]] = bucket_leaf(row["bucket"], row["members"])
                if len(leaves) == _AT_ONCE:
                    await asyncio.to_thread(self._known.update, leaves)
                    leaves = {}
            await asyncio.to_thread(self._known.update, leaves)
        elif size > self._size:
            rows = await sql.entries(db, start=self._size, end=size)
            changed = {bucket_of(tag, self.bits) for tag in tags_of(row["entry"] for row in rows)}
            for numbers in batched(sorted(changed), _AT_ONCE):
                rows = await sql.buckets(db, numbers=numbers)
                leaves = {row["bucket"]: bucket_leaf(row["bucket"], row["members"]) for row in rows}
                await asyncio.to_thread(self._known.update, leaves)
        self._size = size

    def path(self, bucket: int) -> list[bytes]:
        """The sibling hashes of a bucket, upwards."""
        return self._known.path(bucket)

    def update(self, members: dict[int, bytes]) -> bytes:
        """Replace the members of some buckets and return the map root. Until `settle`, a failure must `forget`."""
        self._known.update({bucket: bucket_leaf(bucket, held) for bucket, held in members.items()})
        return self._known.root()

    def settle(self, size: int) -> None:
        """What was updated is committed; the log has `size` entries now."""
        self._size = size

    def forget(self) -> None:
        """What was updated never came to be: read everything anew."""
        self._tree, self._size = None, 0

    @property
    def _known(self) -> MapTree:
        if self._tree is None:
            raise RuntimeError("the map was not read yet")
        return self._tree


def tags_of(entries: Iterable[bytes]) -> set[bytes]:
    """The tags of all subjects of these entries."""
    found: set[bytes] = set()
    for data in entries:
        entry = decode(data)
        if isinstance(entry, RecordEntry):
            found.update(entry.tags)
    return found


def members_of(held: bytes) -> dict[bytes, bytes]:
    """The members of a bucket, value by tag."""
    return {
        held[at : at + HASH_BYTES]: held[at + HASH_BYTES : at + MEMBER_BYTES]
        for at in range(0, len(held), MEMBER_BYTES)
    }
