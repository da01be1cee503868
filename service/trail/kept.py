"""The last signed checkpoint, kept in a file outside the database: by it a log that was set back is noticed (section 12)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.trail.note import Checkpoint, Note, NoteError


class LogRefused(Exception):
    """The log may not go on as it is; the message says why, and what to do."""


class Damaged(LogRefused):
    """The tables of the log contradict one another: somebody else wrote in them. The message names the row."""


@contextmanager
def undamaged(what: str) -> Iterator[None]:
    """Read tables of the log: what does not hold together is told of as Damaged, by what was read."""
    try:
        yield
    except (ValueError, LookupError, TypeError) as fault:
        raise Damaged(f"{what}: {fault or type(fault).__name__}") from fault


class Kept:
    """The file of the last checkpoint. Several processes of one machine may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Checkpoint | None:
        """The checkpoint kept, None before the first. Raises LogRefused if the file is no signed checkpoint."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as fault:
            raise LogRefused(
                f"{self.path} cannot be read ({fault}); let the service's user read it"
            ) from None
        try:
            return Checkpoint.parse(Note.parse(text).text)
        except NoteError as fault:
            raise LogRefused(
                f"{self.path} is no signed checkpoint ({fault}); put back its copy, or GET /checkpoint as last published"
            ) from None

    def keep(self, note: str) -> None:
        """Put a newer checkpoint in place: on disk before this returns. An older or the same one changes nothing.

        Raises LogRefused where another tree of the same size was signed. A crash leaves the old file or the new one.
        """
        new = Checkpoint.parse(Note.parse(note).text)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Else a slower process could put its older checkpoint over a newer one.
            fcntl.flock(folder, fcntl.LOCK_EX)
            old = self.read()
            if old is not None and old.origin == new.origin and old.size >= new.size:
                refuse_fork(old, new)
                return
            draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            with draft.open("w", encoding="utf-8") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self.path)
            os.fsync(folder)
        finally:
            os.close(folder)

    def put_aside(self) -> None:
        """Give the last checkpoint of a log that was ended a name of its own; the file is free for the next log."""
        old = self.read()
        if old is not None:
            self.path.rename(self.path.with_name(f"{self.path.name}.ended-at-{old.size}"))


def refuse_fork(old: Checkpoint, new: Checkpoint) -> None:
    """Raise LogRefused if two checkpoints of one size have different roots."""
    if old.size == new.size and old.root != new.root:
        raise LogRefused(
            f"the log of {old.size} entries is another one than was signed: signing it would prove us false; "
            "restore the database that goes on from the kept checkpoint, or set MANDATE_ORIGIN to a new name and run "
            "`mandate new-log`"
        )
