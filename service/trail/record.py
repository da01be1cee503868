"""The record profile of mandate-trail/1: canonical JSON, subjects and tags, records and commitments.

The standalone verifier ships this file, so it imports the standard library only and nothing of the service.
Sections named below are those of the trail format.
"""

import hashlib
import hmac
import json
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NoReturn, Self

LARGEST_INTEGER = 2**53 - 1
"""The largest absolute value of a number (section 2)."""

DEEPEST_LEVEL = 16
"""Levels allowed below the outermost value, which is level 0 (section 2)."""

RECORD_BYTES = 65_536
"""The largest record, in bytes (section 4)."""

MOST_SUBJECTS = 64
MOST_LINKS = 32
MOST_BASES = 16
MOST_FIELDS = 64

SUBJECT_TYPES = (
    "person",
    "group",
    "account",
    "operator",
    "case",
    "campaign",
    "order",
    "staff",
    "jurisdiction",
)
"""The nine types of subject (section 3)."""

OUTCOMES = frozenset({"done", "refused", "proposed"})
ACTOR_KINDS = frozenset({"person", "account", "operator", "staff", "system"})

KEY = re.compile(r"[a-z0-9_]{1,64}")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ACT = re.compile(r"[a-z][a-z0-9_]{0,39}\.[a-z][a-z0-9_]{0,39}")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}(\.[a-z0-9_]{1,40}){0,3}")
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/#()-]{0,127}")
HEX_DIGEST = re.compile(r"[0-9a-f]{64}")

_LONGEST_KEY = 64
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_IN_IDS = re.compile("[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_SPACES = frozenset("\x20\xa0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
_SUBJECT_ID_BYTES = 256
_DIGEST_BYTES = 32
_LONGEST_INTEGER = len(str(-LARGEST_INTEGER))
_OF_THE_ACT = ("v", "id", "ts_us", "act", "out", "by", "rule", "policy", "why", "basis")
_MEMBERS = frozenset((*_OF_THE_ACT, "p", "sd", "subj", "links", "req"))
_MOST_ORDERS = 1_024
_MOST_KEYS = 64
_orders: set[tuple[str, ...]] = set()
"""Keys of objects, in their order, that were found to be right: the same few come in every record."""
_BY_MEMBERS = frozenset(("kind", "standing", "tag"))
_MAY_BE_NULL = (("rule", CODE), ("why", NAME), ("req", HEX_DIGEST))


class ProfileError(ValueError):
    """The value or text lies outside the canonical JSON profile (section 2).

    `reason` says what is wrong, `pointer` where: a JSON pointer (RFC 6901), empty for the whole, with `?` for
    a key that may not be one. Neither repeats a value, so both may be logged.
    """

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(reason, pointer)
        self.reason = reason
        self.pointer = pointer

    def below(self, step: str | int) -> Self:
        """The same fault seen from one level further out, where it lies under the key or place `step`."""
        return type(self)(self.reason, f"/{step}{self.pointer}")

    def __str__(self) -> str:
        return f"{self.pointer or 'the whole'}: {self.reason}"


class ShapeError(ValueError):
    """The value is canonical JSON but not a record of section 4.

    `reason` says what is wrong, `pointer` where (RFC 6901), empty for the whole record.
    """

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(reason, pointer)
        self.reason = reason
        self.pointer = pointer

    def __str__(self) -> str:
        return f"{self.pointer or 'the record'}: {self.reason}"


class SubjectError(ValueError):
    """The type or id of a subject is not one of section 3. The message never repeats the id."""


# Canonical JSON, section 2.


def validate(value: object, level: int = 0) -> None:
    """Check that `value` may stand in canonical JSON, without encoding it.

    `level` is how deep the value will stand below the outermost one; scalars count as a level of their own.
    Allowed are exactly None, bool, int, str, list, tuple (an array) and dict, no subclasses.
    Raises ProfileError. Section 2.
    """
    if level > DEEPEST_LEVEL:
        raise ProfileError(f"nested more than {DEEPEST_LEVEL} levels deep")
    # type() and not isinstance: bool is an int, and subclasses may encode as something else.
    if type(value) is str:
        if not value.isascii():
            _validate_text(value)
    elif value is None or value is True or value is False:
        pass
    elif type(value) is int:
        if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            raise ProfileError("the number is larger than 2^53-1")
    elif type(value) is dict:
        _validate_object(value, level + 1)
    elif type(value) is list or type(value) is tuple:
        _validate_array(value, level + 1)
    else:
        raise ProfileError(f"a {type(value).__name__} has no place in canonical JSON")


def _validate_text(text: str) -> None:
    if _SURROGATE.search(text):
        raise ProfileError("the text holds a surrogate")
    if not unicodedata.is_normalized("NFC", text):
        raise ProfileError("the text is not in NFC")


@lru_cache(maxsize=1_024)
def _is_key(text: str) -> bool:
    """Remembered, for the same few names come in every record."""
    return KEY.fullmatch(text) is not None


def _validate_object(value: dict[object, object], level: int) -> None:
    for key, item in value.items():
        if type(key) is not str or len(key) > _LONGEST_KEY or not _is_key(key):
            # Pointers end up in logs, and a stray key may be somebody's name or number: it is not repeated.
            raise ProfileError(f"a key must match {KEY.pattern}", "/?")
        try:
            validate(item, level)
        except ProfileError as fault:
            raise fault.below(key) from None


def _validate_array(value: list[object] | tuple[object, ...], level: int) -> None:
    for place, item in enumerate(value):
        try:
            validate(item, level)
        except ProfileError as fault:
            raise fault.below(place) from None


_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def encoded(value: object) -> bytes:
    """As `canonical`, for a value that is known to be inside the profile: a part of what `parse` returned."""
    return _encode(value).encode()


def canonical(value: object) -> bytes:
    """The one encoding of `value`, in UTF-8.

    Raises ProfileError with the reason and the place if the value is outside the profile. Section 2.
    """
    validate(value)
    return encoded(value)


def parse(data: bytes) -> Any:
    """The value whose one encoding `data` is; `canonical(parse(data)) == data` always holds.

    Arrays come back as lists. Raises ProfileError for anything else, whatever the bytes are. Section 2.
    """
    try:
        return _parse_plain(data)
    except ValueError:
        pass  # not plain, or wrong: what follows accepts all that is right, and names what is wrong
    try:
        value = _decode(data.decode())
    except ProfileError:
        raise
    except UnicodeDecodeError:
        raise ProfileError("not UTF-8") from None
    except RecursionError:
        raise ProfileError(f"nested more than {DEEPEST_LEVEL} levels deep") from None
    except ValueError:
        raise ProfileError("not JSON") from None
    if canonical(value) != data:
        raise ProfileError("not the canonical encoding of what it says")
    return value


def _parse_plain(data: bytes) -> Any:
    """`parse` for plain text, as most of it is: ASCII without an escape. Raises ValueError for all else.

    Such text is canonical if there is no white space between its strings, its keys are valid and rise, and its
    numbers are plain integers: nothing is left that could be spelled in another way. So few brackets nest no deeper.
    """
    if not data.isascii() or b"\\" in data:
        raise ValueError
    # Without escapes every quote begins or ends a string: every second piece stands outside of strings.
    between = b"".join(data.split(b'"')[::2])
    if between.split(None, 1) != [between] or between.count(b"{") + between.count(b"[") > DEEPEST_LEVEL:
        raise ValueError
    text = data.decode()
    value, end = _decode_plain(text)
    if end != len(text):
        raise ValueError
    return value


def _plain_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    keys = tuple(members)
    if len(keys) != len(pairs):
        raise ValueError
    if keys not in _orders:
        if len(keys) > _MOST_KEYS or list(keys) != sorted(keys) or not all(map(KEY.fullmatch, keys)):
            raise ValueError
        if len(_orders) >= _MOST_ORDERS:
            _orders.clear()
        _orders.add(keys)
    return members


def _plain_integer(text: str) -> int:
    number = _integer(text)
    if (not number and text != "0") or not -LARGEST_INTEGER <= number <= LARGEST_INTEGER:
        raise ValueError
    return number


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ProfileError("a key stands twice in one object")
    return members


def _integer(text: str) -> int:
    # Also keeps int() from the quadratic time, and the ValueError, of thousands of digits.
    if len(text) > _LONGEST_INTEGER:
        raise ProfileError("the number is larger than 2^53-1")
    return int(text)


def _no_number(_text: str) -> NoReturn:
    raise ProfileError("a number must be a plain integer")


_decode = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_no_number, parse_constant=_no_number
).decode
_decode_plain = json.JSONDecoder(
    object_pairs_hook=_plain_members,
    parse_int=_plain_integer,
    parse_float=_no_number,
    parse_constant=_no_number,
).raw_decode


# Subjects and tags, section 3.


def check_subject_id(subject_id: str) -> None:
    """Raise SubjectError unless `subject_id` may name a subject: 1 to 256 bytes in NFC, nothing invisible,
    no space at either end. Section 3.
    """
    if not subject_id:
        raise SubjectError("the id of a subject is empty")
    if _NOT_IN_IDS.search(subject_id):
        raise SubjectError("the id of a subject holds a control, format or surrogate code point")
    if subject_id[0] in _SPACES or subject_id[-1] in _SPACES:
        raise SubjectError("the id of a subject begins or ends with a space")
    if len(subject_id.encode()) > _SUBJECT_ID_BYTES:
        raise SubjectError(f"the id of a subject is longer than {_SUBJECT_ID_BYTES} bytes")
    if not unicodedata.is_normalized("NFC", subject_id):
        raise SubjectError("the id of a subject is not in NFC")


def tag(key: bytes, subject_type: str, subject_id: str) -> bytes:
    """The 32 bytes that stand for a subject in the log, under the 32-byte key of its type.

    Raises SubjectError for a type or id outside section 3, ValueError for a key of another length. Section 3.
    """
    if subject_type not in SUBJECT_TYPES:
        raise SubjectError("not one of the nine types of subject")
    check_subject_id(subject_id)
    if len(key) != _DIGEST_BYTES:
        raise ValueError("a tag key is 32 bytes")
    return hmac.digest(key, f"mandate-subject/v1\n{subject_type}\n{subject_id}".encode(), "sha256")


# Hashes, section 4.


def record_hash(body: bytes) -> bytes:
    """The 32-byte hash of a record's bytes, as it enters the log. The body is not checked. Section 4."""
    return hashlib.sha256(b"mandate-record/v1\n" + body).digest()


def commitment(salt: bytes, name: str, value: object) -> bytes:
    """The 32 bytes that bind a record to the plaintext `value` of its field `name`.

    `salt` is 32 bytes, fresh for every field. Raises ProfileError if the value is outside canonical JSON or
    the name is no key of it, ValueError for a salt of another length. Section 4.1.
    """
    return commitment_of_json(salt, name, canonical(value))


def commitment_of_json(salt: bytes, name: str, value_json: bytes) -> bytes:
    """As `commitment`, for a value that `canonical` has encoded already."""
    if len(salt) != _DIGEST_BYTES:
        raise ValueError("a salt is 32 bytes")
    if not _is_key(name):
        raise ProfileError(f"the name of a field must match {KEY.pattern}")
    named = len(name).to_bytes(2, "big") + name.encode()
    return hashlib.sha256(b"mandate-field/v1\n" + salt + named + value_json).digest()


# Records, section 4.


def read_record(body: bytes) -> dict[str, Any]:
    """The record whose bytes `body` is.

    Raises ProfileError if the bytes are not canonical JSON, ShapeError if they are no record. Section 4.
    """
    if len(body) > RECORD_BYTES:
        raise ShapeError(f"longer than {RECORD_BYTES} bytes")
    value = parse(body)
    _check_shape(value)
    return value


def check_record(value: dict[str, Any]) -> None:
    """Raise unless `value` is a record: ProfileError outside canonical JSON, ShapeError outside section 4.

    Says nothing about whether its links, tags or policy exist: that is for who holds the log.
    """
    if len(canonical(value)) > RECORD_BYTES:
        raise ShapeError(f"longer than {RECORD_BYTES} bytes")
    _check_shape(value)


def _check_shape(value: Any) -> None:
    _require_members(value, _MEMBERS, "")
    _require(type(value["v"]) is int and value["v"] == 1, "must be 1", "/v")
    _require_text(value["id"], ID, "/id")
    _require(type(value["ts_us"]) is int and value["ts_us"] > 0, "must be a number above 0", "/ts_us")
    _require_text(value["act"], ACT, "/act")
    _require(
        type(value["out"]) is str and value["out"] in OUTCOMES, "must be done, refused or proposed", "/out"
    )
    _require_text(value["policy"], HEX_DIGEST, "/policy")
    for member, pattern in _MAY_BE_NULL:
        if value[member] is not None:
            _require_text(value[member], pattern, f"/{member}")
    _require(type(value["p"]) is dict, "must be an object", "/p")
    _check_basis(value["basis"])
    _check_fields(value["sd"])
    subjects, links = value["subj"], value["links"]
    _require_sorted(subjects, HEX_DIGEST, "/subj")
    _require(1 <= len(subjects) <= MOST_SUBJECTS, f"must name 1 to {MOST_SUBJECTS} subjects", "/subj")
    _require_sorted(links, ID, "/links")
    _require(len(links) <= MOST_LINKS, f"must hold {MOST_LINKS} links at most", "/links")
    _require(value["id"] not in links, "must not hold the record's own id", "/links")
    _check_actor(value["by"], subjects)


def _check_basis(basis: Any) -> None:
    _require(type(basis) is list, "must be an array", "/basis")
    _require(len(basis) <= MOST_BASES, f"must hold {MOST_BASES} codes at most", "/basis")
    _require_texts(enumerate(basis), CODE, "/basis")
    _require(len(set(basis)) == len(basis), "must not repeat a code", "/basis")


def _check_fields(fields: Any) -> None:
    _require(type(fields) is dict, "must be an object", "/sd")
    _require(len(fields) <= MOST_FIELDS, f"must hold {MOST_FIELDS} fields at most", "/sd")
    _require_texts(fields.items(), HEX_DIGEST, "/sd")


def _check_actor(by: Any, subjects: list[str]) -> None:
    _require_members(by, _BY_MEMBERS, "/by")
    _require(type(by["kind"]) is str and by["kind"] in ACTOR_KINDS, "is no kind of actor", "/by/kind")
    if by["standing"] is not None:
        _require_text(by["standing"], NAME, "/by/standing")
    if by["kind"] == "system":
        _require(by["tag"] is None, "must be null for the system", "/by/tag")
    else:
        _require(type(by["tag"]) is str and by["tag"] in subjects, "must be one of subj", "/by/tag")


def _require_members(value: Any, members: frozenset[str], pointer: str) -> None:
    _require(type(value) is dict, "must be an object", pointer)
    if value.keys() == members:
        return
    for name in sorted(members - value.keys()):
        raise ShapeError("is missing", f"{pointer}/{name}")
    for name in sorted(value.keys() - members):
        raise ShapeError("has no place here", f"{pointer}/{name}")


def _require_sorted(value: Any, pattern: re.Pattern[str], pointer: str) -> None:
    _require(type(value) is list, "must be an array", pointer)
    _require_texts(enumerate(value), pattern, pointer)
    before = ""
    for text in value:
        if not before < text:
            raise ShapeError("must be sorted and without repeats", pointer)
        before = text


def _require_texts(items: Iterable[tuple[int | str, object]], pattern: re.Pattern[str], pointer: str) -> None:
    """Each of these (place or name, value) must be a text of this pattern."""
    matches = pattern.fullmatch
    for place, text in items:
        if type(text) is not str or not matches(text):
            raise ShapeError(f"must match {pattern.pattern}", f"{pointer}/{place}")


def _require_text(value: Any, pattern: re.Pattern[str], pointer: str) -> None:
    if type(value) is not str or not pattern.fullmatch(value):
        raise ShapeError(f"must match {pattern.pattern}", pointer)


def _require(holds: bool, reason: str, pointer: str) -> None:
    if not holds:
        raise ShapeError(reason, pointer)
