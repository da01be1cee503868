"""`mandate keys trail`: the keys that sign the log, and what a reader must hold of them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import rich_click as click

from service.commands import CONFIG, OUTPUT, CommandError, one_line_errors, settings_with_database, shown
from service.settings import Settings

if TYPE_CHECKING:
    from service.db import Db
    from service.trail.logkeys import KeyRange
    from service.trail.sequencer import Sequencer

    Work = Callable[[Db, Sequencer, Path], Awaitable[list[KeyRange]]]


@click.group("trail")
def commands() -> None:
    """List, rotate and retire the key that signs the log; export what a reader must hold."""


@commands.command("list")
@CONFIG
@OUTPUT
def list_keys(config: Path | None, output: str) -> None:
    """List the keys of the log and the sizes for which each counts."""
    with one_line_errors(), settings_with_database(config) as settings:
        _print(_with_log(settings, _known), output)


@commands.command()
@CONFIG
@OUTPUT
def rotate(config: Path | None, output: str) -> None:
    """Make a new key for the log, and let it sign beside the old one.

    The new key is announced in the log itself, signed by both. A service that runs takes it up by itself with its next
    checkpoint. Then: copy the keys folder (also to other machines that sequence), give readers and witnesses the new key
    (`export-trust`), and when all have it, `mandate keys trail retire`.
    """
    with one_line_errors(), settings_with_database(config) as settings:

        async def change(db: Any, sequencer: Any, folder: Path) -> list[KeyRange]:
            from service.trail import rotation

            await rotation.rotate(db, sequencer, folder)
            return await _known(db)

        _print(_with_log(settings, change), output)
        click.echo(
            "Both keys sign now. Copy log-next.key to your backup; when readers and witnesses have the new key: "
            "mandate keys trail retire",
            err=True,
        )


@commands.command()
@CONFIG
@click.option(
    "--to-size",
    type=click.IntRange(2),
    help="For a stolen key: the first log size at which it counts no more, the last witnessed one plus 1.",
)
@OUTPUT
def retire(config: Path | None, to_size: int | None, output: str) -> None:
    """End the old key after a rotation: it signs no more, and its file is replaced by the new one."""
    with one_line_errors(), settings_with_database(config) as settings:

        async def end(db: Any, sequencer: Any, folder: Path) -> list[KeyRange]:
            from service.trail import rotation

            return await rotation.retire(db, sequencer, folder, to_size)

        _print(_with_log(settings, end), output)
        click.echo("The new key is in log.key; copy the keys folder to your backup.", err=True)


@commands.command("export-trust")
@click.option(
    "--tag-keys/--no-tag-keys",
    default=False,
    show_default=True,
    help="With the secret tag keys, for auditors and compliance; asked for with your key.",
)
@click.option(
    "--log", metavar="ORIGIN", help="A log that was ended, by its name, in place of the one that stands."
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write, for its owner alone."
)
@click.pass_obj
def export_trust(
    where: tuple[str, Path | None], out: Path | None, log: str | None, *, tag_keys: bool
) -> None:
    """Write what the verifier takes as given: keys of the log by size, of receipts and of witnesses.

    Without tag keys it is public; a reader who is to check bundles needs those of his types too. Give it to readers by
    another way than the bundles.
    """
    with one_line_errors():
        from service.commands.client import Api, opened
        from service.trail.record import canonical

        api = opened(where) if tag_keys else Api(where[0], "")
        named = "" if log is None else f"?log={quote(log, safe='')}"
        path = "/v1/trust" if tag_keys else "/.well-known/mandate-trust.json"
        trust = api.ask("GET", path + named)
        text = canonical(trust) + b"\n"
        if out is None:
            sys.stdout.buffer.write(text)
            return
        try:
            file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as opened_file:
                os.fchmod(opened_file.fileno(), 0o600)
                opened_file.write(text)
        except OSError as fault:
            raise CommandError(f"cannot write {out}: {fault.strerror}") from None


def begin_anew(settings: Settings) -> None:
    """End the log and begin another one under the name that is set. Raises CommandError, LogRefused."""
    from service.trail import succession
    from service.trail.kept import Kept
    from service.trail.note import Checkpoint, Note

    if settings.migration_dsn is None:
        raise CommandError("set MANDATE_MIGRATION_DSN to the address of the tables' owner")
    owner = settings.migration_dsn
    kept = Kept(settings.data / "checkpoint").read()
    note = None if kept else asyncio.run(succession.last_checkpoint(owner))
    last = kept or (Checkpoint.parse(Note.parse(note).text) if note else None)
    if last is None:
        raise CommandError(
            "there is no signed checkpoint to go on from: the log that is there can simply be used"
        )
    if last.origin == settings.origin:
        raise CommandError(
            f"set MANDATE_ORIGIN to a new name, for good: {settings.origin} is that of the log to be ended"
        )
    schema = asyncio.run(_begin(settings, owner, last))
    click.echo(f"{last.origin} ended with {last.size} entries; its tables are in the schema {schema}.")
    _print(_with_log(settings, _known), "table")
    click.echo("Tell readers and witnesses the new key, and start the service.", err=True)


async def _begin(settings: Settings, owner: str, last: Any) -> str:
    from service.clock import Clock, FileClock, to_us
    from service.commands.policy import known_actions
    from service.db import Db
    from service.editions import Editions
    from service.trail import succession
    from service.trail.beginning import entry_0, genesis_body
    from service.trail.note import Signer
    from service.trail.own_keys import own_keys

    known_actions()  # else the edition's lines speak of nothing that is known
    clock = FileClock(settings.clock_file) if settings.clock_file else Clock()
    db = await Db.open(settings)
    try:
        keys = await own_keys(db, settings.data / "keys")
        async with db.read() as reader:
            there = await entry_0(reader)
        if there is not None and there.origin != last.origin:
            raise CommandError(
                f"the log in the database is {there.origin}, but the last checkpoint is one of {last.origin}: restore the "
                "database and the data folder of the same log"
            )
        editions = await Editions.open(db, settings.policies, clock, cache=settings.data / "cache")
        edition = editions.at(clock.now()).edition
    finally:
        await db.close()
    log_key = Signer(settings.origin, keys.log_seed).vkey
    body = genesis_body(log_key, keys, settings.map_bits, settings.merge_seconds * 1_000_000, edition, last)
    return await succession.begin_anew(owner, to_us(clock.now()), body)


async def _known(db: Any, _sequencer: Any = None, _folder: Any = None) -> list[KeyRange]:
    """The keys of the log."""
    from service.trail import logkeys

    async with db.read() as reader:
        return await logkeys.read(reader)


def _with_log(settings: Settings, work: Work) -> list[KeyRange]:
    """Do something with a log that may go on, beside a service that may be running. Raises LogRefused, KeysError."""
    from service.clock import Clock, FileClock
    from service.db import Db, require_schema
    from service.trail.beginning import entry_0
    from service.trail.own_keys import own_keys
    from service.trail.sequencer import Sequencer

    clock = FileClock(settings.clock_file) if settings.clock_file else Clock()
    folder = settings.data / "keys"

    async def run() -> list[KeyRange]:
        db = await Db.open(settings)
        try:
            await require_schema(db)
            keys = await own_keys(db, folder)
            async with db.read() as reader:
                if await entry_0(reader) is None:
                    raise CommandError("there is no log yet: start the service first")
            # The edition is for the first entry of a log only.
            sequencer = Sequencer.of(settings, db, keys, clock, str)
            await sequencer.start()
            return await work(db, sequencer, folder)
        finally:
            await db.close()

    return asyncio.run(run())


def _print(known: Iterable[KeyRange], output: str) -> None:
    shown(
        [{"vkey": str(one.vkey), "from_size": one.from_size, "to_size": one.to_size} for one in known], output
    )
