"""Log entries and config entries: what is written is read, and nothing else is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.trail import entry as entries
from service.trail.entry import ConfigError, EntryError, Genesis, KeyEntryError, Notice, read_config
from service.trail.note import Note
from service.trail.record import canonical
from tests.trail.memory import T0, MemoryLog

numbers = st.integers(0, 2**53 - 1)
times = st.integers(1, 2**53 - 1)
hashes = st.binary(min_size=32, max_size=32)


@given(numbers, times, hashes, st.dictionaries(hashes, numbers, min_size=1, max_size=64))
def test_a_record_entry_comes_back_from_its_bytes(index, time, record_hash, subjects):
    """Index, time, hash, tags and numbers; its length is 50 + 40 k, and no other length is read."""
    pairs = sorted(subjects.items())
    data = entries.encode_record(index, time, record_hash, pairs)
    assert len(data) == 50 + 40 * len(pairs)
    entry = entries.decode(data)
    assert isinstance(entry, entries.RecordEntry)
    assert (entry.index, entry.time_us, entry.record_hash) == (index, time, record_hash)
    assert list(zip(entry.tags, entry.numbers, strict=True)) == pairs
    unsorted = entries.encode_record(index, time, record_hash, [*pairs, pairs[-1]])
    for broken in (data[:-1], data + b"\0", unsorted):
        with pytest.raises(EntryError):
            entries.decode(broken)


@given(numbers, times, numbers, hashes)
def test_a_map_entry_comes_back_from_its_57_bytes(index, time, subjects, root):
    """Index, time, number of subjects and root."""
    data = entries.encode_map(index, time, subjects, root)
    assert len(data) == 57
    assert entries.decode(data) == entries.MapEntry(index, time, subjects, root)
    for broken in (data[:-1], data + b"\0"):
        with pytest.raises(EntryError):
            entries.decode(broken)


@given(numbers, times, st.binary(max_size=100))
def test_a_config_entry_comes_back_from_its_bytes(index, time, body):
    """Index, time and JSON, which is as long as it says."""
    data = entries.encode_config(index, time, body)
    assert entries.decode(data) == entries.ConfigEntry(index, time, body)
    for broken in (data[:-1], data + b"\0"):
        with pytest.raises(EntryError):
            entries.decode(broken)


@given(st.binary(max_size=200))
def test_bytes_are_an_entry_or_are_refused(data):
    """No bytes make the reader fail in another way, and what it reads it would write again."""
    try:
        entry = entries.decode(data)
    except EntryError:
        return
    if isinstance(entry, entries.RecordEntry):
        pairs = zip(entry.tags, entry.numbers, strict=True)
        assert entries.encode_record(entry.index, entry.time_us, entry.record_hash, pairs) == data


@pytest.mark.parametrize(
    "data",
    [
        entries.encode_map(2**53, 1, 0, bytes(32)),
        entries.encode_map(1, 0, 0, bytes(32)),
        entries.encode_map(1, 2**53, 0, bytes(32)),
        entries.encode_record(1, 1, bytes(32), []),
        entries.encode_config(0, 1, bytes(65_537)),
        bytes(57),
    ],
    ids=["index", "no time", "time", "no tags", "long config", "type"],
)
def test_what_is_out_of_range_is_refused(data):
    """Index and time below 2^53, one tag at least, config at most 65,536 bytes, known types only."""
    with pytest.raises(EntryError):
        entries.decode(data)


def test_a_bucket_is_the_first_bits_of_the_tag():
    """The bucket of a tag is its first map_bits bits as a number."""
    tag = bytes.fromhex("b6d16e7a") + bytes(28)
    assert [entries.bucket_of(tag, bits) for bits in (1, 2, 8, 20, 24)] == [1, 2, 0xB6, 0xB6D16, 0xB6D16E]
    assert len(entries.empty_map(3)) == 8 * 32


def genesis(**changes: Any) -> dict[str, Any]:
    log = MemoryLog("log.example/1", time_us=T0)
    entry = entries.decode(log.entries[0])
    assert isinstance(entry, entries.ConfigEntry)
    founded = read_config(entry.body)
    assert isinstance(founded, Genesis)
    value = {
        "format": "mandate-trail/1",
        "kind": "genesis",
        "log_vkey": str(founded.log_key),
        "map_bits": 2,
        "mmd_us": 1,
        "origin": "log.example/1",
        "policy": "00" * 32,
        "prev": None,
        "receipt_vkey": str(founded.receipt_key),
        "tag_key_sha256": {kind: held.hex() for kind, held in founded.tag_key_sha256.items()},
    }
    return value | changes


def test_a_genesis_says_what_holds_for_the_whole_log():
    """Origin, bits of the map, delay and keys; a log may name the one it replaces."""
    prev = {"origin": "old.example/1", "root": "00" * 32, "size": 5}
    founded = read_config(canonical(genesis(prev=prev)))
    assert isinstance(founded, Genesis)
    assert (founded.origin, founded.map_bits, founded.mmd_us, founded.prev) == ("log.example/1", 2, 1, prev)


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"map_bits": 0},
        {"map_bits": 25},
        {"map_bits": True},
        {"mmd_us": -1},
        {"origin": "other.example"},
        {"origin": 5},
        {"log_vkey": "x"},
        {"receipt_vkey": None},
        {"policy": "x"},
        {"prev": {"origin": "x", "root": "x", "size": 1}},
        {"prev": []},
        {"tag_key_sha256": {}},
        {"tag_key_sha256": None},
        {"kind": "other"},
        {"kind": None},
    ],
    ids=str,
)
def test_a_genesis_with_a_wrong_member_is_refused(changes):
    """Every member is checked, and none may be added."""
    with pytest.raises(ConfigError):
        read_config(canonical(genesis(**changes)))


def test_notices_and_key_entries_are_read_and_their_likes_refused():
    """A notice has a code and public parameters; a key entry a note by both keys."""
    assert read_config(b'{"code":"retention.rule","kind":"notice","p":{}}') == Notice("retention.rule")
    for body in (
        b'{"code":"X","kind":"notice","p":{}}',
        b'{"code":"x","kind":"notice","p":[]}',
        b"[]",
        b'{"a": 1}',
    ):
        with pytest.raises(ConfigError):
            read_config(body)
    log = MemoryLog("log.example/1", time_us=T0)
    for note in ("x", str(Note("x\n", (log.log_key.sign("x\n"),)))):
        with pytest.raises(KeyEntryError):
            read_config(canonical({"kind": "key", "note": note}))
