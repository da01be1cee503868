"""The record profile holds byte for byte: what it accepts has one encoding, all else is refused."""

import ast
import copy
import hashlib
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from service.trail import record
from service.trail.record import ProfileError, ShapeError, SubjectError

EXAMPLE = json.loads(Path(__file__).with_name("example_records.json").read_text())
VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors"


def of_example(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def a_record(**changes: Any) -> dict[str, Any]:
    value = json.loads(EXAMPLE["records"][1]["body"])
    value.update(copy.deepcopy(changes))
    return value


ACCEPTED = [
    b"{}",
    '{"a":1,"b":[true,null,"é"]}'.encode(),
    rb'{"a":"\u0001\n"}',
    b'{"a":-5,"a_1":9007199254740991}',
    b'"/"',
    b"0",
    b'"\x7f"',
    '"\u2028\U0001f602"'.encode(),
    rb'"\b\t\n\f\r\"\\\u000b\u001f"',
    b"[" * 17 + b"]" * 17,
    b"[" * 16 + b"1" + b"]" * 16,
]

ODD_BYTES = [bytes([one]) for one in b' \t\n\x0b\x00\x7f"\\{}[]:,-+.eE019aAz_\xc3'] + [
    b"",
    b"-0",
    b'"a":1,',
    b"[" * 18,
]

REFUSED = [
    b'{"a": 1}',
    b'{"b":1,"a":2}',
    b'{"a":1,"a":1}',
    b'{"a":1,"a":2}',
    b'{"A":1}',
    b'{"":1}',
    b'{"' + b"a" * 65 + b'":1}',
    b'{"a\\n":1}',
    b'{"a":1.0}',
    b'{"a":1e3}',
    b'{"a":-0}',
    b'{"a":01}',
    b'{"a":+1}',
    b'{"a":9007199254740992}',
    b'{"a":-9007199254740992}',
    b"9" * 10_000,
    b'{"a":NaN}',
    b'{"a":-Infinity}',
    rb'{"a":"\u00e9"}',
    rb'{"a":"\/"}',
    rb'{"a":"\u002f"}',
    rb'{"a":"\ud800"}',
    rb'{"a":"\ud83d\ude02"}',
    b'{"a":"\xed\xa0\x80"}',
    '{"a":"e\u0301"}'.encode(),
    rb'{"a":"\u001F"}',
    rb'{"a":"\u000a"}',
    b'{"a":"\n"}',
    b'{"a":"\xff"}',
    b'\xef\xbb\xbf{"a":1}',
    b'{"a":1}\n',
    b' {"a":1}',
    b'{"a":1,}',
    b'{"a":1}{}',
    b"",
    b"nul",
    b"[" * 18 + b"]" * 18,
    b"[" * 17 + b"1" + b"]" * 17,
    b"[" * 100_000,
    '{"a":\uff11}'.encode(),
]


def test_the_profile_stands_alone() -> None:
    """The profile imports the standard library and nothing else, so that a verifier can ship it."""
    tree = ast.parse(Path(record.__file__).read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in found} <= sys.stdlib_module_names


@pytest.mark.parametrize("data", ACCEPTED)
def test_accepted_bytes_are_their_own_encoding(data: bytes) -> None:
    """What the profile accepts comes back as the same bytes."""
    assert record.canonical(record.parse(data)) == data


@pytest.mark.parametrize("data", REFUSED, ids=range(len(REFUSED)))
def test_refused_bytes_have_no_value(data: bytes) -> None:
    """Bytes outside the profile are refused with its own error, whatever is wrong with them."""
    with pytest.raises(ProfileError):
        record.parse(data)


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": [1, {"b": 1.5}]}, "/a/1/b"),
        ({"a": float("nan")}, "/a"),
        ({"a": {"B": 1}}, "/a/?"),
        ({"a": {"b/c~d": 1}}, "/a/?"),
        ({"a": {1: 1}}, "/a/?"),
        ({"a": {"名": 1}}, "/a/?"),
        ({"a": {"b\n": 1}}, "/a/?"),
        (["x", "e\u0301"], "/1"),
        (["\ud800"], "/0"),
        ([2**53], "/0"),
        ([b"x"], "/0"),
        ([{1, 2}], "/0"),
        (object(), ""),
    ],
)
def test_the_refusal_says_where(value: object, pointer: str) -> None:
    """A value outside the profile is refused with a JSON pointer to the fault."""
    with pytest.raises(ProfileError) as caught:
        record.canonical(value)
    assert caught.value.pointer == pointer
    assert caught.value.reason


def test_a_value_that_holds_itself_is_refused() -> None:
    """A loop is refused as too deep; it does not hang or overflow."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ProfileError):
        record.canonical(loop)


KEYS = st.text("abcz_019", min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(
    lambda text: unicodedata.normalize("NFC", text)
)
NUMBERS = st.integers(-record.LARGEST_INTEGER, record.LARGEST_INTEGER)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
@settings(max_examples=400, deadline=None)
def test_encoding_agrees_with_another_encoder(value: Any) -> None:
    """Inside the profile the encoding is that of RFC 8785, and reading it gives the value back."""
    data = record.canonical(value)
    assert data == rfc8785.dumps(value)
    assert record.parse(data) == value


@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_exactly_or_refused(data: bytes) -> None:
    """Whatever is read encodes to the very bytes read; nothing but ProfileError is raised."""
    try:
        value = record.parse(data)
    except ProfileError:
        return
    assert record.canonical(value) == data


def test_documents_of_the_author_of_rfc_8785() -> None:
    """A document of the RFC's author gets his bytes if it lies inside the profile, and is refused if not."""
    path = VECTORS / "jcs.json"
    if not path.exists():
        pytest.skip("the third-party vectors are not here")
    inside = set()
    for case in json.loads(path.read_text())["cases"]:
        expected = bytes.fromhex(case["output_hex"])
        try:
            found = record.canonical(json.loads(case["input_utf8"]))
        except ProfileError:
            with pytest.raises(ProfileError):
                record.parse(expected)
        else:
            assert found == expected, case["file"]
            inside.add(case["file"])
    assert inside == {"arrays.json"}


@pytest.mark.parametrize("subject", EXAMPLE["tags"])
def test_tags_of_the_worked_example(subject: str) -> None:
    """The tags of the format's worked example come out byte for byte."""
    kind, _, name = subject.partition(":")
    key = of_example(f"mandate-example tag {kind}")
    assert record.tag(key, kind, name).hex() == EXAMPLE["tags"][subject]


@pytest.mark.parametrize(
    "subject_id", ["a", "x" * 256, "é" * 128, "Li Wei", "李伟", "a\u202fb", "\U0001f602"]
)
def test_ids_that_name_a_subject(subject_id: str) -> None:
    """Ids of 1 to 256 bytes in NFC are taken as they are."""
    record.check_subject_id(subject_id)


@pytest.mark.parametrize(
    "subject_id",
    ["", "x" * 257, "é" * 129, "e\u0301", "\ud800"]
    + [f"a{chr(point)}b" for point in (0, 0x0A, 0x1F, 0x7F, 0x9F, 0xAD, 0x200B, 0x200F, 0x2028, 0x202E)]
    + [f"a{chr(point)}b" for point in (0x2060, 0x206F, 0xFEFF)]
    + [f"{chr(point)}a" for point in (0x20, 0xA0, 0x1680, 0x2000, 0x200A, 0x202F, 0x205F, 0x3000)]
    + ["a ", "a\u3000", " "],
)
def test_ids_that_name_nobody(subject_id: str) -> None:
    """Ids that are empty, too long, not normal, invisible in part or padded are refused, and not repeated."""
    with pytest.raises(SubjectError) as caught:
        record.tag(bytes(32), "person", subject_id)
    assert len(subject_id) < 4 or subject_id not in str(caught.value)


def test_only_nine_types_have_tags() -> None:
    """A type outside the nine, or a key of another length, gives no tag."""
    with pytest.raises(SubjectError):
        record.tag(bytes(32), "Person", "a")
    with pytest.raises(ValueError, match="32 bytes"):
        record.tag(bytes(31), "person", "a")
    assert len(record.SUBJECT_TYPES) == 9


@pytest.mark.parametrize("example", EXAMPLE["records"], ids=lambda example: f"entry{example['entry']}")
def test_records_of_the_worked_example(example: dict[str, Any]) -> None:
    """The records of the format's worked example are read, hash and commit byte for byte."""
    body = example["body"].encode()
    value = record.read_record(body)
    assert record.canonical(value) == body
    assert record.record_hash(body).hex() == example["hash"]
    assert set(value["sd"]) == set(example["fields"])
    for name, field in example["fields"].items():
        salt = of_example(f"mandate-example salt {example['entry']} {name}")
        assert salt.hex() == field["salt"]
        assert record.commitment(salt, name, field["value"]).hex() == value["sd"][name]


def test_a_commitment_binds_salt_name_and_value() -> None:
    """Another salt, name or value is another commitment; a short salt or an odd name is none."""
    first = record.commitment(bytes(32), "a", "b")
    assert len({first, record.commitment(b"\1" * 32, "a", "b"), record.commitment(bytes(32), "b", "b")}) == 3
    assert first != record.commitment(bytes(32), "a", "c")
    with pytest.raises(ValueError, match="32 bytes"):
        record.commitment(bytes(31), "a", "b")
    with pytest.raises(ProfileError):
        record.commitment(bytes(32), "A", "b")
    with pytest.raises(ProfileError):
        record.commitment(bytes(32), "a", 1.5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule": None, "why": None, "req": None},
        {"basis": []},
        {"links": []},
        {"basis": [f"c{n}" for n in range(16)]},
        {"p": {}},
        {"out": "proposed"},
        {"by": {"kind": "system", "standing": "system.timer", "tag": None}},
        {"act": "a" * 40 + "." + "b" * 40},
        {"rule": "A" + "._:/#()-" * 15},
        {"why": "a.0.1.2"},
        {"subj": sorted({EXAMPLE["tags"]["person:Li Wei"], *(f"{n:064x}" for n in range(63))})},
        {"sd": {f"f{n}": "0" * 64 for n in range(64)}},
        {"links": [f"01a0c450-6f84-7000-8000-{n:012x}" for n in range(32)]},
    ],
)
def test_a_record_at_its_limits_is_a_record(changes: dict[str, Any]) -> None:
    """Everything section 4 allows is allowed, up to the last one."""
    record.check_record(a_record(**changes))


ACTOR = json.loads(EXAMPLE["records"][1]["body"])["by"]
OWN_ID = json.loads(EXAMPLE["records"][1]["body"])["id"]
WRONG: list[tuple[str, list[Any]]] = [
    ("v", [True, 0, 2, "1", None]),
    (
        "id",
        [
            None,
            "",
            OWN_ID.upper(),
            OWN_ID + "\n",
            OWN_ID.replace("-7000", "-4000"),
            OWN_ID.replace("-8", "-c"),
        ],
    ),
    ("ts_us", [0, -1, True, "1", None]),
    ("act", ["ban", "Account.ban", "account.ban.x", "a" * 41 + ".b", "a.b\n", ".b", "1a.b", None]),
    ("out", ["Done", "", None, ["done"]]),
    ("rule", ["", "-a", "a b", "a" * 129, 1, "é"]),
    ("policy", [None, "0" * 63, "A" * 64, "0" * 65]),
    ("why", ["", "Spam", "a.b.c.d.e", "a" * 41, 1, "a."]),
    ("basis", [None, "a", ["a", "a"], [f"c{n}" for n in range(17)], [1], [""], {}, [["a"]]]),
    ("p", [None, [], "x", 1]),
    ("sd", [None, [], {"a": "0" * 63}, {"a": None}, {f"f{n}": "0" * 64 for n in range(65)}]),
    ("subj", [None, [], ["b" * 64, "a" * 64], [ACTOR["tag"]] * 2, [f"{n:064x}" for n in range(65)]]),
    ("links", [None, [OWN_ID], ["x"], ["01a0c450-6f84-7000-8000-000000000001"] * 2]),
    ("links", [[f"01a0c450-6f84-7000-8000-{n:012x}" for n in range(33)]]),
    ("links", [["01a0c450-6f84-7000-8000-000000000002", "01a0c450-6f84-7000-8000-000000000001"]]),
    ("req", ["", "0" * 63, 1, "G" * 64]),
    ("by", [None, {}, ACTOR | {"kind": "robot"}, ACTOR | {"kind": None}, ACTOR | {"kind": ["system"]}]),
    (
        "by",
        [ACTOR | {"tag": None}, ACTOR | {"tag": "0" * 64}, ACTOR | {"kind": "system"}, ACTOR | {"more": 1}],
    ),
    ("by", [ACTOR | {"standing": "Owner"}, ACTOR | {"standing": 1}, {"kind": "system", "tag": None}]),
]


@pytest.mark.parametrize(("member", "wrong"), [(member, wrong) for member, each in WRONG for wrong in each])
def test_a_record_with_one_wrong_member_is_refused(member: str, wrong: Any) -> None:
    """One wrong member is enough to refuse a record, and the refusal names it."""
    with pytest.raises(ShapeError) as caught:
        record.check_record(a_record(**{member: wrong}))
    assert caught.value.pointer.startswith(f"/{member}")


@pytest.mark.parametrize("member", sorted(a_record()))
def test_a_record_has_exactly_its_members(member: str) -> None:
    """No member may be missing and none may be added."""
    value = a_record()
    del value[member]
    with pytest.raises(ShapeError, match="missing"):
        record.check_record(value)
    with pytest.raises(ShapeError, match="no place"):
        record.check_record(a_record(**{f"{member}_2": None}))


def test_a_record_is_an_object() -> None:
    """Canonical JSON that is no object is no record."""
    for body in (b"[]", b"1", b"null", b'"a"'):
        with pytest.raises(ShapeError):
            record.read_record(body)


def test_the_largest_record() -> None:
    """A record of 65,536 bytes is read, one byte more is refused, read or checked."""
    spare = record.RECORD_BYTES - len(record.canonical(a_record(p={"a": ""})))
    record.read_record(record.canonical(a_record(p={"a": "x" * spare})))
    with pytest.raises(ShapeError):
        record.read_record(record.canonical(a_record(p={"a": "x" * (spare + 1)})))
    with pytest.raises(ShapeError):
        record.check_record(a_record(p={"a": "x" * (spare + 1)}))


def test_a_record_outside_the_profile_is_refused_as_such() -> None:
    """A record whose p is outside canonical JSON is a fault of the profile, with its place."""
    with pytest.raises(ProfileError) as caught:
        record.check_record(a_record(p={"a": 1.0}))
    assert caught.value.pointer == "/p/a"


@settings(max_examples=400)
@given(st.data())
def test_a_text_with_one_byte_changed_is_read_only_if_it_is_still_canonical(data: st.DataObject) -> None:
    """Whichever way a text is read, it is accepted exactly if encoding what it says again gives the same bytes."""
    text = EXAMPLE["records"][data.draw(st.integers(0, 1))]["body"].encode()
    at = data.draw(st.integers(0, len(text)))
    put, taken = data.draw(st.sampled_from(ODD_BYTES)), data.draw(st.integers(0, 2))
    changed = text[:at] + put + text[at + taken :]
    try:
        said = record.canonical(json.loads(changed))
    except ValueError:
        said = b""
    if said == changed:
        assert record.canonical(record.parse(changed)) == changed
    else:
        with pytest.raises(ProfileError):
            record.parse(changed)
