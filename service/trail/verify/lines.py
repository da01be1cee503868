"""Step 1 of the verifier: lines under the limits, canonical, in order (trail-format section 9)."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, BinaryIO, Final

from service.trail.record import ProfileError, parse
from service.trail.verify.verdict import Fault

LINE_BYTES: Final = 1_048_576
"""The longest line, with its line end."""
MOST_LINES: Final = 2_000_000

_TEXT, _NUMBER, _ARRAY, _OBJECT = (str,), (int,), (list,), (dict,)
_TEXT_OR_NULL = (str, type(None))
_RECORD_MEMBERS = {
    "entry": _TEXT,
    "fields": _OBJECT,
    "gone": _TEXT_OR_NULL,
    "index": _NUMBER,
    "kind": _TEXT,
    "record": _TEXT_OR_NULL,
    "withheld": _OBJECT,
}
_LINE_MEMBERS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "bundle": {"format": _TEXT, "kind": _TEXT, "origin": _TEXT, "range": _ARRAY, "subject": _OBJECT},
    "checkpoint": {"kind": _TEXT, "note": _TEXT},
    "config": {"entry": _TEXT, "index": _NUMBER, "kind": _TEXT},
    "consistency": {"hashes": _ARRAY, "kind": _TEXT, "old_size": _NUMBER},
    "map": {"bucket": _ARRAY, "entry": _TEXT, "index": _NUMBER, "kind": _TEXT, "path": _ARRAY},
    "subject": {"kind": _TEXT, "left": _ARRAY, "n": _NUMBER, "right": _ARRAY, "root": _TEXT},
    "record": _RECORD_MEMBERS,
    "cited": _RECORD_MEMBERS,
    "nodes": {"hashes": _ARRAY, "kind": _TEXT},
    "end": {"kind": _TEXT, "lines": _NUMBER, "sha256": _TEXT},
}


class Lines:
    """The lines of a bundle, one after another, by kind.

    The file is read twice: once for its end line, so that a cut-off file is called cut off; then for its
    content, one line in memory at a time. `number` is the line last taken, from 1.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()
        self.number = 0
        self._kind: str | None = None
        self._line: dict[str, Any] = {}
        self._survey()
        file.seek(0)

    def _survey(self) -> None:
        """Read to the end; raise E_LIMIT and E_TRUNCATED. Only a wrong hash is left for `close` to say."""
        digest, last, count = sha256(), b"", 0
        while line := self._file.readline(LINE_BYTES + 1):
            count += 1
            if len(line) > LINE_BYTES or count > MOST_LINES:
                raise Fault("E_LIMIT", line=count)
            digest.update(last)
            last = line
        self._seen = digest.digest()
        try:
            end = parse(last[:-1])
        except ProfileError:
            raise Fault("E_TRUNCATED", line=count) from None
        if not last.endswith(b"\n") or not _is_line(end, "end") or end["lines"] != count - 1:
            raise Fault("E_TRUNCATED", line=count)
        self._end = end

    def _load(self) -> str:
        """The kind of the next line, empty after the last. Raises E_CANON and E_FORMAT."""
        if self._kind is not None:
            return self._kind
        raw = self._file.readline(LINE_BYTES + 1)
        if not raw:
            self._kind = ""
            return ""
        number = self.number + 1
        if len(raw) > LINE_BYTES:
            raise Fault("E_LIMIT", line=number)
        try:
            line = parse(raw[:-1])
        except ProfileError:
            raise Fault("E_CANON", line=number) from None
        kind = line.get("kind") if type(line) is dict else None
        if type(kind) is not str or not _is_line(line, kind):
            raise Fault("E_FORMAT", line=number)
        if kind != "end":
            self._digest.update(raw)
        self._kind, self._line = kind, line
        return kind

    def is_next(self, kind: str) -> bool:
        """Whether a line of this kind comes next."""
        return self._load() == kind

    def take(self, kind: str) -> dict[str, Any]:
        """The next line, which must be of this kind; E_FORMAT otherwise."""
        if self._load() != kind:
            raise Fault("E_FORMAT", line=self.number + 1)
        self._kind = None
        self.number += 1
        return self._line

    def every(self, kind: str) -> Iterator[dict[str, Any]]:
        """All lines of this kind that come next, perhaps none."""
        while self._load() == kind:
            yield self.take(kind)

    def close(self) -> None:
        """Take the end line. Raises E_FORMAT if it is not last, E_TRUNCATED if the hash is not as it says."""
        end = self.take("end")
        if self._load():
            raise Fault("E_FORMAT", line=self.number + 1)
        same = end == self._end and self._digest.digest() == self._seen
        if not same or end["sha256"] != self._seen.hex():
            raise Fault("E_TRUNCATED", line=self.number)


def _is_line(line: Any, kind: str) -> bool:
    members = _LINE_MEMBERS.get(kind)
    if members is None or type(line) is not dict or line.keys() != members.keys() or line["kind"] != kind:
        return False
    # Exactly these types: a bool is an int.
    return all(type(line[name]) in types for name, types in members.items())
