"""Log entries and the leaves of the map: the bytes that are hashed (trail-format sections 5 and 6).

The standalone verifier ships this file, so it imports the pure files of the trail only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import chain
from struct import Struct
from typing import Any, Final, NamedTuple

from service.trail.merkle import HASH_BYTES, leaf
from service.trail.note import ED25519, KeyChange, NoteError, Vkey
from service.trail.record import (
    HEX_DIGEST,
    LARGEST_INTEGER,
    MOST_SUBJECTS,
    NAME,
    SUBJECT_TYPES,
    ProfileError,
    parse,
)

FORMAT: Final = "mandate-trail/1"
CONFIG_BYTES: Final = 65_536
MOST_MAP_BITS: Final = 24

RECORD: Final = 0x01
MAP: Final = 0x02
CONFIG: Final = 0x03

_HEAD = Struct(">BQQ")
_RECORD_HEAD = Struct(">BQQ32sB")
_MAP = Struct(">BQQQ32s")
_CONFIG_HEAD = Struct(">BQQI")
_VALUE = Struct(">B32sQ32s")
_BUCKET_HEAD = Struct(">BII")

LONGEST_ENTRY: Final = _CONFIG_HEAD.size + CONFIG_BYTES
MEMBER_BYTES: Final = 2 * HASH_BYTES
"""Bytes of one member of a bucket: tag and value."""

_BUCKETS_AT_ONCE = 4_096

_GENESIS_MEMBERS = frozenset(
    (
        "format",
        "kind",
        "log_vkey",
        "map_bits",
        "mmd_us",
        "origin",
        "policy",
        "prev",
        "receipt_vkey",
        "tag_key_sha256",
    )
)


class EntryError(ValueError):
    """Not the bytes of a log entry. Section 5."""


class ConfigError(ValueError):
    """The JSON of a config entry is not one of the kinds of section 5."""


class KeyEntryError(ConfigError):
    """A key entry whose note is not signed by both keys, or does not say what section 5 asks."""


@dataclass(slots=True)
class RecordEntry:
    """The entry of a record: its hash, the tags of its subjects, its number among the records of each."""

    index: int
    time_us: int
    record_hash: bytes
    tags: tuple[bytes, ...]
    numbers: tuple[int, ...]


@dataclass(slots=True)
class MapEntry:
    """The entry that covers all before it: how many subjects there are, and the root of the map."""

    index: int
    time_us: int
    subjects: int
    map_root: bytes


@dataclass(slots=True)
class ConfigEntry:
    """The entry of a genesis, key change or notice, as canonical JSON."""

    index: int
    time_us: int
    body: bytes


Entry = RecordEntry | MapEntry | ConfigEntry


@cache
def _tags(count: int) -> Struct:
    return Struct(">" + "32sQ" * count)


def encode_record(
    index: int, time_us: int, record_hash: bytes, subjects: Iterable[tuple[bytes, int]]
) -> bytes:
    """Bytes of a record entry; `subjects` are (tag, number of earlier records of that subject) sorted by
    tag.
    """
    pairs = list(subjects)
    count = len(pairs)
    tagged = _tags(count).pack(*chain.from_iterable(pairs))
    return _RECORD_HEAD.pack(RECORD, index, time_us, record_hash, count) + tagged


def encode_map(index: int, time_us: int, subjects: int, map_root: bytes) -> bytes:
    """Bytes of a map entry; `subjects` is the number of tags in the whole map."""
    return _MAP.pack(MAP, index, time_us, subjects, map_root)


def encode_config(index: int, time_us: int, body: bytes) -> bytes:
    """Bytes of a config entry; `body` is canonical JSON."""
    return _CONFIG_HEAD.pack(CONFIG, index, time_us, len(body)) + body


def decode(data: bytes) -> Entry:
    """The entry whose bytes these are.

    Raises EntryError for another type, a wrong length, tags not strictly increasing, or an index or time
    out of range. The JSON of a config entry is not read. Section 5.
    """
    if len(data) < _HEAD.size:
        raise EntryError("too short for an entry")
    kind, index, time_us = _HEAD.unpack_from(data)
    if index > LARGEST_INTEGER or not 1 <= time_us <= LARGEST_INTEGER:
        raise EntryError("the index or the time is out of range")
    if kind == RECORD:
        return _decode_record(data)
    if kind == MAP and len(data) == _MAP.size:
        return MapEntry(*_MAP.unpack(data)[1:])
    if kind == CONFIG and len(data) >= _CONFIG_HEAD.size:
        length = _CONFIG_HEAD.unpack_from(data)[3]
        if length == len(data) - _CONFIG_HEAD.size <= CONFIG_BYTES:
            return ConfigEntry(index, time_us, data[_CONFIG_HEAD.size :])
    raise EntryError("an entry of unknown type or wrong length")


def _decode_record(data: bytes) -> RecordEntry:
    if len(data) < _RECORD_HEAD.size:
        raise EntryError("too short for a record entry")
    _, index, time_us, record_hash, count = _RECORD_HEAD.unpack_from(data)
    tagged = _tags(count)
    if not 1 <= count <= MOST_SUBJECTS or len(data) != _RECORD_HEAD.size + tagged.size:
        raise EntryError("a record entry of the wrong length")
    flat = tagged.unpack_from(data, _RECORD_HEAD.size)
    tags = flat[::2]
    last = b""
    for tag in tags:
        if tag <= last:
            raise EntryError("the tags of an entry are not strictly increasing")
        last = tag
    return RecordEntry(index, time_us, record_hash, tags, flat[1::2])


# The map, section 6.


def subject_value(tag: bytes, count: int, subject_root: bytes) -> bytes:
    """What the map holds for a subject with `count` >= 1 records."""
    return leaf(_VALUE.pack(0x10, tag, count, subject_root))


def bucket_of(tag: bytes, bits: int) -> int:
    """The bucket of a tag: its first `bits` bits as a number."""
    return int.from_bytes(tag[:4], "big") >> (32 - bits)


def bucket_leaf(bucket: int, members: bytes) -> bytes:
    """Leaf of a bucket; `members` are tag || value, 64 bytes each, one after another, sorted by tag."""
    return leaf(_BUCKET_HEAD.pack(0x11, bucket, len(members) // MEMBER_BYTES) + members)


def empty_map(bits: int) -> bytearray:
    """The leaves of 2^bits empty buckets, one after another: what a new map tree is made from."""
    # As `bucket_leaf`, written out: a million calls of it take a second.
    head, count = b"\x00\x11", bytes(4)
    leaves = bytearray()
    for start in range(0, 1 << bits, _BUCKETS_AT_ONCE):
        buckets = range(start, min(start + _BUCKETS_AT_ONCE, 1 << bits))
        leaves += b"".join([sha256(head + one.to_bytes(4, "big") + count).digest() for one in buckets])
    return leaves


# Config entries, section 5.


class Genesis(NamedTuple):
    """Entry 0: what holds for the whole log. `mmd_us` is the longest delay from act to log, in
    microseconds.
    """

    origin: str
    map_bits: int
    mmd_us: int
    log_key: Vkey
    receipt_key: Vkey
    tag_key_sha256: dict[str, bytes]
    prev: dict[str, Any] | None


class Notice(NamedTuple):
    """A notice: a retention rule, a new policy edition, a repair report."""

    code: str


def read_config(body: bytes) -> Genesis | KeyChange | Notice:
    """What the JSON of a config entry says.

    Raises ConfigError for JSON outside the profile or the kinds of section 5, KeyEntryError for a key entry
    whose note is malformed or not signed by both its keys.
    """
    try:
        value = parse(body)
    except ProfileError:
        raise ConfigError("the config entry is not canonical JSON") from None
    kind = value.get("kind") if type(value) is dict else None
    if kind == "genesis":
        return _read_genesis(value)
    if kind == "key" and value.keys() == {"kind", "note"}:
        try:
            return KeyChange.read(str(value["note"]))
        except NoteError as fault:
            raise KeyEntryError(str(fault)) from None
    sound = kind == "notice" and value.keys() == {"code", "kind", "p"} and type(value["p"]) is dict
    if sound and _matches(NAME, value["code"]):
        return Notice(value["code"])
    raise ConfigError("a config entry of unknown kind or with the wrong members")


def _read_genesis(value: dict[str, Any]) -> Genesis:
    origin, digests = value.get("origin"), value.get("tag_key_sha256")
    sound = (
        value.keys() == _GENESIS_MEMBERS
        and value["format"] == FORMAT
        and type(value["map_bits"]) is int
        and 1 <= value["map_bits"] <= MOST_MAP_BITS
        and type(value["mmd_us"]) is int
        and value["mmd_us"] >= 0
        and _matches(HEX_DIGEST, value["policy"])
        and type(digests) is dict
        and digests.keys() == set(SUBJECT_TYPES)
        and all(_matches(HEX_DIGEST, digest) for digest in digests.values())
        and _is_earlier_log(value["prev"])
    )
    if not sound:
        raise ConfigError("the genesis entry has the wrong members")
    try:
        log_key, receipt_key = (
            Vkey.parse(str(value[name]), ED25519) for name in ("log_vkey", "receipt_vkey")
        )
    except NoteError as fault:
        raise ConfigError(str(fault)) from None
    if log_key.name != origin or receipt_key.name != f"{origin}/receipt":
        raise ConfigError("the keys of the genesis entry do not bear the name of the log")
    tag_keys = {name: bytes.fromhex(digest) for name, digest in value["tag_key_sha256"].items()}
    return Genesis(
        log_key.name, value["map_bits"], value["mmd_us"], log_key, receipt_key, tag_keys, value["prev"]
    )


def _is_earlier_log(prev: Any) -> bool:
    return prev is None or (
        type(prev) is dict
        and prev.keys() == {"origin", "root", "size"}
        and type(prev["origin"]) is str
        and _matches(HEX_DIGEST, prev["root"])
        and type(prev["size"]) is int
        and prev["size"] >= 0
    )


def _matches(pattern: Any, value: Any) -> bool:
    return type(value) is str and pattern.fullmatch(value) is not None
