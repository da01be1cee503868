"""`mandate export`: a client of the API that takes a subject's evidence bundle away, whole or not at all."""

from __future__ import annotations

import http.client
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import rich_click as click

from service.commands import CommandError
from service.commands.client import Api
from service.commands.progress import bar

_CHUNK = 1 << 16
_LAST_LINE = b'{"kind":"end",'


class Wanted(NamedTuple):
    """Whose trail, for what; records number `start` to `end` - 1 of it, or all."""

    subject_type: str
    subject_id: str
    purpose: str
    start: int | None = None
    end: int | None = None
    state: Path | None = None
    """The verifier's memory of earlier checks: the bundle then shows that the log goes on from there."""

    def body(self) -> dict[str, Any]:
        """What is asked of the API. Raises CommandError."""
        body: dict[str, Any] = {
            "subject_type": self.subject_type,
            "subject_id": self.subject_id,
            "purpose": self.purpose,
        }
        if (self.start is None) != (self.end is None):
            raise CommandError("--from and --to go together: records number FROM to TO - 1, counted from 0")
        if self.end is not None:
            body |= {"from_record": self.start, "to_record": self.end}
        if self.state is not None and self.state.exists():
            body["old_size"] = _size_in(self.state)
        return body


def _size_in(state: Path) -> int:
    from service.trail.verify import Fault, State

    try:
        return State.parse(state.read_bytes()).size
    except (OSError, Fault):
        raise CommandError(
            f"{state} is no state of the verifier; leave --state out, or name its file"
        ) from None


def export(api: Api, wanted: Wanted, file: Path) -> None:
    """Take the bundle and put it into `file`; a crash or a broken connection leaves what was there. Raises CommandError."""
    with placed(file) as draft, api.stream("POST", "/v1/trail-exports", wanted.body()) as answer:
        length = answer.headers.get("content-length", "")
        total = int(length) if length.isdigit() else None
        last = b""
        try:
            with bar(f"{wanted.subject_type} {wanted.subject_id}", total, as_bytes=True) as reached:
                while chunk := answer.read(_CHUNK):
                    draft.write(chunk)
                    last = (last + chunk)[-_CHUNK:]
                    reached(draft.tell())
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"the connection broke ({error}); nothing was written, ask again") from None
        if total not in (None, draft.tell()) or not last.splitlines()[-1].startswith(_LAST_LINE):
            raise CommandError("the answer was cut off; nothing was written, ask again")
        size = draft.tell()
        record = answer.headers.get("x-record-id", "")
    click.echo(f"{file}: {size:,} bytes; this taking is on the record as {record}")


@contextmanager
def placed(file: Path) -> Iterator[IO[bytes]]:
    """Write a new file beside `file` and put it in its place when the block ends well. Raises CommandError."""
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise CommandError(f"cannot write into {file.parent}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as written:
            yield written
            written.flush()
            os.fsync(written.fileno())
        Path(draft).replace(file)
    except OSError as error:
        Path(draft).unlink(missing_ok=True)
        raise CommandError(f"cannot write {file}: {error.strerror}") from None
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
