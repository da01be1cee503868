"""What the sequencer computes: entries, subject trees and frontiers of one batch. Pure; the sequencer reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from service.trail.entry import bucket_of, encode_record, subject_value
from service.trail.merkle import HASH_BYTES, Frontier, leaf


class Pending(NamedTuple):
    """A record waiting for its entry; `tags` are those of its subjects, 32 bytes each, sorted."""

    id: int
    record_hash: bytes
    tags: bytes


@dataclass(slots=True)
class Edge:
    """A subject: its number in the order in which subjects came into the log, and the right edge of its tree."""

    number: int
    frontier: Frontier
    is_new: bool = False


@dataclass(slots=True)
class Growth:
    """The log while entries are appended to it. `entries` and `subject_leaves` are rows of their tables."""

    frontier: Frontier
    time_us: int
    subjects: int
    entries: list[tuple[int, int | None, bytes]] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    subject_leaves: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Entries so far."""
        return self.frontier.size

    def append(self, entry: bytes, record_id: int | None = None) -> bytes:
        """Append one entry, whose index must be `size`; return its leaf hash."""
        digest = leaf(entry)
        self.entries.append((self.size, record_id, entry))
        self.leaves.append(digest)
        self.frontier.append(digest)
        return digest

    def append_records(self, records: Iterable[Pending], edges: dict[bytes, Edge]) -> None:
        """Append records in order; `edges` are the subjects known so far, and gains those that are new."""
        for record in records:
            index = self.size
            tagged: list[tuple[bytes, Edge]] = []
            for at in range(0, len(record.tags), HASH_BYTES):
                tag = record.tags[at : at + HASH_BYTES]
                edge = edges.get(tag)
                if edge is None:
                    edge = edges[tag] = Edge(self.subjects, Frontier(), is_new=True)
                    self.subjects += 1
                tagged.append((tag, edge))
            numbered = [(tag, edge.frontier.size) for tag, edge in tagged]
            entry = encode_record(index, self.time_us, record.record_hash, numbered)
            digest = self.append(entry, record.id)
            for _, edge in tagged:
                self.subject_leaves.append((edge.number, edge.frontier.size, index))
                edge.frontier.append(digest)


def placed(frontiers: Mapping[bytes, Frontier], bits: int) -> dict[int, dict[bytes, bytes]]:
    """What the map holds for subjects: value by tag, by bucket."""
    found: dict[int, dict[bytes, bytes]] = {}
    for tag, frontier in frontiers.items():
        value = subject_value(tag, frontier.size, frontier.root())
        found.setdefault(bucket_of(tag, bits), {})[tag] = value
    return found
