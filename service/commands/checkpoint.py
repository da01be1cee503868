"""`mandate checkpoint`: what is carried by hand to a witness without a network, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from service.commands import CONFIG, CommandError, one_line_errors, settings_with_database
from service.settings import Settings
from service.trail.note import Checkpoint, Note, NoteError
from service.trail.verify.verdict import escaped

T = TypeVar("T")

_WITNESS = click.option("--witness", "name", help="Its name, where MANDATE_WITNESSES holds several.")


@click.group("checkpoint")
def commands() -> None:
    """Carry checkpoints to a witness without a network, and its signature back."""


@commands.command()
@CONFIG
@_WITNESS
@click.option(
    "--old", type=click.IntRange(0), help="Size the witness saw last, where it says another than we know of."
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def request(config: Path | None, name: str | None, old: int | None, file: Path) -> None:
    """Write the newest checkpoint, with the proof that it extends what the witness saw last, to FILE.

    The witness signs it with `mandate witness sign`. It must stand in MANDATE_WITNESSES, with `-` for its URL where it has no
    network.
    """
    with one_line_errors(), settings_with_database(config) as settings:

        async def write(db: Any) -> tuple[bytes, str]:
            from service.trail import cosigning, stored
            from service.trail.beginning import new_log

            witness = _named(settings, name)
            async with db.read() as reader:
                newest = await stored.sql.newest_checkpoint(reader)
                seen = old if old is not None else await cosigning.sql.seen_by(reader, vkey=str(witness.vkey))
            if newest is None:
                raise CommandError("nothing is signed yet")
            if (seen or 0) > newest["size"]:
                origin = Checkpoint.parse(Note.parse(newest["signed"]).text).origin
                raise CommandError(
                    f"the newest checkpoint is of {newest['size']} entries, the witness saw {seen}: this database was "
                    f"restored from an older backup, or the log was forked; restore one that holds them, or {new_log(origin)}"
                )
            made = await cosigning.request(db, newest["signed"], seen or 0)
            return bytes(made), f"{newest['size']} entries, for {witness.vkey.name} who saw {seen or 0}"

        made, told = _with_db(settings, write)
        try:
            file.write_bytes(made)
        except OSError as fault:
            raise CommandError(f"cannot write {file}: {fault.strerror}") from None
        click.echo(f"{escaped(str(file))}: a checkpoint of {told}")


@commands.command("add-cosignature")
@CONFIG
@_WITNESS
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def add_cosignature(config: Path | None, name: str | None, file: Path) -> None:
    """Keep the signature of a witness that FILE brings back; it is shown under its checkpoint from then on."""
    with one_line_errors(), settings_with_database(config) as settings:
        try:
            note = Note.parse(file.read_text(encoding="utf-8"))
            size = Checkpoint.parse(note.text).size
        except (OSError, UnicodeDecodeError, NoteError) as fault:
            raise CommandError(f"{file} is no answer of a witness: {fault}") from None

        async def keep(db: Any) -> str:
            from service.trail import cosigning, stored
            from service.trail.beginning import forked

            witness = _named(settings, name)
            async with db.read() as reader:
                ours = await stored.sql.checkpoint_of(reader, size=size)
            if ours is None or Note.parse(ours["signed"]).text != note.text:
                raise CommandError(
                    f"{file} signs a checkpoint of {size} entries that this log never signed: it is of another log, or the "
                    f"log was forked; keep the file, and {forked(Checkpoint.parse(note.text).origin)}"
                )
            try:
                lines = "".join(map(str, note.signatures))
                await cosigning.keep(db, ours["signed"], lines, witness.vkey)
            except cosigning.WitnessFailed as failed:
                raise CommandError(f"{file}: {failed}") from None
            return f"{witness.vkey.name} signed the checkpoint of {size} entries: GET /checkpoint/{size}"

        click.echo(_with_db(settings, keep))


def _named(settings: Settings, name: str | None) -> Any:
    from service.trail.cosigning import witnesses_of

    found = [one for one in witnesses_of(settings) if name in (None, one.vkey.name)]
    if len(found) != 1:
        known = ", ".join(one.vkey.name for one in witnesses_of(settings)) or "none"
        raise CommandError(f"say which witness: --witness NAME; MANDATE_WITNESSES holds {known}")
    return found[0]


def _with_db(settings: Settings, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    from service.db import Db, require_schema

    async def run() -> T:
        assert settings.dsn is not None  # noqa: S101  settings_with_database sets it
        db = await Db.open(settings.dsn, size=1, statement_cache=settings.statement_cache)
        try:
            await require_schema(db)
            return await work(db)
        finally:
            await db.close()

    return asyncio.run(run())
