"""`mandate replay`: the auditor's replay, fed by a running service or by a file of entries."""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import rich_click as click

from service.commands import CommandError
from service.commands.client import Api
from service.commands.export import placed
from service.commands.progress import bar
from service.trail.audit import Audit
from service.trail.replay import read_stream
from service.trail.verify import Fault, Policy

_BUFFER = 1 << 20
_TELL_EVERY = 2_000
_NOTE_BYTES = 16_384
_WITNESS_SECONDS = 3.0
"""How long witnesses may sign after the newest checkpoint was fetched: as long as an export waits for them."""
_ASK_EVERY_SECONDS = 0.25


class Given(NamedTuple):
    """What the auditor brings. `entries`: a file of entries instead of the service."""

    policy: Path
    entries: Path | None = None
    state: Path | None = None
    checkpoints: tuple[Path, ...] = ()


def replay(given: Given, api: Api | None, lang: str) -> int:
    """Replay, say in words what came of it, keep the state; returns 0, 2 or 3. Raises CommandError.

    Whatever stops it but a difference (Ctrl-C, a broken connection) leaves a state from which the next run goes on.
    """
    newest = None
    if api is not None:
        newest = api.fetch("/checkpoint", _NOTE_BYTES + 1).decode("utf-8", "replace")
    audit = Audit(trusted(given.policy), [_text(path) for path in given.checkpoints], newest)
    try:
        if given.state is not None and given.state.exists():
            with given.state.open("rb") as file:
                audit.go_on(file)
        _fed(audit, given, api)
    except Fault as fault:
        audit.fault = fault
    except (CommandError, KeyboardInterrupt):
        _keep(audit, given.state)
        raise
    else:
        _keep(audit, given.state)
        try:
            if api is not None:
                _witnessed(audit, api)
            audit.settle()
        except Fault as fault:
            audit.fault = fault
    click.echo(audit.text(lang), nl=False)
    return audit.exit_code


def _witnessed(audit: Audit, api: Api) -> None:
    """Fetch the newest checkpoint again, by its size, until enough witnesses signed it or the time is over. Raises Fault."""
    end = time.monotonic() + _WITNESS_SECONDS
    while not audit.witnessed and time.monotonic() < end:
        time.sleep(_ASK_EVERY_SECONDS)
        try:
            note = api.fetch(f"/checkpoint/{audit.last}", _NOTE_BYTES + 1)
        except CommandError:
            # What it does not show counts as unsigned: a service must not turn a rejection into no verdict.
            return
        audit.again(note.decode("utf-8", "replace"))


def _fed(audit: Audit, given: Given, api: Api | None) -> None:
    """Feed the audit. Raises Fault, CommandError."""
    last = audit.last
    with _entries(given, api, audit.start, last) as stream, bar("entries", last) as reached:
        try:
            for size in audit.run(read_stream(stream)):
                if not size % _TELL_EVERY:
                    reached(size)
        except ValueError:
            if api is None:
                raise Fault("E_TRUNCATED", undecided=True) from None
            raise CommandError("the entries were cut off; run it again, it goes on from its state") from None
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(
                f"the entries broke off ({error}); run it again, it goes on from its state"
            ) from None


@contextmanager
def _entries(given: Given, api: Api | None, start: int, end: int) -> Iterator[BinaryIO]:
    """The stream of entries from `start` on: of the file, or of the service up to `end`."""
    if api is None:
        if given.entries is None:
            raise CommandError("name a file of entries, or a service")
        try:
            file = given.entries.open("rb")
        except OSError as error:
            raise CommandError(f"cannot read {given.entries}: {error.strerror}") from None
        with file:
            yield file
    elif start >= end:
        yield io.BytesIO()
    else:
        with api.stream("GET", f"/v1/log-entries?start={start}&end={end}") as answer:
            yield io.BufferedReader(cast(io.RawIOBase, answer), _BUFFER)


def _keep(audit: Audit, state: Path | None) -> None:
    if state is None or audit.replay.size == 0:
        return
    with placed(state) as file:
        audit.replay.save(cast(BinaryIO, file))
    audit.state = state


def trusted(policy: Path) -> Policy:
    """The trust file of the verifier. Raises CommandError."""
    try:
        return Policy.parse(policy.read_bytes())
    except OSError as error:
        raise CommandError(f"cannot read {policy}: {error.strerror}") from None
    except Fault as fault:
        raise CommandError(f"{policy} is no trust file of the verifier (its {fault.name})") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the checkpoint {path}: {error}") from None
