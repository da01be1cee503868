"""The one clock: real in production, set by tests, read from a file by the demo.

Every instant of the house is UTC and whole milliseconds, so that what is recorded is what was decided on.
"""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


InstantText = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""An instant as answers write it: the text of `instant_text`."""


class Clock:
    """The real clock."""

    def now(self) -> datetime:
        """Return the present instant, UTC, truncated to milliseconds."""
        return truncated(datetime.now(UTC))


class SetClock(Clock):
    """A clock that stands still until a test moves it."""

    def __init__(self, at: datetime) -> None:
        self._at = truncated(at)

    def now(self) -> datetime:
        """Return the instant the clock stands at."""
        return self._at

    def set(self, at: datetime) -> None:
        """Put the clock to an instant, forwards or backwards."""
        self._at = truncated(at)

    def advance(self, seconds: float) -> None:
        """Move the clock by so many seconds."""
        self._at = truncated(self._at + timedelta(seconds=seconds))


class FileClock(Clock):
    """A clock read from a file at each call, so that the demo can move several processes at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> datetime:
        """Return the instant in the file; raises ValueError, naming the file, when there is none."""
        try:
            return parse_instant(self._path.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            raise ValueError(f"the clock file {self._path} holds no instant: {error}") from error


def truncated(at: datetime) -> datetime:
    """Return the instant in UTC, cut (not rounded) to milliseconds; raises ValueError without a time zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


@lru_cache(maxsize=4_096)
def instant_text(at: datetime) -> str:
    """Return RFC 3339 text with exactly three decimals and Z."""
    return truncated(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """Read RFC 3339 text with a time zone; finer parts than milliseconds are cut.

    Raises ValueError for anything else, also for dates without a time and instants without a zone.
    """
    if not _INSTANT.fullmatch(text):
        raise ValueError(f"{text!r} is not an instant like 2026-11-22T14:30:00.000Z")
    return truncated(datetime.fromisoformat(text.upper()))


@lru_cache(maxsize=4_096)
def to_us(at: datetime) -> int:
    """Return microseconds since 1970-01-01T00:00:00Z; always a multiple of 1,000 for instants of this house."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """Return the instant so many microseconds after 1970-01-01T00:00:00Z."""
    return _EPOCH + timedelta(microseconds=us)


def later(at: datetime, months: int) -> datetime:
    """The same day so many calendar months later, or the last day of a shorter month."""
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    return at.replace(year=year, month=month + 1, day=min(at.day, monthrange(year, month + 1)[1]))
