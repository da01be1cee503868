"""The fast writer writes what the profile would write, and nothing that a reader would refuse."""

import enum
import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.trail import record, writing
from service.trail.record import ProfileError, ShapeError

EXAMPLE = json.loads(Path(__file__).with_name("example_records.json").read_text())
ID = "01a0c450-7754-7000-8000-000000000002"


def parts_of(value: dict[str, Any]) -> dict[str, Any]:
    """The arguments that should write this record."""
    by = value["by"]
    return {
        **{
            name: value[name]
            for name in ("id", "ts_us", "act", "out", "rule", "policy", "why", "basis", "p", "links")
        },
        "by_kind": by["kind"],
        "by_standing": by["standing"],
        "by_tag": by["tag"] and bytes.fromhex(by["tag"]),
        "sd": {name: bytes.fromhex(digest) for name, digest in value["sd"].items()},
        "tags": [bytes.fromhex(tag) for tag in value["subj"]],
        "req": value["req"] and bytes.fromhex(value["req"]),
    }


def some_parts(**changes: Any) -> dict[str, Any]:
    return parts_of(json.loads(EXAMPLE["records"][1]["body"])) | changes


@pytest.mark.parametrize("example", EXAMPLE["records"], ids=lambda example: f"entry{example['entry']}")
def test_records_of_the_worked_example(example: dict[str, Any]) -> None:
    """The records of the format's worked example are written byte for byte."""
    written = writing.write_record(**parts_of(json.loads(example["body"])))
    assert written.body == example["body"].encode()
    assert written.hash.hex() == example["hash"]
    assert [tag.hex() for tag in written.tags] == json.loads(example["body"])["subj"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(
    lambda text: unicodedata.normalize("NFC", text)
)
LEAVES = st.none() | st.booleans() | st.integers(-record.LARGEST_INTEGER, record.LARGEST_INTEGER) | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.from_regex(record.KEY, fullmatch=True), inner, max_size=4)
    ),
    max_leaves=10,
)
DIGESTS = st.binary(min_size=32, max_size=32)
CODES = st.from_regex(record.CODE, fullmatch=True)
NAMES = st.from_regex(record.NAME, fullmatch=True)
IDS = st.from_regex(record.ID, fullmatch=True)


@st.composite
def parts(draw: st.DrawFn) -> dict[str, Any]:
    tags = draw(st.lists(DIGESTS, min_size=1, max_size=6))
    kind = draw(st.sampled_from(sorted(record.ACTOR_KINDS)))
    keys = st.from_regex(record.KEY, fullmatch=True)
    return {
        "id": ID,
        "ts_us": draw(st.integers(1, record.LARGEST_INTEGER)),
        "act": draw(st.from_regex(record.ACT, fullmatch=True)),
        "out": draw(st.sampled_from(sorted(record.OUTCOMES))),
        "by_kind": kind,
        "by_standing": draw(st.none() | NAMES),
        "by_tag": None if kind == "system" else draw(st.sampled_from(tags)),
        "rule": draw(st.none() | CODES),
        "policy": draw(DIGESTS).hex(),
        "why": draw(st.none() | NAMES),
        "basis": draw(st.lists(CODES, max_size=3, unique=True)),
        "p": draw(st.dictionaries(keys, VALUES, max_size=4)),
        "sd": draw(st.dictionaries(keys, DIGESTS, max_size=3)),
        "tags": tags,
        "links": draw(st.lists(IDS.filter(lambda link: link != ID), max_size=3)),
        "req": draw(st.none() | DIGESTS),
    }


@given(parts())
@settings(max_examples=200, deadline=None)
def test_whatever_is_written_is_a_canonical_record(given_parts: dict[str, Any]) -> None:
    """For any allowed input the bytes are the canonical ones of a record that says what was given."""
    written = writing.write_record(**given_parts)
    value = json.loads(written.body)
    assert record.canonical(value) == written.body
    record.check_record(value)
    assert record.read_record(written.body) == value
    assert written.hash == record.record_hash(written.body)
    assert value["subj"] == [tag.hex() for tag in sorted(set(given_parts["tags"]))]
    assert parts_of(value) == given_parts | {
        "p": json.loads(json.dumps(given_parts["p"])),
        "tags": sorted(set(given_parts["tags"])),
        "links": sorted(set(given_parts["links"])),
    }


WRONG: list[tuple[str, list[Any]]] = [
    ("id", ["", ID.upper(), ID + "\n", None]),
    ("ts_us", [0, -1, 2**53, True, 1.0]),
    ("act", ["ban", "Account.ban", "a.b\n", None, 'a.b"']),
    ("out", ["Done", None]),
    ("by_kind", ["robot", "system", None]),
    ("by_standing", ["Owner", "", 1]),
    ("by_tag", [None, bytes(32), bytes(31)]),
    ("rule", ["", "a b", "a" * 129, 'a"b', 1]),
    ("policy", [None, "0" * 63, "A" * 64]),
    ("why", ["", "Spam", 1]),
    ("basis", ["a", ["a", "a"], [f"c{n}" for n in range(17)], [1], [""]]),
    ("p", [None, []]),
    ("sd", [{"A": bytes(32)}, {"a": bytes(31)}, {"a": "0" * 64}, {f"f{n}": bytes(32) for n in range(65)}]),
    ("tags", [[], [bytes(31)], [n.to_bytes(32) for n in range(65)]]),
    ("links", [[ID], ["x"], [f"01a0c450-6f84-7000-8000-{n:012x}" for n in range(33)]]),
    ("req", [bytes(31), "0" * 64]),
]


@pytest.mark.parametrize(("part", "wrong"), [(part, wrong) for part, each in WRONG for wrong in each])
def test_one_wrong_part_is_refused(part: str, wrong: Any) -> None:
    """What a reader would refuse is never written."""
    with pytest.raises(ShapeError):
        writing.write_record(**some_parts(**{part: wrong}))


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"a": 1.0}, "/p/a"),
        ({"a": float("nan")}, "/p/a"),
        ({"a": 2**53}, "/p/a"),
        ({"a": ["e\u0301"]}, "/p/a/0"),
        ({"a": "\ud800"}, "/p/a"),
        ({"A": 1}, "/p/?"),
        ({"a": b"x"}, "/p/a"),
        ({"a": {1: 1}}, "/p/a/?"),
    ],
)
def test_parameters_outside_the_profile_are_refused(wrong: dict[str, Any], pointer: str) -> None:
    """Parameters that a fast encoder would write in its own way are refused, with their place."""
    with pytest.raises(ProfileError) as caught:
        writing.write_record(**some_parts(p=wrong))
    assert caught.value.pointer == pointer


def test_parameters_nest_as_deep_as_a_reader_allows() -> None:
    """The writer counts levels from the whole record, as readers do."""
    deep: Any = 1
    for _ in range(14):
        deep = [deep]
    record.read_record(writing.write_record(**some_parts(p={"a": deep})).body)
    with pytest.raises(ProfileError):
        writing.write_record(**some_parts(p={"a": [deep]}))


def test_the_largest_record() -> None:
    """A record of 65,536 bytes is written, one byte more is refused."""
    spare = record.RECORD_BYTES - len(writing.write_record(**some_parts(p={"a": ""})).body)
    assert len(writing.write_record(**some_parts(p={"a": "x" * spare})).body) == record.RECORD_BYTES
    with pytest.raises(ShapeError):
        writing.write_record(**some_parts(p={"a": "x" * (spare + 1)}))


def test_enums_are_written_as_their_value() -> None:
    """An enum of strings is written as its value, also after the plain word was."""

    class Word(str, enum.Enum):
        ACT = "account.mute"
        OUT = "done"

    class Newer(enum.StrEnum):
        ACT = "account.mute"

    plain = writing.write_record(**some_parts()).body
    assert writing.write_record(**some_parts(act=Word.ACT, out=Word.OUT)).body == plain
    assert writing.write_record(**some_parts(act=Newer.ACT)).body == plain


def test_tags_keep_their_places() -> None:
    """The places of tags can be known before the record is written."""
    tags = [hashlib.sha256(bytes([n])).digest() for n in range(5)]
    first = writing.sorted_tags([*tags, tags[0]])
    assert first == tuple(sorted(tags))
    assert writing.write_record(**some_parts(tags=tags, by_tag=tags[3])).tags == first


def test_ids_of_one_millisecond_grow() -> None:
    """Ids carry their millisecond, and those of one millisecond are strictly increasing and well formed."""
    ids = [writing.uuid7(1_790_000_002_900_000 + n % 1000) for n in range(2_000)]
    assert ids == sorted(set(ids))
    assert all(record.ID.fullmatch(each) for each in ids)
    assert {each[:13] for each in ids} == {ID[:13]}
    assert writing.uuid7(1_790_000_002_901_000) > ids[-1]


def test_ids_outside_time_are_refused() -> None:
    """A time before 1970 or beyond the format's numbers has no id; the last one has."""
    for ts_us in (0, -1, 2**53):
        with pytest.raises(ValueError, match="microseconds"):
            writing.uuid7(ts_us)
    assert record.ID.fullmatch(writing.uuid7(2**53 - 1))
    assert record.ID.fullmatch(writing.uuid7(1))


def test_clean_text() -> None:
    """User text comes out in NFC; what no table knows, and half a character, is refused."""
    assert writing.clean_text("plain\n") == "plain\n"
    assert writing.clean_text("e\u0301 李") == "é 李"
    for text in ("a\ud800", "\u0378", "\uffff", "é\U000e0fff"):
        with pytest.raises(ValueError, match="the text holds"):
            writing.clean_text(text)


@given(st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_cleaned_text_may_enter_a_record(text: str) -> None:
    """Whatever clean_text lets through, canonical JSON takes."""
    try:
        clean = writing.clean_text(text)
    except ValueError:
        return
    record.canonical(clean)
    assert writing.clean_text(clean) == clean
