"""Writing evidence bundles (trail-format section 9), a line at a time.

`BundleWriter` is told line by line what to write, so that an exporter may fetch as it likes, awaiting its
database between two lines. `write_bundle` drives it from a `Source` that answers at once. Either way only
the indices shown and the ids referred to stay in memory.
"""

from array import array
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Any, Final, Protocol

import msgspec

from service.trail.entry import FORMAT
from service.trail.merkle import gaps, prove_consistency, prove_leaves, prove_range
from service.trail.note import to_base64
from service.trail.record import encoded, validate

HASHES_IN_A_LINE: Final = 4_096
LINE_BYTES: Final = 1_048_576
_LINES_AT_ONCE = 32


class Said(msgspec.Struct):
    """What of a record decides how it is shown, and which others are cited: its id, links and commitments."""

    id: str
    links: list[str]
    sd: dict[str, str]


read_said = msgspec.json.Decoder(Said).decode
_spell = msgspec.json.Encoder(order="sorted").encode


class BundleError(ValueError):
    """What is to be written cannot stand in a bundle, or not at this place."""


@dataclass(slots=True)
class Shown:
    """One record as the reader may see it.

    `record` is the bytes that were hashed, None if the record `gone` retired them. Every committed field is
    either in `fields`, with salt and value, or in `withheld`, with the id of the record that redacted it or
    None. `said`: what was read of `record` before, if it was.
    """

    index: int
    entry: bytes
    record: bytes | None
    fields: Mapping[str, tuple[bytes, Any]] = field(default_factory=dict)
    withheld: Mapping[str, str | None] = field(default_factory=dict)
    gone: str | None = None
    said: Said | None = None


class BundleWriter:
    """Writes the lines in the order of its methods; each takes what section 9 lists for its kind."""

    def __init__(self, write: Callable[[bytes], object], size: int) -> None:
        """`write` takes the bytes; `size` is that of the checkpoint."""
        self._write = write
        self.size = size
        self._digest = sha256()
        self._held: list[bytes] = []
        self._lines = 0
        self._shown = array("Q")
        self._ids: set[str] = set()
        self.needed: set[str] = set()
        """Ids a deletion relies on and that are not shown yet: they MUST be cited."""
        self.linked: set[str] = set()
        """Ids that records shown link to and that are not shown yet: they may be cited."""

    def bundle(self, origin: str, subject_type: str, subject_id: str, a: int, b: int) -> None:
        """The first line: records a to b-1 of this subject."""
        subject = {"id": subject_id, "type": subject_type}
        self._line("bundle", format=FORMAT, origin=origin, range=[a, b], subject=subject)

    def checkpoint(self, note: str) -> None:
        """The signed checkpoint with all its signatures."""
        self._line("checkpoint", note=note)

    def config(self, index: int, entry: bytes) -> None:
        """A config entry: first entry 0, then every key entry and the notices wanted, by index."""
        self._entry("config", index, entry)

    def consistency(self, old_size: int, hashes: Iterable[bytes]) -> None:
        """For a reader with a state of that size."""
        self._line("consistency", hashes=list(map(to_base64, hashes)), old_size=old_size)

    def map(
        self, index: int, entry: bytes, bucket: Iterable[tuple[bytes, bytes]], path: Iterable[bytes]
    ) -> None:
        """The map entry of the checkpoint, the whole bucket of the subject (tag, value) and its path."""
        members = [[held.hex(), value.hex()] for held, value in bucket]
        self._entry("map", index, entry, bucket=members, path=list(map(to_base64, path)))

    def subject(self, n: int, root: bytes, left: Iterable[bytes], right: Iterable[bytes]) -> None:
        """The subject tree and the range proof; only for a subject that is in the map."""
        sides = {"left": list(map(to_base64, left)), "right": list(map(to_base64, right))}
        self._line("subject", n=n, root=root.hex(), **sides)

    def record(self, shown: Shown) -> None:
        """A record of the range; all of them in order."""
        self._record(b"record", shown)

    def cited(self, shown: Shown) -> None:
        """A record outside the range to which something shown refers; by index."""
        self._record(b"cited", shown)

    def gaps(self) -> Iterator[tuple[int, int]]:
        """The subtrees (start, count) of the log whose hashes `nodes` must be given, in this order."""
        return ((start, count) for start, count, shown in gaps(self.shown(), self.size) if not shown)

    def shown(self) -> Sequence[int]:
        """The log indices shown so far, increasing."""
        # Lines of one kind come by index, but kinds overlap.
        return sorted(self._shown)

    def nodes(self, hashes: Iterable[bytes]) -> None:
        """The multi-proof."""
        rest = iter(hashes)
        batch = list(islice(rest, HASHES_IN_A_LINE))
        while True:
            self._line("nodes", hashes=list(map(to_base64, batch)))
            batch = list(islice(rest, HASHES_IN_A_LINE))
            if not batch:
                return

    def end(self) -> None:
        """The last line."""
        self._flush()
        self._line("end", lines=self._lines, sha256=self._digest.hexdigest())
        self._flush()

    def _record(self, kind: bytes, shown: Shown) -> None:
        record, opened, withheld, gone = shown.record, shown.fields, shown.withheld, shown.gone
        body, fields = b"null", b"{}"
        if record is not None:
            body = b'"%b"' % b2a_base64(record, newline=False)
            self._note(shown.said or read_said(record))
        if withheld or gone:
            self.needed.update({by for by in (*withheld.values(), gone) if by is not None} - self._ids)
        if opened:
            spelled = {
                name: {"salt": to_base64(salt), "value": value} for name, (salt, value) in opened.items()
            }
            # Only personal values can be spelled in more than one way; all else is base64, digits and ids.
            validate(spelled, 1)
            fields = encoded(spelled)
        self._shown.append(shown.index)
        # Put together from bytes: nearly all of a bundle is this line, and nearly all of the line is base64.
        self._put(
            b'{"entry":"%b","fields":%b,"gone":%b,"index":%d,"kind":"%b","record":%b,"withheld":%b}\n'
            % (
                b2a_base64(shown.entry, newline=False),
                fields,
                _spell(gone) if gone else b"null",
                shown.index,
                kind,
                body,
                _spell(dict(withheld)) if withheld else b"{}",
            )
        )

    def _note(self, said: Said) -> None:
        """A record is shown: its id is no longer needed, those it links to are linked."""
        ids = self._ids
        ids.add(said.id)
        self.needed.discard(said.id)
        self.linked.discard(said.id)
        if said.links:
            self.linked.update([link for link in said.links if link not in ids])

    def _entry(self, kind: str, index: int, entry: bytes, **members: Any) -> None:
        self._shown.append(index)
        self._line(kind, entry=to_base64(entry), index=index, **members)

    def _line(self, kind: str, **members: Any) -> None:
        self._put(_spell({"kind": kind, **members}) + b"\n")

    def _put(self, line: bytes) -> None:
        if len(line) > LINE_BYTES:
            raise BundleError(f"line {self._lines + 1} would be longer than {LINE_BYTES} bytes")
        self._lines += 1
        self._held.append(line)
        if len(self._held) >= _LINES_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Hash and write what is held: for many lines at once this costs less than line by line."""
        data = b"".join(self._held)
        self._held.clear()
        self._digest.update(data)
        self._write(data)


class Source(Protocol):
    """A log at one checkpoint, as `write_bundle` asks it. Hashes are 32 bytes; subtrees as in merkle."""

    origin: str
    size: int
    checkpoint: str

    def tag(self, subject_type: str, subject_id: str) -> bytes:
        """The tag of a subject."""
        ...

    def configs(self) -> Iterable[tuple[int, bytes]]:
        """Entry 0, every key entry and the notices wanted below the size: index and entry."""
        ...

    def log_hash(self, start: int, count: int) -> bytes:
        """Root of a subtree of the log tree."""
        ...

    def map_entry(self) -> bytes:
        """The entry at size - 1."""
        ...

    def bucket(self, tag: bytes) -> tuple[Iterable[tuple[bytes, bytes]], Iterable[bytes]]:
        """The bucket of a tag, sorted, and its path upwards."""
        ...

    def subject(self, tag: bytes) -> tuple[int, bytes] | None:
        """Number of records and root of a subject, None if it is not in the map."""
        ...

    def subject_hash(self, tag: bytes, start: int, count: int) -> bytes:
        """Root of a subtree of a subject tree."""
        ...

    def records(self, tag: bytes, a: int, b: int) -> Iterable[Shown]:
        """Records a to b-1 of a subject, in order."""
        ...

    def by_ids(self, ids: Iterable[str]) -> Iterable[Shown]:
        """Those of these records that are in the log below the size, by index."""
        ...


def write_bundle(
    source: Source,
    write: Callable[[bytes], object],
    subject: tuple[str, str],
    *,
    span: tuple[int, int] | None = None,
    old_size: int | None = None,
    cite_links: bool = False,
) -> None:
    """Write the bundle of a subject (type, id).

    `span` is the range of its records, all by default; `old_size` the size the reader has a state of.
    Records a deletion relies on are always cited; with `cite_links` those that records of the range link to
    as well.
    """
    tag = source.tag(*subject)
    known = source.subject(tag)
    n = known[0] if known else 0
    a, b = span or (0, n)
    if not 0 <= a <= b <= n:
        raise BundleError("the range is not within the records of the subject")
    writer = BundleWriter(write, source.size)
    writer.bundle(source.origin, *subject, a, b)
    writer.checkpoint(source.checkpoint)
    for index, entry in source.configs():
        writer.config(index, entry)
    if old_size is not None and 0 < old_size < source.size:
        writer.consistency(old_size, prove_consistency(old_size, source.size, source.log_hash))
    bucket, path = source.bucket(tag)
    writer.map(source.size - 1, source.map_entry(), bucket, path)
    if known:
        left, right = prove_range(a, b, n, lambda start, count: source.subject_hash(tag, start, count))
        writer.subject(n, known[1], left, right)
        for shown in source.records(tag, a, b):
            writer.record(shown)
    for shown in _to_cite(source, writer, cite_links=cite_links):
        writer.cited(shown)
    if writer.needed:
        raise BundleError("a deletion is relied on whose record cannot be shown")
    writer.nodes(prove_leaves(writer.shown(), source.size, source.log_hash))
    writer.end()


def _to_cite(source: Source, writer: BundleWriter, *, cite_links: bool) -> list[Shown]:
    """The records to cite: what is referred to, and what the deletions in those rely on in their turn."""
    found: dict[int, Shown] = {}
    asked: set[str] = set()
    wanted = writer.needed | (writer.linked if cite_links else set())
    while wanted:
        asked |= wanted
        new = list(source.by_ids(sorted(wanted)))
        found.update((shown.index, shown) for shown in new)
        wanted = {by for shown in new for by in shown.withheld.values() if by is not None} - asked
    inside = set(writer.shown())
    # A record without its body cannot be recognised as the one referred to.
    return [found[at] for at in sorted(found) if at not in inside and found[at].record is not None]
