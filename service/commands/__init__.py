"""Parts of the `mandate` command that are long enough for a file of their own, and how all of them speak."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rich_click as click

from service.settings import Settings, SettingsError

CONFIG = click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file of settings (else MANDATE_CONFIG)."
)
OUTPUT = click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)

LISTS = click.option(
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print.",
)


STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a command in good order: a supervisor, Ctrl-C, a terminal that is closed."""


def unwind_when_told() -> None:
    """Let each of `STOPPING` unwind as Ctrl-C does; who was started to outlive his terminal (`nohup`) does so."""
    for one in STOPPING:
        if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, signal.default_int_handler)


class CommandError(Exception):
    """What an operator can cure, in one sentence which says how."""


@contextmanager
def one_line_errors(code: int = 2) -> Iterator[None]:
    """Turn what an operator can cure into one line (for a policy folder: one for each fault) and this exit code."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from service.db import DatabaseUnavailable, EmbeddedError, MigrationError
        from service.founding import FoundingError
        from service.policy import PolicyError
        from service.trail.kept import LogRefused
        from service.trail.keys import KeysError
        from service.trail.verify.verdict import escaped

        # The app's lifespan runs in a task group, which wraps what it raises.
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        if isinstance(cause, PolicyError):
            for problem in cause.problems:
                click.echo(f"mandate: {problem}", err=True)
            sys.exit(code)
        known = (
            CommandError,
            SettingsError,
            DatabaseUnavailable,
            EmbeddedError,
            MigrationError,
            FoundingError,
            LogRefused,
            KeysError,
        )
        if not isinstance(cause, known):
            raise
        click.echo(f"mandate: {escaped(' '.join(str(cause).split()))}", err=True)
        sys.exit(code)


def hold_stdout() -> None:
    """Where standard output is closed, let what is printed fail, as on a full disk, and not pass for printed."""
    if sys.stdout is None:
        # It takes the place of standard output, so that no other file or connection comes to stand there.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")


def mute() -> None:
    """Let all that is still printed go nowhere, after standard output could not be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def tell(text: str) -> None:
    """Print what may go unread: that it cannot be written stops nothing, nor hides that the next cannot be either."""
    with suppress(OSError):
        click.echo(text)


UNJUDGED = 3
"""Exit code of a command that judges, where it could not; 2 would say that a proof failed."""
_UNWRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
_JUDGING = ("verify", "receipt", "replay")


class Whole(click.RichGroup):
    """All of the command: what cannot be written, standard output or a file, is told in one line, whoever wrote it."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> Any:
        """Run the command."""
        given = sys.argv[1:] if args is None else list(args)
        hold_stdout()
        try:
            try:
                return super().main(given, *rest, **more)
            finally:
                sys.stdout.flush()
        except OSError as error:
            if error.filename is None and error.errno not in _UNWRITTEN:
                raise
            mute()
            what = (
                f"{error.filename}: " if error.filename is not None else "cannot write what was asked for: "
            )
            click.echo(f"mandate: {what}{error.strerror}", err=True)
            sys.exit(UNJUDGED if given[:1] and given[0] in _JUDGING else 2)


class Judging(click.RichCommand):
    """A command that judges evidence: a mistaken command line proves nothing, and exits with 3."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.show()
            sys.exit(UNJUDGED)


@contextmanager
def settings_with_database(config: Path | None, *, new: bool = False) -> Iterator[Settings]:
    """Yield settings whose `dsn` is set, starting and migrating the embedded database when there is no other.

    Raises CommandError where it is not there yet, unless a `new` one may be made.
    """
    settings = Settings.read(file=config)
    if not settings.embedded:
        yield settings
        return
    from msgspec.structs import replace

    from service.db import Embedded, migrate

    if not new and not Embedded.exists(settings.data):
        raise CommandError(
            f"there is no house in {settings.data.expanduser().resolve()}; set MANDATE_DATA to its folder, MANDATE_DSN to "
            "its database, or begin one: mandate serve"
        )
    with Embedded.start(settings.data) as embedded:
        migrate(embedded.owner_dsn, say=tell, embedded=True)
        yield replace(settings, dsn=embedded.service_dsn, migration_dsn=embedded.owner_dsn)


class Later(click.RichGroup):
    """A group whose commands are imported when one of them is asked for, so that `mandate --help` is quick."""

    def __init__(self, *args: Any, module: str = "", **kwargs: Any) -> None:
        """`module`: where the group `commands` is."""
        super().__init__(*args, **kwargs)
        self._module = module

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return self._found().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Any:
        """Find one command."""
        return self._found().get_command(ctx, cmd_name)

    def _found(self) -> Any:
        from importlib import import_module

        return import_module(self._module).commands


def shown(rows: Sequence[Mapping[str, Any]], output: str, columns: Sequence[str] = ()) -> None:
    """Print rows of equal members as a table, as JSON, or as CSV (RFC 4180, UTF-8; lists with `|` between).

    `columns`: what the members are called, for a list that may be empty: it has its header all the same.
    """
    header = tuple(rows[0]) if rows else tuple(columns)
    if output == "csv":
        import csv

        lines = csv.writer(sys.stdout)
        lines.writerow(header)
        for row in rows:
            lines.writerow(
                ["|".join(map(str, one)) if isinstance(one, list | tuple) else one for one in row.values()]
            )
        return
    if output == "json":
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold", no_wrap=name in {"token", "secret"})
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, markup=False, width=width).print(table)


def _cell(value: Any) -> str:
    if value is None or value == []:
        return "-"
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)
