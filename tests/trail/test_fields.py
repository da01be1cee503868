"""Personal fields open for the right record, field, person and purpose, and for nothing else."""

import copy
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.trail import record
from service.trail.fields import Keyring, SealError, commit_field, open_sealed, seal

ID = "01a0c450-7754-7000-8000-000000000002"
OTHER_ID = "01a0c450-7754-7000-8000-000000000003"
KEY = bytes(range(32))
SALT = b"s" * 32
TAG = b"t" * 32


def sealed_name() -> bytes:
    return seal(KEY, record_id=ID, name="name", salt=SALT, value_json=record.canonical("Li Wei"))


def test_a_committed_field_is_the_one_in_the_record() -> None:
    """The commitment is that of the format, under a salt never used before."""
    salt, digest = commit_field("name", "Li Wei")
    assert digest == record.commitment(salt, "name", "Li Wei")
    assert commit_field("name", "Li Wei")[0] != salt


def test_a_sealed_field_opens() -> None:
    """Salt and value come back, and two seals of one value are not alike."""
    assert open_sealed(KEY, record_id=ID, name="name", sealed=sealed_name()) == (SALT, "Li Wei")
    assert sealed_name() != sealed_name()
    assert b"Li Wei" not in sealed_name()


@pytest.mark.parametrize(
    "changes",
    [{"key": bytes(32)}, {"record_id": OTHER_ID}, {"name": "phone"}, {"sealed": b""}, {"sealed": b"\1" * 20}],
)
def test_a_sealed_field_opens_nowhere_else(changes: dict[str, Any]) -> None:
    """A sealed value moved to another record, field or key does not open; the error shows nothing of it."""
    place = {"key": KEY, "record_id": ID, "name": "name", "sealed": sealed_name()} | changes
    with pytest.raises(SealError) as caught:
        open_sealed(place["key"], record_id=place["record_id"], name=place["name"], sealed=place["sealed"])
    assert "Li" not in str(caught.value)


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    """A sealed value with one byte changed does not open."""
    altered = bytearray(sealed_name())
    altered[place % len(altered)] ^= change
    with pytest.raises(SealError):
        open_sealed(KEY, record_id=ID, name="name", sealed=bytes(altered))


@pytest.mark.parametrize(
    "changes", [{"key": bytes(16)}, {"record_id": "x"}, {"name": "a\nb"}, {"salt": bytes(31)}, {"key": b""}]
)
def test_parts_of_the_wrong_form_seal_nothing(changes: dict[str, Any]) -> None:
    """A short key or salt, or a name that could run into the next part, is refused."""
    part = {"key": KEY, "record_id": ID, "name": "name", "salt": SALT} | changes
    with pytest.raises(ValueError, match=r".+"):
        seal(part["key"], record_id=part["record_id"], name=part["name"], salt=part["salt"], value_json=b"1")


def test_person_keys_open_under_their_master_only() -> None:
    """A wrapped key opens for its purpose and person under its master key, and nowhere else."""
    key, wrapped = Keyring(KEY).new_person_key(purpose="record.fields", tag=TAG)
    assert key not in wrapped
    fresh = Keyring(KEY)
    assert fresh.unwrap(wrapped, purpose="record.fields", tag=TAG) == key
    assert fresh.unwrap(wrapped, purpose="record.fields", tag=TAG) == key
    attempts: list[Callable[[], bytes]] = [
        lambda: fresh.unwrap(wrapped, purpose="record.other", tag=TAG),
        lambda: fresh.unwrap(wrapped, purpose="record.fields", tag=b"u" * 32),
        lambda: fresh.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), purpose="record.fields", tag=TAG),
        lambda: Keyring(bytes(32)).unwrap(wrapped, purpose="record.fields", tag=TAG),
    ]
    for attempt in attempts:
        with pytest.raises(SealError):
            attempt()


def test_a_sealed_value_is_no_wrapped_key() -> None:
    """A value sealed under the master key cannot be passed off as a person's key."""
    forged = seal(KEY, record_id=ID, name="name", salt=SALT, value_json=b"")
    with pytest.raises(SealError):
        Keyring(KEY).unwrap(forged, purpose="record.fields", tag=TAG)


def test_a_keyring_remembers_so_many() -> None:
    """Keys are remembered up to the bound; the least recently used go first, forgotten ones at once."""
    ring = Keyring(KEY, remembered=2)
    wrapped = [ring.new_person_key(purpose="record.fields", tag=bytes([n]) * 32)[1] for n in range(3)]
    kept = ring._unwrapped  # pyright: ignore[reportPrivateUsage]
    assert [place[0] for place in kept] == wrapped[1:]
    ring.unwrap(wrapped[1], purpose="record.fields", tag=bytes([1]) * 32)
    ring.unwrap(wrapped[0], purpose="record.fields", tag=bytes([0]) * 32)
    assert [place[0] for place in kept] == [wrapped[1], wrapped[0]]
    ring.forget(tag=bytes([1]) * 32)
    assert [place[0] for place in kept] == [wrapped[0]]


def test_a_keyring_shows_nothing() -> None:
    """Neither print nor pickle nor copy brings a key out."""
    master = os.urandom(32)
    ring = Keyring(master)
    assert master.hex() not in repr(ring)
    assert repr(master) not in repr(ring)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(ring)
    for short in (b"", bytes(16), bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            Keyring(short)
