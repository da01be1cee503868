"""`mandate export`: a client of the API that takes a subject's evidence bundle away, whole or not at all."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

import rich_click as click

from service.commands import CommandError
from service.commands.client import Api
from service.commands.progress import bar
from service.policy import digest
from service.trail.verify.verdict import escaped

_CHUNK = 1 << 16
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
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
    log: str | None = None
    """Name of a log that was ended; the one that stands if none."""

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
        if self.log is not None:
            body["log"] = self.log
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


def export(api: Api, wanted: Wanted, file: Path) -> str:
    """Take the bundle and put it into `file`; return the id of the record of this taking.

    A crash or a broken connection leaves what was there. Raises CommandError.
    """
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
    click.echo(f"{escaped(str(file))}: {size:,} bytes; this taking is on the record as {record}")
    return record


def take_editions(api: Api, file: Path, record: str) -> None:
    """Put every edition of the policy that records of a bundle name beside it: `FILE.editions/<digest>/`, file by file.

    What does not have the digest that the records name is not kept. `record`: that of the taking. Raises CommandError.
    """
    digests = sorted(_editions_in(file))
    folder = file.with_name(f"{file.name}.editions")
    for number in digests:
        path = f"/v1/trail-exports/{quote(record, safe='')}/editions/{number}"
        files = {str(name): str(text).encode() for name, text in api.ask("GET", path)["files"].items()}
        if digest(files) != number:
            raise CommandError(f"what the service calls edition {number} has another digest: it was altered")
        if not all(map(_FILE_NAME.fullmatch, files)):
            raise CommandError(f"edition {number} has a file of a strange name; nothing of it was written")
        (folder / number).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            with placed(folder / number / name) as written:
                written.write(data)
    beside = escaped(str(folder))
    click.echo(f"{beside}: {len(digests)} edition(s) of the policy, each of the digest that its records name")


def _editions_in(bundle: Path) -> set[str]:
    """The digests of the editions under which the records of a bundle were made."""
    with bundle.open("rb") as lines:
        shown = (json.loads(line) for line in lines if b'"kind":"record"' in line)
        bodies = (base64.b64decode(line["record"]) for line in shown if line.get("record"))
        return {json.loads(body)["policy"] for body in bodies}


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
