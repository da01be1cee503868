"""The auditor's replay: is the map the right function of the log? (trail-format section 11)

A bundle proves that a trail equals what the service committed itself to. Only replaying all entries shows
that it committed itself to all records of every subject. Needs no personal data and no tag key.
"""

from bisect import insort
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from struct import Struct
from typing import BinaryIO, Final

from service.trail.entry import (
    LONGEST_ENTRY,
    ConfigEntry,
    ConfigError,
    EntryError,
    Genesis,
    KeyEntryError,
    MapEntry,
    RecordEntry,
    bucket_leaf,
    bucket_of,
    decode,
    empty_map,
    read_config,
    subject_value,
)
from service.trail.merkle import HASH_BYTES, Frontier, MapTree, leaf
from service.trail.note import Checkpoint, KeyChange, Note, NoteError, SignatureError, signed_by
from service.trail.verify.trust import LogKey

MAGIC: Final = b"mandate-replay/2\n"
_WITHOUT_ORIGIN: Final = b"mandate-replay/1\n"
"""The state of an earlier version, which did not say of which log it is."""

_HEAD = Struct(">QBQ")
_ORIGIN = Struct(">H")
_SUBJECT = Struct(">32sQ")
_LENGTH = Struct(">I")


class ReplayError(Exception):
    """The first difference between the log and what it should be.

    `code` is one of section 10, `index` the log index it concerns.
    """

    def __init__(self, code: str, index: int, reason: str) -> None:
        super().__init__(code, index, reason)
        self.code = code
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"entry {self.index}: {self.reason}"


class _Subject(Frontier):
    """The frontier of a subject tree, and what the map holds for it since the last map entry."""

    __slots__ = ("value",)

    def evaluate(self, tag: bytes) -> None:
        self.value = subject_value(tag, self.size, self.root())


class Replay:
    """A log as far as it was replayed. Feed it entries in order, and checkpoints at the sizes they speak of.

    Memory: some 500 bytes a subject and 64 bytes a bucket of the map.
    """

    def __init__(self, origin: str, keys: Iterable[LogKey]) -> None:
        """`origin` and `keys` are what the auditor trusts."""
        self.origin = origin
        self._keys = tuple(keys)
        self._log = Frontier()
        self._last_time = 0
        self._last_is_map = False
        self._bits = 0
        self._map: MapTree | None = None
        self._subjects: dict[bytes, _Subject] = {}
        self._buckets: dict[int, list[bytes]] = {}
        self._touched: set[bytes] = set()

    @property
    def size(self) -> int:
        """Entries replayed so far: the index of the next."""
        return self._log.size

    @property
    def subjects(self) -> int:
        """Subjects met so far."""
        return len(self._subjects)

    def root(self) -> bytes:
        """Root of the log tree so far."""
        return self._log.root()

    def feed(self, data: bytes) -> None:
        """Replay one entry. Raises ReplayError at the first difference; the replay is then of no further
        use.
        """
        log = self._log
        index = log.size
        try:
            entry = decode(data)
        except EntryError as fault:
            raise ReplayError("E_ENTRY", index, str(fault)) from None
        if entry.index != index:
            raise ReplayError("E_INDEX", index, f"it calls itself entry {entry.index}")
        if entry.time_us < self._last_time:
            raise ReplayError("E_TIME", index, "its time is before that of the entry before it")
        self._last_time = entry.time_us
        digest = leaf(data)
        if type(entry) is RecordEntry and index:
            self._record(entry, digest)
            self._last_is_map = False
        elif type(entry) is MapEntry and index:
            self._check_map(entry)
            self._last_is_map = True
        elif type(entry) is ConfigEntry:
            self._config(entry)
            self._last_is_map = False
        else:
            raise ReplayError("E_CONFIG", index, "the first entry is no genesis")
        log.append(digest)

    def _record(self, entry: RecordEntry, digest: bytes) -> None:
        subjects = self._subjects
        for tag, number in zip(entry.tags, entry.numbers, strict=True):
            subject = subjects.get(tag)
            if subject is None:
                subject = subjects[tag] = _Subject()
                insort(self._buckets.setdefault(bucket_of(tag, self._bits), []), tag)
            if number != subject.size:
                reason = f"subject {tag.hex()} has {subject.size} records before it, not {number}"
                raise ReplayError("E_SEQ", entry.index, reason)
            subject.append(digest)
        self._touched.update(entry.tags)

    def _check_map(self, entry: MapEntry) -> None:
        for tag in self._touched:
            self._subjects[tag].evaluate(tag)
        buckets = {bucket_of(tag, self._bits) for tag in self._touched}
        self._touched.clear()
        tree = self._tree()
        tree.update({bucket: self._bucket_leaf(bucket) for bucket in buckets})
        if entry.subjects != len(self._subjects):
            reason = f"there are {len(self._subjects)} subjects, not {entry.subjects}"
            raise ReplayError("E_MAP", entry.index, reason)
        if entry.map_root != tree.root():
            raise ReplayError(
                "E_MAP", entry.index, "the map is not the one that follows from the entries before it"
            )

    def _bucket_leaf(self, bucket: int) -> bytes:
        tags = self._buckets[bucket]
        return bucket_leaf(bucket, b"".join(tag + self._subjects[tag].value for tag in tags))

    def _tree(self) -> MapTree:
        if self._map is None:
            self._map = MapTree(self._bits, empty_map(self._bits))
        return self._map

    def _config(self, entry: ConfigEntry) -> None:
        try:
            config = read_config(entry.body)
        except KeyEntryError as fault:
            raise ReplayError("E_KEY_ENTRY", entry.index, str(fault)) from None
        except ConfigError as fault:
            raise ReplayError("E_CONFIG", entry.index, str(fault)) from None
        if isinstance(config, Genesis) != (entry.index == 0):
            raise ReplayError("E_CONFIG", entry.index, "a genesis stands first, and only there")
        if isinstance(config, Genesis):
            if config.origin != self.origin:
                raise ReplayError("E_ORIGIN", 0, f"the log is {config.origin}")
            self._bits = config.map_bits
        elif isinstance(config, KeyChange) and (
            config.origin != self.origin or config.from_size <= entry.index
        ):
            raise ReplayError("E_KEY_ENTRY", entry.index, "a key entry is for this log, from a later size on")

    def check(self, note: str) -> None:
        """Hold a signed checkpoint of the present size against the log. Raises ReplayError."""
        index = self.size - 1
        try:
            signed = Note.parse(note)
            checkpoint = Checkpoint.parse(signed.text)
            by = {line.key for line in signed_by(signed, [key.vkey for key in self._keys])}
        except SignatureError as fault:
            raise ReplayError("E_SIG", index, f"the checkpoint is no good: {fault}") from None
        except NoteError as fault:
            raise ReplayError("E_NOTE", index, f"the checkpoint is no good: {fault}") from None
        if (checkpoint.origin, checkpoint.size) != (self.origin, self.size):
            raise ReplayError("E_CHECKPOINT", index, "the checkpoint is of another log or another size")
        if not self._last_is_map:
            raise ReplayError(
                "E_MAP_STALE", index, "a checkpoint stands behind an entry that is no map entry"
            )
        if checkpoint.root != self.root():
            raise ReplayError("E_INCLUSION", index, "the root of the checkpoint is not that of the entries")
        if not by:
            raise ReplayError("E_SIG", index, "no log key of yours has signed the checkpoint")
        if not any(key.vkey in by and key.valid_at(self.size) for key in self._keys):
            raise ReplayError("E_KEY_RANGE", index, "no log key valid at this size has signed the checkpoint")

    def run(self, entries: Iterable[bytes], checkpoints: Iterable[str] = ()) -> int:
        """Feed all entries, hold the checkpoints against them at their sizes; returns how many were held.

        Checkpoints come by size, from the present size on. Raises ReplayError at the first difference, and
        for checkpoints of sizes already passed or never reached.
        """
        rest, held = iter(entries), 0
        for note in checkpoints:
            size = self._size_of(note)
            for data in islice(rest, max(0, size - self.size)):
                self.feed(data)
            if self.size < size:
                raise ReplayError("E_ROLLBACK", self.size, "the entries end before a checkpoint")
            self.check(note)
            held += 1
        for data in rest:
            self.feed(data)
        return held

    def _size_of(self, note: str) -> int:
        try:
            return Checkpoint.parse(Note.parse(note).text).size
        except NoteError as fault:
            raise ReplayError("E_NOTE", self.size, f"the checkpoint is no good: {fault}") from None

    def save(self, file: BinaryIO) -> None:
        """Write what the next run goes on from; the map is made anew from it."""
        digest = sha256()

        def put(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        origin = self.origin.encode()
        put(MAGIC + _ORIGIN.pack(len(origin)) + origin)
        flags = self._bits << 1 | self._last_is_map
        put(_HEAD.pack(self._last_time, flags, len(self._subjects)) + self._log.serialise())
        for tag, subject in self._subjects.items():
            put(_SUBJECT.pack(tag, subject.size) + b"".join(subject.hashes))
        file.write(digest.digest())

    def load(self, file: BinaryIO) -> None:
        """Go on from what `save` wrote. Raises ValueError if it was cut off or altered, or is of another log."""
        digest = sha256()

        def get(length: int) -> bytes:
            data = file.read(length)
            if len(data) != length:
                raise ValueError("the state of the replay is cut off")
            digest.update(data)
            return data

        magic = get(len(MAGIC))
        if magic == _WITHOUT_ORIGIN:
            raise ValueError("the state is of an earlier version and does not say of which log: begin anew")
        if magic != MAGIC:
            raise ValueError("not the state of a replay")
        origin = get(*_ORIGIN.unpack(get(_ORIGIN.size))).decode()
        if origin != self.origin:
            raise ValueError(f"the state is of the log {origin}")
        self._last_time, flags, count = _HEAD.unpack(get(_HEAD.size))
        self._bits, self._last_is_map = flags >> 1, bool(flags & 1)
        (size,) = Struct(">Q").unpack(get(8))
        self._log = Frontier(size, _cut(get(size.bit_count() * HASH_BYTES)))
        self._subjects.clear()
        self._buckets.clear()
        for _ in range(count):
            tag, size = _SUBJECT.unpack(get(_SUBJECT.size))
            subject = self._subjects[tag] = _Subject(size, _cut(get(size.bit_count() * HASH_BYTES)))
            subject.evaluate(tag)
            self._buckets.setdefault(bucket_of(tag, self._bits), []).append(tag)
        sound = digest.digest()
        if file.read(HASH_BYTES + 1) != sound:
            raise ValueError("the state of the replay was altered")
        for tags in self._buckets.values():
            tags.sort()
        self._touched.clear()
        self._map = None
        if self._log.size:
            self._tree().update({bucket: self._bucket_leaf(bucket) for bucket in self._buckets})


def _cut(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def read_stream(file: BinaryIO) -> Iterator[bytes]:
    """The entries of a stream of u32 length || entry. Raises ValueError if it ends within one or one is too
    long.
    """
    while head := file.read(_LENGTH.size):
        if len(head) != _LENGTH.size:
            raise ValueError("the stream ends within a length")
        (length,) = _LENGTH.unpack(head)
        if length > LONGEST_ENTRY:
            raise ValueError("an entry of the stream is too long")
        data = file.read(length)
        if len(data) != length:
            raise ValueError("the stream ends within an entry")
        yield data


def write_stream(entries: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes `read_stream` reads, entry by entry."""
    return (_LENGTH.pack(len(data)) + data for data in entries)
