"""The writer's side of the record profile: makes the bytes of a record, fast, and refuses what readers would.

`record` is the authority on the format; what is written here equals what `record.canonical` would write.
"""

import os
import re
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from service.trail import record
from service.trail.record import ShapeError

# Policies, reasons and acts are few, so their checks are remembered; the bound is for the day they are not.
_REMEMBERED = 4_096
_RANDOM_BITS = 74
_RANDOM_AT_ONCE = 4_096
_DIGEST_BYTES = 32

_encode = msgspec.json.Encoder(order="sorted").encode


class Written(NamedTuple):
    """A record ready to be stored.

    `body` is its canonical bytes, `hash` its 32-byte record hash, `ts_us` its time in microseconds since 1970 UTC; `tags`
    are its 32-byte tags, sorted and without repeats, in the order of `subj`.
    """

    body: bytes
    hash: bytes
    id: str
    ts_us: int
    tags: tuple[bytes, ...] = ()


def sorted_tags(tags: Iterable[bytes]) -> tuple[bytes, ...]:
    """The tags in the order in which `subj` will name them, without repeats.

    A record's `p` may refer to a subject by its place in this order.
    """
    return tuple(sorted(set(tags)))


def write_record(
    *,
    id: str,  # noqa: A002 - the member's name
    ts_us: int,
    act: str,
    out: str,
    by_kind: str,
    by_standing: str | None,
    by_tag: bytes | None,
    rule: str | None,
    policy: str,
    why: str | None,
    basis: Sequence[str],
    p: dict[str, Any],
    sd: Mapping[str, bytes],
    tags: Iterable[bytes],
    links: Iterable[str],
    req: bytes | None,
) -> Written:
    """The record of section 4 with these members.

    `ts_us` is microseconds since 1970 UTC. `policy` is 64 hex digits. `sd` maps the name of a field to its
    32-byte commitment; `req` is the 32-byte SHA-256 of the idempotency key as received. Tags and links may
    come in any order and more than once; `basis` keeps its order.
    Raises ShapeError if this would be no record of section 4, ProfileError if `p` is outside canonical JSON.
    """
    id_json = _quoted(id, record.ID, "/id")
    subjects = sorted_tags(tags)
    if not 1 <= len(subjects) <= record.MOST_SUBJECTS:
        raise ShapeError(f"must name 1 to {record.MOST_SUBJECTS} subjects", "/subj")
    if not (type(ts_us) is int and 0 < ts_us <= record.LARGEST_INTEGER):
        raise ShapeError("must be a number above 0 and below 2^53", "/ts_us")
    if type(p) is not dict:
        raise ShapeError("must be an object", "/p")
    try:
        record.validate(p, 1)
    except record.ProfileError as fault:
        raise fault.below("p") from None

    # Every string below but those in p matches a pattern without a character that JSON escapes.
    body = (
        f'{{"act":{_word(act, record.ACT, "/act")}'
        f',"basis":{_basis(basis)}'
        f',"by":{_actor(by_kind, by_standing, by_tag, subjects)}'
        f',"id":{id_json}'
        f',"links":{_links(links, id)}'
        f',"out":{_one_of(out, record.OUTCOMES, "/out")}'
        f',"p":'
    ).encode() + _encode(p)
    body += (
        f',"policy":{_word(policy, record.HEX_DIGEST, "/policy")}'
        f',"req":{"null" if req is None else _hex(req, "/req")}'
        f',"rule":{"null" if rule is None else _word(rule, record.CODE, "/rule")}'
        f',"sd":{_fields(sd)}'
        f',"subj":{_subjects(subjects)}'
        f',"ts_us":{ts_us},"v":1'
        f',"why":{"null" if why is None else _word(why, record.NAME, "/why")}}}'
    ).encode()
    if len(body) > record.RECORD_BYTES:
        raise ShapeError(f"longer than {record.RECORD_BYTES} bytes")
    return Written(body, record.record_hash(body), id, ts_us, subjects)


def _quoted(text: str, pattern: re.Pattern[str], pointer: str) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise ShapeError(f"must match {pattern.pattern}", pointer)
    # An enum of strings formats as its value in some versions of Python and as its name in others.
    return f'"{str.__str__(text)}"'


# typed, so that an enum never answers with what was remembered for another type.
_word = lru_cache(maxsize=_REMEMBERED, typed=True)(_quoted)


def _one_of(text: str, words: frozenset[str], pointer: str) -> str:
    if not isinstance(text, str) or text not in words:
        raise ShapeError(f"must be one of {', '.join(sorted(words))}", pointer)
    return f'"{str.__str__(text)}"'


def _hex(digest: bytes, pointer: str) -> str:
    if type(digest) is not bytes or len(digest) != _DIGEST_BYTES:
        raise ShapeError("must be 32 bytes", pointer)
    return f'"{digest.hex()}"'


def _basis(basis: Sequence[str]) -> str:
    if not basis:
        return "[]"
    if isinstance(basis, str) or len(basis) > record.MOST_BASES:
        raise ShapeError(f"must hold {record.MOST_BASES} codes at most", "/basis")
    codes = [_word(code, record.CODE, "/basis") for code in basis]
    if len(set(codes)) != len(codes):
        raise ShapeError("must not repeat a code", "/basis")
    return f"[{','.join(codes)}]"


def _actor(kind: str, standing: str | None, tag: bytes | None, subjects: tuple[bytes, ...]) -> str:
    kind_json = _one_of(kind, record.ACTOR_KINDS, "/by/kind")
    standing_json = "null" if standing is None else _word(standing, record.NAME, "/by/standing")
    if kind == "system":
        if tag is not None:
            raise ShapeError("must be null for the system", "/by/tag")
        tag_json = "null"
    elif tag is None or tag not in subjects:
        raise ShapeError("must be one of subj", "/by/tag")
    else:
        tag_json = _hex(tag, "/by/tag")
    return f'{{"kind":{kind_json},"standing":{standing_json},"tag":{tag_json}}}'


def _links(links: Iterable[str], own_id: str) -> str:
    earlier = sorted(set(links))
    if not earlier:
        return "[]"
    if len(earlier) > record.MOST_LINKS:
        raise ShapeError(f"must hold {record.MOST_LINKS} links at most", "/links")
    if own_id in earlier:
        raise ShapeError("must not hold the record's own id", "/links")
    return f"[{','.join([_quoted(link, record.ID, '/links') for link in earlier])}]"


def _fields(fields: Mapping[str, bytes]) -> str:
    if not fields:
        return "{}"
    if len(fields) > record.MOST_FIELDS:
        raise ShapeError(f"must hold {record.MOST_FIELDS} fields at most", "/sd")
    return f"{{{','.join([_field(name, fields[name]) for name in sorted(fields)])}}}"


def _field(name: str, digest: bytes) -> str:
    return f"{_word(name, record.KEY, '/sd')}:{_hex(digest, '/sd')}"


def _subjects(subjects: tuple[bytes, ...]) -> str:
    return f"[{','.join([_hex(tag, '/subj') for tag in subjects])}]"


class _Ids:
    """UUIDv7 whose tail is random, and within one millisecond grows by random steps.

    Randomness is asked of the system for many ids at once: a call for each would be most of an id's cost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = -1
        self._tail = 0
        self._random = b""
        self._used = 0

    def _bytes(self, number: int) -> bytes:
        if self._used + number > len(self._random):
            self._random, self._used = os.urandom(_RANDOM_AT_ONCE), 0
        self._used += number
        return self._random[self._used - number : self._used]

    def make(self, ms: int) -> str:
        with self._lock:
            if ms == self._ms:
                self._tail += 1 + int.from_bytes(self._bytes(4))
            else:
                # The top bit stays free, so that the steps of one millisecond cannot run over.
                self._tail = int.from_bytes(self._bytes(10)) >> (80 - _RANDOM_BITS + 1)
                self._ms = ms
            tail = self._tail
        # 48 bits of time, version 7, 12 bits, variant 0b10, 62 bits.
        number = ms << 80 | 0x7 << 76 | (tail >> 62) << 64 | 0b10 << 62 | tail & (1 << 62) - 1
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_ids = _Ids()


def uuid7(ts_us: int) -> str:
    """A new UUIDv7 in lower-case text for an act at `ts_us` microseconds since 1970 UTC.

    Ids asked for one after another with the same millisecond are strictly increasing within one process.
    Raises ValueError outside 1 to 2^53-1. RFC 9562, sections 5.7 and 6.2 method 2.
    """
    if not 0 < ts_us <= record.LARGEST_INTEGER:
        raise ValueError("a time must be above 0 and below 2^53 microseconds")
    return _ids.make(ts_us // 1000)


def _forget_ids() -> None:
    # A forked child that went on counting from its parent's tail could meet the parent's ids.
    global _ids  # noqa: PLW0603
    _ids = _Ids()


os.register_at_fork(after_in_child=_forget_ids)


def clean_text(text: str) -> str:
    """User text in NFC, fit to enter a record.

    Raises ValueError if it holds a surrogate or a code point that the Unicode tables of this Python do not
    know: a reader with newer tables could find such a text not normal. Section 2.
    """
    if text.isascii():
        return text
    normal = unicodedata.normalize("NFC", text)
    kinds = {unicodedata.category(point) for point in set(normal)}
    if "Cs" in kinds:
        raise ValueError("the text holds a surrogate")
    if "Cn" in kinds:
        raise ValueError("the text holds a code point unknown to Unicode " + unicodedata.unidata_version)
    return normal
