"""What a bundle shows, kept small: entries by index, and the subject's tree as far as it is known.

Memory: for every entry shown its index, time and leaf hash.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from heapq import merge
from typing import Any, TypeVar

from service.trail.entry import (
    LONGEST_ENTRY,
    ConfigEntry,
    Entry,
    EntryError,
    MapEntry,
    RecordEntry,
    decode,
)
from service.trail.merkle import HASH_BYTES, Frontier, ProofError, close_range, leaf, open_range
from service.trail.note import from_base64
from service.trail.verify.verdict import Fault

AnEntry = TypeVar("AnEntry", RecordEntry, MapEntry, ConfigEntry)


def read_hashes(texts: list[Any], code: str, line: int) -> list[bytes]:
    """The hashes of a line. Raises a fault of this code unless all are base64 of 32 bytes."""
    try:
        return [from_base64(text, HASH_BYTES) for text in texts]
    except (ValueError, AttributeError, TypeError):
        raise Fault(code, line=line) from None


class Shown:
    """The entries of one kind of line, by increasing index. Iterating gives (index, time_us, leaf hash)."""

    def __init__(self) -> None:
        self.indices = array("Q")
        self.times = array("Q")
        self._leaves = bytearray()

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        for at, (index, time) in enumerate(zip(self.indices, self.times, strict=True)):
            yield index, time, bytes(self._leaves[at * HASH_BYTES : (at + 1) * HASH_BYTES])

    def add(self, entry: Entry, digest: bytes) -> None:
        """Keep an entry and its leaf hash."""
        self.indices.append(entry.index)
        self.times.append(entry.time_us)
        self._leaves += digest

    def holds(self, index: int) -> bool:
        """Whether the entry of this index is among them."""
        at = bisect_left(self.indices, index)
        return at < len(self.indices) and self.indices[at] == index


class Entries:
    """All entries shown, by kind of line. Step 5."""

    def __init__(self, size: int) -> None:
        """`size` is that of the checkpoint."""
        self._size = size
        self.configs, self.maps, self.records, self.cited = self._kinds = (Shown(), Shown(), Shown(), Shown())

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        return merge(*self._kinds)

    def take(
        self, line: dict[str, Any], number: int, kind: type[AnEntry], shown: Shown
    ) -> tuple[AnEntry, bytes]:
        """The entry of a line and its leaf hash, checked and kept among `shown`.

        Raises E_LIMIT, E_ENTRY, E_INDEX, E_DUP_INDEX, E_ORDER.
        """
        index = line["index"]
        # Base64 takes four characters for three bytes; longer texts are not decoded at all.
        if len(line["entry"]) > LONGEST_ENTRY * 4 // 3 + 4:
            raise Fault("E_LIMIT", index=index, line=number)
        try:
            data = from_base64(line["entry"])
            if len(data) > LONGEST_ENTRY:
                raise Fault("E_LIMIT", index=index, line=number)
            entry = decode(data)
        except (EntryError, ValueError):
            raise Fault("E_ENTRY", index=index, line=number) from None
        if not isinstance(entry, kind):
            raise Fault("E_ENTRY", index=index, line=number)
        if entry.index != index or index >= self._size:
            raise Fault("E_INDEX", index=index, line=number)
        for other in self._kinds:
            # Mostly it lies above all of its kind, and there is nothing to search.
            if other.indices and index <= other.indices[-1] and other.holds(index):
                raise Fault("E_DUP_INDEX", index=index, line=number)
        if shown.indices and index < shown.indices[-1]:
            raise Fault("E_ORDER", index=index, line=number)
        digest = leaf(data)
        shown.add(entry, digest)
        return entry, digest


class History:
    """The subject's tree up to the records shown, compared with what the reader saw of it before. Step 12."""

    def __init__(self, seen: tuple[int, bytes] | None) -> None:
        """`seen` is the number of records and the root in the reader's state, if it knows the subject."""
        self._seen = seen
        self._frontier = Frontier()
        self.compared: int | None = None

    @property
    def size(self) -> int:
        """Number of the next record."""
        return self._frontier.size

    def open(self, a: int, left: list[bytes]) -> None:
        """Begin with record a. Raises E_COMPLETE, E_FORK."""
        try:
            self._frontier = open_range(a, left)
        except ProofError:
            raise Fault("E_COMPLETE") from None
        self._compare()

    def append(self, digest: bytes) -> None:
        """Add the leaf of the next record. Raises E_FORK."""
        self._frontier.append(digest)
        self._compare()

    def _compare(self) -> None:
        if self._seen and self._seen[0] == self._frontier.size:
            if self._frontier.root() != self._seen[1]:
                raise Fault("E_FORK")
            self.compared = self._frontier.size

    def close(self, n: int, root: bytes, right: list[bytes]) -> None:
        """End with n records and this root; n = 0 for a subject not in the map.

        Raises E_COMPLETE, E_ROLLBACK, E_FORK.
        """
        if n:
            try:
                found = close_range(self._frontier, n, right)
            except ProofError:
                raise Fault("E_COMPLETE") from None
            if found != root:
                raise Fault("E_COMPLETE")
        if self._seen is None:
            return
        if n < self._seen[0]:
            raise Fault("E_ROLLBACK")
        if n == self._seen[0]:
            if root != self._seen[1]:
                raise Fault("E_FORK")
            self.compared = n
