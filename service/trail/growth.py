"""What the sequencer computes: entries, subject trees, map and frontiers of one turn. Pure; the sequencer reads and writes.

A subject's tree is worked on as the bytes that are stored: for the one or two records that most subjects have in a turn,
reading them into objects and writing them out again would cost more than the hashing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from service.trail.entry import encode_map, encode_record, subject_value
from service.trail.kept import Damaged
from service.trail.merkle import HASH_BYTES, SIZE_BYTES, Frontier, leaf

PLACES: Final = 32
"""So many places of a subject's records stand in one row of `subject_leaf`."""
PLACE_BYTES: Final = 8
_CHUNK_BYTES: Final = PLACES * PLACE_BYTES
_HASHES_AT: Final = HASH_BYTES + SIZE_BYTES
_NEW: Final = bytes(_HASHES_AT)


class Pending(NamedTuple):
    """A record waiting for its entry; `tags` are those of its subjects, 32 bytes each, sorted."""

    id: int
    record_hash: bytes
    tags: bytes


class Edge:
    """A subject as the bytes that its row holds, while records are appended to it.

    `size`: its records so far. `row`: where its row stands in the table, None for a new subject. `fresh`: the places of its
    records of this turn.
    """

    __slots__ = ("bucket", "fresh", "held", "row", "size", "tag")

    def __init__(
        self, bucket: int, tag: bytes, row: tuple[int, int] | None = None, held: bytes = _NEW
    ) -> None:
        """`held`: see `subject.edge`. Raises Damaged for bytes that are none: only somebody else can have written them."""
        self.bucket = bucket
        self.tag = tag
        self.row = row
        self.held = held
        self.fresh: list[int] = []
        size = self.size = int.from_bytes(held[HASH_BYTES:_HASHES_AT], "big")
        if len(held) != _HASHES_AT + HASH_BYTES * size.bit_count() + size % PLACES * PLACE_BYTES:
            raise Damaged(f"the row of subject {tag.hex()} was changed: its edge is none of a tree")

    def settle(self, leaves: Sequence[bytes], first: int) -> list[tuple[bytes, int, bytes]]:
        """Bring the records of this turn into its tree and value; return the rows of `subject_leaf` that became full.

        `leaves`: leaf hashes of the entries from place `first` on.
        """
        size = self.size - len(self.fresh)
        chunk, end = size // PLACES, _HASHES_AT + HASH_BYTES * size.bit_count()
        hashes, tail = self.held[_HASHES_AT:end], self.held[end:]
        for index in self.fresh:
            digest, end, position = leaves[index - first], len(hashes), size
            while position & 1:
                digest = sha256(b"\x01" + hashes[end - HASH_BYTES : end] + digest).digest()
                end -= HASH_BYTES
                position >>= 1
            hashes = hashes[:end] + digest
            size += 1
        tail += b"".join([index.to_bytes(PLACE_BYTES, "big") for index in self.fresh])
        root = hashes[-HASH_BYTES:]
        for end in range(len(hashes) - HASH_BYTES, 0, -HASH_BYTES):
            root = sha256(b"\x01" + hashes[end - HASH_BYTES : end] + root).digest()
        full = len(tail) - len(tail) % _CHUNK_BYTES
        value = subject_value(self.tag, size, root)
        self.held = value + size.to_bytes(SIZE_BYTES, "big") + hashes + tail[full:]
        if not full:
            return []
        return [
            (self.tag, chunk + number, tail[at : at + _CHUNK_BYTES])
            for number, at in enumerate(range(0, full, _CHUNK_BYTES))
        ]


def tree_of(tag: bytes, held: bytes) -> tuple[int, bytes, bytes]:
    """How many records a subject has, their root, and the places of the newest, by its `subject.edge`. Raises Damaged."""
    size = Edge(0, tag, None, held).size
    end = _HASHES_AT + HASH_BYTES * size.bit_count()
    hashes = [held[at : at + HASH_BYTES] for at in range(_HASHES_AT, end, HASH_BYTES)]
    root = Frontier(size, hashes).root()
    if not size or subject_value(tag, size, root) != held[:HASH_BYTES]:
        raise Damaged(f"the row of subject {tag.hex()} was changed: its value is not that of its tree")
    return size, root, held[end:]


class Growth:
    """The log while entries are appended to it. `entries` and `chunks` are rows of `log_entry` and `subject_leaf`."""

    def __init__(self, frontier: Frontier, time_us: int, subjects: int) -> None:
        """`frontier`: right edge of the log tree; it grows only with `close`."""
        self.frontier = frontier
        self.time_us = time_us
        self.subjects = subjects
        self.size = frontier.size
        self.entries: list[tuple[int, int | None, bytes]] = []
        self.chunks: list[tuple[bytes, int, bytes]] = []
        self._leaves: list[bytes] = []

    def append(self, entry: bytes, record_id: int | None = None) -> None:
        """Append one entry, whose index must be `size`."""
        self.entries.append((self.size, record_id, entry))
        self._leaves.append(leaf(entry))
        self.size += 1

    def append_records(self, records: Iterable[Pending], edges: Mapping[bytes, Edge]) -> None:
        """Append records in order; `edges` are all their subjects."""
        for number, record_hash, tags in records:
            index = self.size
            numbered: list[tuple[bytes, int]] = []
            for at in range(0, len(tags), HASH_BYTES):
                edge = edges[tags[at : at + HASH_BYTES]]
                numbered.append((edge.tag, edge.size))
                edge.size += 1
                edge.fresh.append(index)
            self.append(encode_record(index, self.time_us, record_hash, numbered), number)

    def settle(self, edges: Iterable[Edge]) -> None:
        """Bring the records appended into the trees of their subjects."""
        leaves, first = self._leaves, self.frontier.size
        for edge in edges:
            self.chunks += edge.settle(leaves, first)
            self.subjects += edge.row is None

    def append_map(self, map_root: bytes) -> None:
        """Append the map entry: what the subjects are after all that was appended before."""
        self.append(encode_map(self.size, self.time_us, self.subjects, map_root))

    def grow(self) -> list[tuple[int, list[bytes]]]:
        """Let the log tree grow by all that was appended; return its new nodes, see `grow`."""
        return grow(self.frontier, self._leaves)


def members_of(subjects: Iterable[tuple[int, bytes, bytes]]) -> dict[int, bytes]:
    """Buckets of the map by number, as they are hashed, from all their subjects: bucket, tag and `subject.edge`."""
    found: dict[int, list[bytes]] = {}
    for bucket, tag, held in subjects:
        found.setdefault(bucket, []).append(tag + held[:HASH_BYTES])
    return {bucket: b"".join(sorted(members)) for bucket, members in found.items()}


def grow(frontier: Frontier, leaves: Sequence[bytes]) -> list[tuple[int, list[bytes]]]:
    """Append leaf hashes to a tree, level by level; return for each level the number of its first new node, and the new ones."""
    made: list[tuple[int, list[bytes]]] = []
    held = frontier.hashes[::-1]
    left: list[bytes] = []
    size, level, nodes = frontier.size, 0, list(leaves)
    while nodes or size >> level:
        made.append((size >> level, nodes))
        row = [held.pop(0), *nodes] if size >> level & 1 else nodes
        if len(row) & 1:
            left.append(row[-1])
        nodes = [sha256(b"\x01" + one + two).digest() for one, two in zip(row[::2], row[1::2], strict=False)]
        level += 1
    frontier.hashes = left[::-1]
    frontier.size = size + len(leaves)
    return made


def tiles(
    made: Sequence[tuple[int, list[bytes]]], begun: Mapping[int, Sequence[bytes]], bits: int
) -> list[tuple[int, int, bytes, bytes]]:
    """The rows of `log_tile` for tiles of 2^bits hashes that have become full with the nodes that `grow` made.

    `begun`: for each level of tiles, the hashes that stood in its last one before.
    """
    width = 1 << bits
    found: list[tuple[int, int, bytes, bytes]] = []
    for level in range(bits, len(made), bits):
        first, roots = made[level]
        if not roots:
            break
        nodes = made[level - bits][1]
        hashes = [*begun[level // bits - 1], *nodes]
        found += [
            (level // bits - 1, first + number, root, b"".join(hashes[number * width : (number + 1) * width]))
            for number, root in enumerate(roots)
        ]
    return found
