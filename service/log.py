"""Structured logs, one JSON object per line on standard error, set up once."""

import logging
import sys
import time
import traceback
from functools import lru_cache
from types import TracebackType
from typing import Any, BinaryIO

import msgspec
import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_MOST_CAUSES = 8


def _name(value: Any) -> str:
    """What stands for a value that is no JSON: its kind, for its text may hold anything."""
    return f"<{type(value).__name__}>"


_encode = msgspec.json.Encoder(enc_hook=_name).encode


def set_up(level: str = "info", stream: BinaryIO | None = None) -> None:
    """Send every log of the process, ours and the libraries', to one stream as JSON lines.

    `level` is debug, info, warning or error; `stream` is standard error unless given.
    """
    out = _Out(stream if stream is not None else sys.stderr.buffer)
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        processors=[_render],
        logger_factory=structlog.BytesLoggerFactory(file=out),  # type: ignore[arg-type]  a binary stream,
    )
    handler = _Lines(out)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    # Casbin writes each denial, with the request, as a warning; a denial is a record of ours, not a log line.
    logging.getLogger("casbin").setLevel(logging.ERROR)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def logger(name: str) -> Any:
    """Return the cached logger of a module; call it with an event and plain members."""
    return structlog.get_logger(source=name)


def trace(error: BaseException | None) -> str:
    """Tell where an error arose: kinds, places and the database's code and constraint, for it and its causes.

    Never a message, a local or a line of data: PostgreSQL's messages quote whole rows, others the value at fault.
    """
    told: list[str] = []
    while error is not None and len(told) < _MOST_CAUSES:
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        marks = [
            f" {name}={value}"
            for name in ("sqlstate", "constraint_name", "errno")
            if isinstance(value := getattr(error, name, None), str | int)
        ]
        frames = [f"  {one.filename}:{one.lineno} {one.name}" for one in _frames(error.__traceback__)]
        told.append("\n".join([kind + "".join(marks), *frames]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by ".join(told)


def _frames(where: TracebackType | None) -> traceback.StackSummary:
    return traceback.StackSummary.extract(traceback.walk_tb(where), lookup_lines=False)


def _now() -> str:
    second, fraction = divmod(time.time_ns() // 1_000, 1_000_000)
    return f"{_second(second)}.{fraction:06d}Z"


@lru_cache(maxsize=4)
def _second(since_1970: int) -> str:
    """A second in UTC; thousands of lines share one."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_1970))


class _Out:
    """Where lines go. One that cannot be written is dropped and counted: a full disk or a reader gone away stops no act.

    The first line that goes through again comes after one that says how many were lost.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, line: bytes) -> None:
        try:
            if self._lost:
                self._stream.flush()
                lost = {"event": "log.lines_lost", "lines": self._lost, "level": "error", "timestamp": _now()}
                self._stream.write(_encode(lost) + b"\n")
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):
            self._lost += 1
        else:
            self._lost = 0

    def flush(self) -> None:
        """Nothing is held."""


class _Lines(logging.Handler):
    """Writes a library's log record as one of our JSON lines."""

    def __init__(self, out: _Out) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        event: dict[str, Any] = {
            "source": record.name,
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if record.name == "asyncio":
            # Its further lines are the repr of tasks and errors.
            event["event"] = event["event"].partition("\n")[0]
        if record.exc_info:
            event["exception"] = trace(record.exc_info[1])
        event["timestamp"] = _now()
        self._out.write(_encode(event) + b"\n")


def _render(_logger: Any, level: str, event: structlog.typing.EventDict) -> bytes:
    """The one processor: two lines are written for each act, so each step more would be paid for twice."""
    event["level"] = level
    event["timestamp"] = _now()
    if failed := event.pop("exc_info", None):
        event["exception"] = trace(failed if isinstance(failed, BaseException) else sys.exc_info()[1])
    return _encode(event)
