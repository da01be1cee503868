"""Structured logs, one JSON object per line on standard error, set up once."""

import logging
import sys
from typing import Any, BinaryIO

import msgspec
import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_encode = msgspec.json.Encoder(enc_hook=repr).encode


def set_up(level: str = "info", stream: BinaryIO | None = None) -> None:
    """Send every log of the process, ours and the libraries', to one stream as JSON lines.

    `level` is debug, info, warning or error; `stream` is standard error unless given.
    """
    out = stream if stream is not None else sys.stderr.buffer
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        processors=[*before, structlog.processors.format_exc_info, _render],
        logger_factory=structlog.BytesLoggerFactory(file=out),  # type: ignore[arg-type]  a binary stream,
    )
    handler = _Lines(out)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    # Casbin writes each denial, with the request, as a warning; a denial is a record of ours, not a log line.
    logging.getLogger("casbin").setLevel(logging.ERROR)
    logging.getLogger("_granian").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def logger(name: str) -> Any:
    """Return the cached logger of a module; call it with an event and plain members."""
    return structlog.get_logger(source=name)


class _Lines(logging.Handler):
    """Writes a library's log record as one of our JSON lines."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        event: dict[str, Any] = {
            "source": record.name,
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = logging.Formatter().formatException(record.exc_info)
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        try:
            self._out.write(_encode(stamp(None, "", event)) + b"\n")
            self._out.flush()
        except (OSError, ValueError):
            self.handleError(record)


def _render(_logger: Any, _method: str, event: structlog.typing.EventDict) -> bytes:
    return _encode(event)
