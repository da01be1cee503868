"""Subjects and tiles as rows: read and written in a turn of the sequencer, by nobody else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from service.db import Tx, queries
from service.trail import stored
from service.trail.entry import bucket_of
from service.trail.growth import Edge, tiles
from service.trail.merkle import TILE_WIDTH

sql = queries(__file__)


async def read(
    tx: Tx, tagged: Iterable[bytes], bits: int
) -> tuple[list[tuple[int, bytes, bytes]], dict[bytes, Edge]]:
    """The subjects of these records, known and new, by tag; and first those who share their buckets, as `members_of` takes them.

    `tagged`: the tags of each record, one after another. Raises Damaged.
    """
    wanted = {tag: bucket_of(tag, bits) for tags in tagged for tag in stored.split(tags)}
    others: list[tuple[int, bytes, bytes]] = []
    edges: dict[bytes, Edge] = {}
    for bucket, tag, held, place in await sql.edges(tx, buckets=list(set(wanted.values()))):
        if tag in wanted:
            edges[tag] = Edge(bucket, tag, place, held)
        else:
            others.append((bucket, tag, held))
    for tag, bucket in wanted.items():
        if tag not in edges:
            edges[tag] = Edge(bucket, tag)
    return others, edges


async def keep(tx: Tx, edges: Collection[Edge]) -> bool:
    """Write these subjects back; False where one of them was moved by another sequencer since it was read."""
    fresh = [(edge.bucket, edge.tag, edge.held) for edge in edges if edge.row is None]
    if fresh:
        await tx.copy("subject", ("bucket", "tag", "edge"), fresh)
    moved = [edge for edge in edges if edge.row is not None]
    if not moved:
        return True
    rows, held = [edge.row for edge in moved], [edge.held for edge in moved]
    done: str = await sql.keep_edges(tx, rows=rows, edges=held)
    return done == f"UPDATE {len(moved)}"


async def keep_tiles(tx: Tx, made: Sequence[tuple[int, list[bytes]]]) -> None:
    """Store the tiles that have become full with these new nodes (see `growth.grow`), on every level. Raises Damaged."""
    bits = TILE_WIDTH.bit_length() - 1
    full = [level for level in range(bits, len(made), bits) if made[level][1]]
    begun = {level // bits - 1: await _begun(tx, level // bits - 1, made[level - bits][0]) for level in full}
    if begun:
        await tx.copy("log_tile", ("level", "n", "root", "hashes"), tiles(made, begun, bits))


async def _begun(tx: Tx, level: int, first: int) -> list[bytes]:
    """The hashes of the tile of which number `first` is the next."""
    number, inside = divmod(first, TILE_WIDTH)
    return (await stored.tile(tx, level, number))[:inside] if inside else []
