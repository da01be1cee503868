"""Hears the answers of a play and keeps one of each operation and status, cut so that a reader sees its shape."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from service.demo.client import Heard

JSON = ("application/json", "application/problem+json")
ITEMS = 2
"""So many items of a list are kept."""
LETTERS = 240
"""A longer line is cut."""
LINES = 12
"""So many lines of a text are kept."""
#: Members that are texts by name of any number: kept like a list.
_TEXTS_BY_NAME = ("files",)
#: What opens something: a little of it is kept, of which nobody can make use.
_SECRET = ("tag_keys",)
#: The description does not show itself a second time.
_SELF = {"openapi.read": ("openapi", "info", "servers")}


class Hearing:
    """The answer that says most, of each operation and status; of those that say as much, the first."""

    def __init__(self, paths: Mapping[str, Mapping[str, Any]]) -> None:
        """`paths` of the API's description tell which operation was asked."""
        self._operations = [
            (method.upper(), _pattern(path), operation["operationId"])
            for path, item in sorted(paths.items(), key=lambda one: (one[0].count("{"), one[0]))
            for method, operation in item.items()
        ]
        self._kept: dict[str, dict[str, dict[str, Any]]] = {}

    def __call__(self, heard: Heard) -> None:
        """Hear one answer."""
        place = heard.path.partition("?")[0]
        operation = next(
            (
                name
                for method, pattern, name in self._operations
                if method == heard.method and pattern.fullmatch(place)
            ),
            None,
        )
        if operation is None:
            return
        kept = self._kept.setdefault(operation, {})
        answer = shown(heard, only=_SELF.get(operation))
        before = kept.get(str(heard.status))
        if before is None or said(answer) > said(before["answer"]):
            kept[str(heard.status)] = {"asked": f"{heard.method} {heard.path}", "answer": answer}

    @property
    def answers(self) -> bytes:
        """All that was kept, by operation and status, in one order: what changes is seen in a comparison of lines."""
        return (json.dumps(self._kept, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _pattern(path: str) -> re.Pattern[str]:
    """A tile's index has slashes; no other part of a path has."""
    return re.compile(re.sub(r"\{(\w+)\}", lambda one: ".+" if one[1] == "index" else "[^/]+", path))


def shown(heard: Heard, *, only: Sequence[str] | None = None) -> Any:
    """What is shown of an answer, or of some members only: JSON as it is, texts as texts, bytes in base64; all of it cut."""
    if heard.media in JSON:
        answer = json.loads(heard.raw)
        return cut(answer if only is None else {name: answer[name] for name in only})
    if heard.media == "application/octet-stream":
        return base64.b64encode(heard.raw).decode()
    text = heard.raw.decode()
    if heard.media == "application/jsonl":
        lines = [json.dumps(cut(json.loads(line)), ensure_ascii=False) for line in text.splitlines()[:ITEMS]]
        return "".join(f"{line}\n" for line in lines)
    return "".join(text.splitlines(keepends=True)[:LINES])


def cut(value: Any) -> Any:
    """The same with at most `ITEMS` items a list and texts of `LINES` lines of `LETTERS` letters."""
    if isinstance(value, list):
        return [cut(one) for one in value[:ITEMS]]
    if isinstance(value, dict):
        return {name: _member(name, one) for name, one in value.items()}
    return "\n".join(_line(one) for one in value.split("\n")[:LINES]) if isinstance(value, str) else value


def _member(name: str, value: Any) -> Any:
    if name in _TEXTS_BY_NAME and isinstance(value, dict):
        return cut(dict(sorted(value.items())[:ITEMS]))
    if name in _SECRET and isinstance(value, dict):
        return {kind: f"{one[:4]}…" for kind, one in value.items()}
    return cut(value)


def _line(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS // 2]}…"


def said(value: Any) -> int:
    """How many values an answer tells that are not empty."""
    if isinstance(value, dict):
        return sum(said(one) for one in value.values())
    if isinstance(value, list):
        return sum(said(one) for one in value)
    return int(value not in (None, "", False))
