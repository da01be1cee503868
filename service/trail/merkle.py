"""Merkle trees of the trail: hashes, frontiers, proofs, the map, tiles (trail-format section 6, RFC 6962).

Pure functions over 32-byte SHA-256 digests. A subtree is named by (start, count): the leaves start to start
+ count - 1 of an RFC 6962 tree. Whoever keeps a tree hands in a function that answers with the root of such
a subtree; nothing here reads or stores anything but the two trees in memory at the end of the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
SIZE_BYTES: Final = 8
EMPTY_ROOT: Final = sha256(b"").digest()
TILE_WIDTH: Final = 256
_BYTES_AT_ONCE = 2**18

Subtree = Callable[[int, int], bytes]
"""Answers (start, count) with the root of that subtree."""


class ProofError(ValueError):
    """A proof does not lead where it claims, or its length does not follow from the sizes it speaks of."""


def leaf(data: bytes) -> bytes:
    """Hash of one leaf: SHA-256(0x00 || data)."""
    return sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def split(count: int) -> int:
    """Where a tree of `count` > 1 leaves splits: the largest power of two smaller than `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The perfect subtrees that make up [start, end), left to right, as (start, level) of 2^level leaves.

    At each position the largest power of two that divides it (any for 0) and still fits. Section 6.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield start, level
        start += 1 << level


class Frontier:
    """The right edge of a growing tree: all that is needed to append to it and to know its root.

    `hashes` are the roots of the perfect subtrees of `size` leaves, the largest first; `size` says their
    levels.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if size < 0 or len(self.hashes) != size.bit_count() or any(len(h) != HASH_BYTES for h in self.hashes):
            raise ValueError("the hashes of a frontier must be as its size demands")

    def append(self, digest: bytes, level: int = 0) -> None:
        """Add a leaf hash, or the root of the next perfect subtree of 2^level leaves.

        The size must be a multiple of 2^level: a block enters only where it is aligned.
        """
        hashes = self.hashes
        position = self.size >> level
        while position & 1:
            digest = sha256(b"\x01" + hashes.pop() + digest).digest()
            position >>= 1
        hashes.append(digest)
        self.size += 1 << level

    def root(self, tail: bytes | None = None) -> bytes:
        """Root of the tree so far; with `tail`, of the tree whose remaining leaves have that root."""
        hashes = self.hashes
        if tail is None:
            if not hashes:
                return EMPTY_ROOT
            hashes, tail = hashes[:-1], hashes[-1]
        for digest in reversed(hashes):
            tail = sha256(b"\x01" + digest + tail).digest()
        return tail

    def serialise(self) -> bytes:
        """u64 size, then the hashes: the bytes `parse` reads."""
        return self.size.to_bytes(SIZE_BYTES, "big") + b"".join(self.hashes)

    @classmethod
    def parse(cls, data: bytes) -> "Frontier":
        """The frontier whose bytes these are. Raises ValueError if they are none."""
        hashes = (data[at : at + HASH_BYTES] for at in range(SIZE_BYTES, len(data), HASH_BYTES))
        if len(data) < SIZE_BYTES:
            raise ValueError("not the bytes of a frontier")
        return cls(int.from_bytes(data[:SIZE_BYTES], "big"), hashes)


def root(leaves: Iterable[bytes]) -> bytes:
    """Root of the tree over these leaf hashes."""
    frontier = Frontier()
    for digest in leaves:
        frontier.append(digest)
    return frontier.root()


def subtree_root(start: int, count: int, perfect: Callable[[int, int], bytes]) -> bytes:
    """Root of a subtree from stored perfect nodes; `perfect(level, number)` gives node `number` of that
    level.

    `start` must be where the RFC 6962 tree has a subtree of that many leaves.
    """
    found = None
    for at, level in reversed(list(blocks(start, start + count))):
        digest = perfect(level, at >> level)
        found = digest if found is None else node(digest, found)
    return EMPTY_ROOT if found is None else found


# Inclusion and consistency, RFC 6962 section 2.1.1 and 2.1.2; checking as in RFC 9162 section 2.1.3 and
# 2.1.4.


def prove_inclusion(index: int, size: int, hash_of: Subtree) -> list[bytes]:
    """The sibling hashes from leaf `index` up to the root of the tree of `size` leaves."""
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    path: list[bytes] = []
    start = 0
    while size > 1:
        k = split(size)
        if index < start + k:
            path.append(hash_of(start + k, size - k))
            size = k
        else:
            path.append(hash_of(start, k))
            start, size = start + k, size - k
    path.reverse()
    return path


def root_of_inclusion(index: int, size: int, digest: bytes, path: Sequence[bytes]) -> bytes:
    """The root to which `path` leads from the leaf hash `digest`. Raises ProofError on a wrong length."""
    if not 0 <= index < size:
        raise ProofError("the leaf is not in the tree")
    last = size - 1
    for sibling in path:
        if not last:
            raise ProofError("the inclusion proof is too long")
        if index & 1 or index == last:
            digest = node(sibling, digest)
            while index and not index & 1:
                index >>= 1
                last >>= 1
        else:
            digest = node(digest, sibling)
        index >>= 1
        last >>= 1
    if last:
        raise ProofError("the inclusion proof is too short")
    return digest


def prove_consistency(old: int, new: int, hash_of: Subtree) -> list[bytes]:
    """The hashes that show the tree of `new` leaves to extend the tree of `old` leaves; 0 < old < new."""
    if not 0 < old < new:
        raise ValueError("a consistency proof needs 0 < old < new")
    proof: list[bytes] = []
    start, count, whole = 0, new, True
    while old != count:
        k = split(count)
        if old <= k:
            proof.append(hash_of(start + k, count - k))
            count = k
        else:
            proof.append(hash_of(start, k))
            start, count, old, whole = start + k, count - k, old - k, False
    if not whole:
        proof.append(hash_of(start, count))
    proof.reverse()
    return proof


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise ProofError unless the tree of `new` leaves extends the tree of `old` leaves; 0 < old < new."""
    if not 0 < old < new:
        raise ProofError("a consistency proof needs 0 < old < new")
    hashes = list(proof)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise ProofError("the consistency proof is empty")
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    was = now = hashes[0]
    for digest in hashes[1:]:
        if not last:
            raise ProofError("the consistency proof is too long")
        if position & 1 or position == last:
            was, now = node(digest, was), node(digest, now)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            now = node(now, digest)
        position >>= 1
        last >>= 1
    if last:
        raise ProofError("the consistency proof is too short")
    if was != old_root or now != new_root:
        raise ProofError("the tree is no extension of the earlier one")


# Range proof, section 6: leaves a to b-1 of a tree of n leaves.


def prove_range(a: int, b: int, n: int, hash_of: Subtree) -> tuple[list[bytes], list[bytes]]:
    """The block roots left of a and right of b."""
    if not 0 <= a <= b <= n:
        raise ValueError("a range proof needs 0 <= a <= b <= n")
    left = [hash_of(at, 1 << level) for at, level in blocks(0, a)]
    right = [hash_of(at, 1 << level) for at, level in blocks(b, n)]
    return left, right


def open_range(a: int, left: Sequence[bytes]) -> Frontier:
    """The frontier of the a leaves before a range. Raises ProofError if `left` has the wrong length."""
    if len(left) != a.bit_count():
        raise ProofError("the left side of the range proof has the wrong length")
    return Frontier(a, left)


def close_range(frontier: Frontier, n: int, right: Sequence[bytes]) -> bytes:
    """Root of the tree of n leaves from the frontier up to the end of the range and the blocks after it.

    Raises ProofError if `right` has the wrong length.
    """
    rest = list(blocks(frontier.size, n))
    if len(right) != len(rest):
        raise ProofError("the right side of the range proof has the wrong length")
    whole = Frontier(frontier.size, frontier.hashes)
    for (_, level), digest in zip(rest, right, strict=True):
        whole.append(digest, level)
    return whole.root()


# Multi-proof, section 9: one list of hashes for all leaves shown.


def gaps(indices: Iterable[int], size: int) -> Iterator[tuple[int, int, bool]]:
    """The subtrees without a shown leaf, left to right: (start, count, False); the shown leaves: (index, 1,
    True).

    The same subtrees, in the same order, as the recursion of section 9 over [0, size), without recursing:
    between two shown leaves they are the perfect blocks of the gap; only the last one may be cut off by the
    end of the tree. `indices` must be strictly increasing and below size, else ProofError.
    """
    at = 0
    for index in indices:
        if not at <= index < size:
            raise ProofError("the leaves shown must be increasing and in the tree")
        for start, level in blocks(at, index):
            yield start, 1 << level, False
        yield index, 1, True
        at = index + 1
    while at < size:
        count = min(at & -at, size - at) if at else size
        yield at, count, False
        at += count


def prove_leaves(indices: Iterable[int], size: int, hash_of: Subtree) -> Iterator[bytes]:
    """The hashes of the multi-proof for the leaves at `indices`, which must be increasing and in the tree."""
    return (hash_of(start, count) for start, count, shown in gaps(indices, size) if not shown)


def root_of_leaves(leaves: Iterable[tuple[int, bytes]], size: int, hashes: Iterator[bytes]) -> bytes:
    """Root of the tree of `size` leaves from the shown (index, leaf hash) and the multi-proof.

    Takes from `hashes` exactly what it needs and makes sure that nothing is left. Raises ProofError for a
    list too short or too long and for leaves that are not increasing. Time grows with shown leaves times
    log(size).
    """
    frontier = Frontier()
    shown: list[bytes] = []

    def indices() -> Iterator[int]:
        for index, digest in leaves:
            shown.append(digest)
            yield index

    tail = None
    for _, count, is_shown in gaps(indices(), size):
        digest = shown.pop() if is_shown else next(hashes, None)
        if digest is None:
            raise ProofError("the multi-proof is too short")
        if count & (count - 1) == 0:
            frontier.append(digest, count.bit_length() - 1)
        else:
            tail = digest
    if next(hashes, None) is not None:
        raise ProofError("the multi-proof is too long")
    return frontier.root(tail)


# Tiles of stored hashes, C2SP tlog-tiles.


def tile_index_path(number: int) -> str:
    """The path of a tile number: groups of three digits, all but the last marked with an x."""
    path = f"{number % 1000:03d}"
    while number := number // 1000:
        path = f"x{number % 1000:03d}/{path}"
    return path


def tile_path(level: int, number: int, width: int = TILE_WIDTH) -> str:
    """The path of one tile; a partial one, of less than 256 hashes, carries its width."""
    path = f"tile/{level}/{tile_index_path(number)}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def tile_widths(level: int, size: int) -> tuple[int, int]:
    """How many full tiles a level has in a tree of `size` leaves, and the width of the partial one after
    them.
    """
    return divmod(size // TILE_WIDTH**level, TILE_WIDTH)


# Trees in memory.


class Tree:
    """A whole tree of leaf hashes in memory, 64 bytes a leaf; for tests, subject trees and small logs."""

    __slots__ = ("_levels",)

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels = [bytearray()]
        for digest in leaves:
            self.append(digest)

    def __len__(self) -> int:
        return len(self._levels[0]) // HASH_BYTES

    def append(self, digest: bytes) -> None:
        """Add one leaf hash."""
        levels = self._levels
        for level in range(len(levels) + 1):
            if level == len(levels):
                levels.append(bytearray())
            levels[level] += digest
            if len(levels[level]) % (2 * HASH_BYTES):
                return
            digest = node(bytes(levels[level][-64:-32]), bytes(levels[level][-32:]))

    def perfect(self, level: int, number: int) -> bytes:
        """Root of the perfect subtree `number` of a level."""
        at = number * HASH_BYTES
        return bytes(self._levels[level][at : at + HASH_BYTES])

    def hash_of(self, start: int, count: int) -> bytes:
        """Root of the subtree (start, count)."""
        return subtree_root(start, count, self.perfect)

    def root(self, size: int | None = None) -> bytes:
        """Root over the first `size` leaves, or all."""
        return self.hash_of(0, len(self) if size is None else size)


class MapTree:
    """The perfect tree over 2^bits bucket leaves, in memory: 64 bytes a bucket, 64 MB for 2^20. Section 6."""

    __slots__ = ("_levels", "bits")

    def __init__(self, bits: int, leaves: bytes | bytearray) -> None:
        """`leaves` are the leaf hashes of all buckets, one after another. Raises ValueError on a wrong
        length.
        """
        if len(leaves) != HASH_BYTES << bits:
            raise ValueError("a map tree needs one leaf hash per bucket")
        self.bits = bits
        self._levels = [bytearray(leaves)]
        for _ in range(bits):
            below = self._levels[-1]
            level = bytearray()
            for start in range(0, len(below), _BYTES_AT_ONCE):
                pairs = range(start, min(start + _BYTES_AT_ONCE, len(below)), 2 * HASH_BYTES)
                level += b"".join([sha256(b"\x01" + below[at : at + 64]).digest() for at in pairs])
            self._levels.append(level)

    def update(self, buckets: Mapping[int, bytes]) -> None:
        """Replace the leaf hashes of some buckets. Time grows with their number times bits, at most."""
        lowest = self._levels[0]
        for bucket, digest in buckets.items():
            lowest[bucket * 32 : bucket * 32 + 32] = digest
        touched: Iterable[int] = buckets
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            touched = {number >> 1 for number in touched}
            for number in touched:
                at = number * HASH_BYTES
                level[at : at + 32] = sha256(b"\x01" + below[2 * at : 2 * at + 64]).digest()

    def root(self) -> bytes:
        """The map root."""
        return bytes(self._levels[-1])

    def path(self, bucket: int) -> list[bytes]:
        """The sibling hashes of a bucket, from the bucket upwards."""
        siblings: list[bytes] = []
        for level in self._levels[:-1]:
            at = (bucket ^ 1) * HASH_BYTES
            siblings.append(bytes(level[at : at + HASH_BYTES]))
            bucket >>= 1
        return siblings

    def leaves(self) -> bytes:
        """The leaf hashes of all buckets: what a later start is made from."""
        return bytes(self._levels[0])
