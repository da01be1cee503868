"""Step 1 of the verifier: lines under the limits, canonical, in order (trail-format section 9)."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, BinaryIO, Final

from service.trail.record import ProfileError, parse
from service.trail.verify.verdict import Fault

LINE_BYTES: Final = 1_048_576
"""The longest line, with its line end."""
MOST_LINES: Final = 2_000_000

_RECORD_MEMBERS = {
    "entry": str,
    "fields": dict,
    "gone": (str, type(None)),
    "index": int,
    "record": (str, type(None)),
    "withheld": dict,
}
_LINE_MEMBERS: Final[dict[str, dict[str, Any]]] = {
    "bundle": {"format": str, "origin": str, "range": list, "subject": dict},
    "checkpoint": {"note": str},
    "config": {"entry": str, "index": int},
    "consistency": {"hashes": list, "old_size": int},
    "map": {"bucket": list, "entry": str, "index": int, "path": list},
    "subject": {"left": list, "n": int, "right": list, "root": str},
    "record": _RECORD_MEMBERS,
    "cited": _RECORD_MEMBERS,
    "nodes": {"hashes": list},
    "end": {"lines": int, "sha256": str},
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
        before, digest, last, count = sha256(), sha256(), b"", 0
        while line := self._file.readline(LINE_BYTES + 1):
            count += 1
            if len(line) > LINE_BYTES or count > MOST_LINES:
                raise Fault("E_LIMIT", line=count)
            before = digest.copy()
            digest.update(line)
            last = line
        self._total = count
        self._seen = digest.digest()
        try:
            end = parse(last[:-1])
        except ProfileError:
            raise Fault("E_TRUNCATED", line=count) from None
        if not last.endswith(b"\n") or not _is_line(end, "end") or end["lines"] != count - 1:
            raise Fault("E_TRUNCATED", line=count)
        self._matches = end["sha256"] == before.hexdigest()

    def _load(self) -> str:
        """The kind of the next line, empty after the last. Raises E_CANON and E_FORMAT."""
        if self._kind is not None:
            return self._kind
        raw = self._file.readline(LINE_BYTES + 1)
        self._digest.update(raw)
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
        self.take("end")
        if self._load():
            raise Fault("E_FORMAT", line=self.number + 1)
        if not self._matches or self._digest.digest() != self._seen:
            raise Fault("E_TRUNCATED", line=self.number)


def _is_line(line: Any, kind: str) -> bool:
    members = _LINE_MEMBERS.get(kind)
    if members is None or type(line) is not dict or line.get("kind") != kind or len(line) != len(members) + 1:
        return False
    for name, types in members.items():
        if name not in line or not isinstance(line[name], types) or type(line[name]) is bool:
            return False
    return True
