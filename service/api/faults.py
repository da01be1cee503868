"""What a decoder found at fault, as callers are told: where, and why, without the value: that may be a name or a number of somebody."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

_PLACE = re.compile(r" - at `(key in )?\$(.*)`$")
_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+|\.\.\.)\]")
_FIELD = re.compile(r"field `([^`]+)`")
_VALUE = re.compile(r"(Invalid (?:enum )?value) .*", re.DOTALL)
#: An escape of the first half of a pair that the second does not follow; msgspec reads on, to whatever end.
_HALF = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_MOST = 200


def pointer_of(message: str) -> str:
    """The JSON pointer of the member that a validation message speaks of."""
    return "".join(f"/{step}" for step in _steps(message))


def plain(error: Exception | str) -> str:
    """What a decoder says, without the place and the value."""
    return _VALUE.sub(r"\1", _PLACE.sub("", str(error)))[:_MOST]


def unread(error: Exception, body: bytes) -> str:
    """Why `body` is no JSON."""
    said = plain(error)
    if "surrogate" in said or ("truncated" in said and _HALF.search(body)):
        return "a \\u escape is half of a surrogate pair: no character"
    return said


def misshaped(message: str, kind: Any) -> str:
    """Why a value is none of `kind`; where it takes a few words only, with these, as many as there is room for."""
    said = plain(message)
    if not message.startswith("Invalid enum value"):
        return said
    words = [str(one) for one in _words(_described(kind), _steps(message))]
    return f"{said}: one of {', '.join(words)}"[:_MOST] if words else said


def _steps(message: str) -> list[str]:
    place = _PLACE.search(message)
    steps = [first or second for first, second in _STEP.findall(place[2])] if place else []
    if "missing required" in message or "unknown field" in message:
        steps += _FIELD.findall(message)
    return steps


@cache
def _described(kind: Any) -> Any:
    return msgspec.inspect.type_info(kind)


def _words(kind: Any, steps: Sequence[str]) -> list[Any]:
    """The words that a type takes at a place inside it."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _words(kind.type, steps)
    if isinstance(kind, msgspec.inspect.UnionType):
        return [word for one in kind.types for word in _words(one, steps)]
    if not steps:
        if isinstance(kind, msgspec.inspect.EnumType):
            return [one.value for one in kind.cls]
        return list(kind.values) if isinstance(kind, msgspec.inspect.LiteralType) else []
    step, *rest = steps
    if isinstance(kind, msgspec.inspect.StructType):
        return [word for one in kind.fields if one.encode_name == step for word in _words(one.type, rest)]
    if isinstance(kind, msgspec.inspect.CollectionType):
        return _words(kind.item_type, rest)
    return _words(kind.value_type, rest) if isinstance(kind, msgspec.inspect.DictType) else []
