"""What may be kept of an identity check: its outcome, its methods and an opaque reference; never the identity (P1)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from service.errors import Code, Refusal

Method = Literal["mobile", "id_document", "credit_code", "other"]
Methods = Annotated[list[Method], msgspec.Meta(max_length=4, description="The methods that were used.")]
Checked = Literal["verified", "failed", "withdrawn"]
Reference = Annotated[
    str,
    msgspec.Meta(
        max_length=512,
        description="The verifier's own opaque, salted reference: 16 to 128 of A-Z a-z 0-9 _ -, random and not words or a "
        "number, such as a UUID or a digest. Sealed in the record and shown to nobody.",
    ),
]

_RAW = "it holds a phone number, e-mail address or identity card number: say it without"
_NOT_OPAQUE = "a reference is 16 to 128 of A-Z a-z 0-9 _ - and random, such as a UUID or a digest: no words, no number of anybody"
_REFERENCE = re.compile(r"[A-Za-z0-9_-]{16,128}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"(?=[0-9]*[a-f])[0-9a-f]{32,128}", re.IGNORECASE)
_WORD = re.compile(r"(?:[A-Z][a-z]+|[a-z]+|[A-Z]+)(?:[A-Z][a-z]+)*[0-9]{0,6}|[0-9]{1,8}")

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[A-Za-z]{2,}")
_PHONE = re.compile(r"\+[1-9](?:[ -]?[0-9]){7,14}(?![A-Za-z0-9])")
_MOBILE = re.compile(r"(?<![A-Za-z0-9])1[3-9][0-9](?:[ -]?[0-9]{4}){2}(?![A-Za-z0-9])")
_PASSPORT = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{1,2}[0-9]{7,8}(?![A-Za-z0-9])")
_ID_CARD = re.compile(r"(?<![0-9])[1-9][0-9]{5}((?:19|20)[0-9]{6})[0-9]{3}[0-9Xx](?![0-9])")
_LONG_NUMBER = re.compile(r"[0-9]{11}")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_LETTERS = "10X98765432"


def is_id_card(number: str) -> bool:
    """Whether 18 characters are a Chinese identity number: a day of birth and a fitting check letter (GB 11643)."""
    try:
        dt.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number[:17], strict=True))
    return _CHECK_LETTERS[total % 11] == number[17].upper()


def looks_raw(text: str) -> bool:
    """Whether a text holds what looks like somebody's phone number, e-mail address or identity card number."""
    if any(kind.search(text) for kind in (_EMAIL, _PHONE, _MOBILE)):
        return True
    return any(is_id_card(found[0]) for found in _ID_CARD.finditer(text))


def is_opaque(reference: str) -> bool:
    """Whether a reference tells nothing by itself: 16 to 128 of `[A-Za-z0-9_-]`, random rather than words or numbers.

    A UUID or a digest in hexadecimal is; a name, an address or any number that somebody is known by is not.
    """
    if not _REFERENCE.fullmatch(reference):
        return False
    if _UUID.fullmatch(reference) or _HEX.fullmatch(reference):
        return True
    if looks_raw(reference) or _PASSPORT.search(reference) or _LONG_NUMBER.search(reference):
        return False
    return not all(_WORD.fullmatch(word) for word in re.split(r"[_-]+", reference) if word)


def refuse_raw(pointer: str, text: str | None) -> None:
    """Refuse `raw_identity` where a text holds somebody's number; the text goes nowhere, not even into the refusal."""
    if text is not None and looks_raw(text):
        raise Refusal(Code.RAW_IDENTITY, pointer=pointer, why=_RAW)


def check_verification(status: Checked, methods: Sequence[Method], reference: str | None) -> None:
    """Refuse `raw_identity`, `malformed` (verified or failed by no method, verified without reference)."""
    if reference is not None and not is_opaque(reference):
        raise Refusal(Code.RAW_IDENTITY, pointer="/identity_ref", why=_NOT_OPAQUE)
    if len(set(methods)) < len(methods):
        raise Refusal(Code.MALFORMED, pointer="/methods", why="the same method twice")
    if not methods and status != "withdrawn":
        raise Refusal(Code.MALFORMED, pointer="/methods", why="name the methods that were used")
    if reference is None and status == "verified":
        raise Refusal(Code.MALFORMED, pointer="/identity_ref", why="what was verified has a reference")


def kept(
    status: Checked, methods: Sequence[Method], reference: str | None, at: dt.datetime
) -> dict[str, Any]:
    """The identity columns after a check at `at`; of one that did not succeed only the outcome stays."""
    verified = status == "verified"
    return {
        "identity_status": status,
        "identity_methods": list(methods) if verified else [],
        "identity_ref": reference if verified else None,
        "verified_at": at if verified else None,
    }
