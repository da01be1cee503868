"""The `mandate` command. Each subcommand imports what it needs when it runs, so that --help is quick."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click

from service.commands import (
    CONFIG,
    OUTPUT,
    UNJUDGED,
    CommandError,
    Judging,
    Later,
    Whole,
    one_line_errors,
    settings_with_database,
    unwind_when_told,
)
from service.settings import Settings, SettingsError
from service.trail.record import SUBJECT_TYPES

click.rich_click.TEXT_MARKUP = "markdown"
_HELP = {"help_option_names": ["-h", "--help"]}
_url_option = click.option(
    "--url",
    envvar="MANDATE_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Address of the service (else MANDATE_URL).",
)
_key_file = click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="File that holds your own key (else the variable MANDATE_KEY).",
)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Whole, context_settings=_HELP)
def main() -> None:
    """Decide, apply and record every act of governance over groups and public accounts.

    Settings come from MANDATE_… variables, a TOML file, and MANDATE_…_FILE for secrets. Without MANDATE_DSN a
    PostgreSQL of its own is started under MANDATE_DATA (`.data`); `serve`, `demo`, `migrate` and `found` make a new one.
    """


@main.command()
@CONFIG
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
def serve(config: Path | None, host: str | None, port: int | None) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    The embedded database is migrated on the way, and in a new one a first staff is appointed whose keys are printed
    once; any other must already have this program's schema and be founded (`mandate found`).
    """
    # Until the server listens to them: so the embedded database is left properly.
    unwind_when_told()
    with one_line_errors(), settings_with_database(config, new=True) as found:
        from msgspec.structs import replace

        from service import log
        from service.commands.serving import serve_until_stopped

        log.set_up(found.log_level)
        settings = replace(found, host=host or found.host, port=found.port if port is None else port)
        serve_until_stopped(settings, own=Settings.read(file=config).embedded)


@main.command()
@CONFIG
def migrate(config: Path | None) -> None:
    """Bring the database's schema up to this program's.

    Takes MANDATE_MIGRATION_DSN, the address of the owner of the tables, without a pooler between.
    """
    with one_line_errors():
        from service.db import Embedded
        from service.db import migrate as apply

        settings = Settings.read(file=config)
        if settings.migration_dsn is not None:
            apply(settings.migration_dsn)
        elif settings.dsn is not None:
            raise SettingsError(
                "set MANDATE_MIGRATION_DSN to the address of the tables' owner; MANDATE_DSN may not migrate"
            )
        else:
            with Embedded.start(settings.data) as embedded:
                apply(embedded.owner_dsn, embedded=True)
        click.echo("The schema is up to date.")


@main.command()
@CONFIG
@click.option(
    "--staff",
    multiple=True,
    required=True,
    metavar="ID=STANDING,...[@PERSON]",
    help="One of the first staff and what they hold; @PERSON where they are an IM user too. Repeat.",
)
@click.option("--backend", "backends", multiple=True, help="Name of a key for an IM backend. Repeat.")
@OUTPUT
def found(config: Path | None, staff: tuple[str, ...], backends: tuple[str, ...], output: str) -> None:
    """Appoint the first staff and issue the first keys, printed once, in a database that has none.

    Name one head_of_content_safety, and at least two people of compliance and approver: later appointments and keys
    need two. For example:

        mandate found --staff ho=head_of_content_safety --staff wu=compliance --staff li=approver --backend im
    """
    with one_line_errors(), settings_with_database(config, new=True) as settings:
        from service import log
        from service.commands.founding import found_now

        log.set_up("warning")
        found_now(settings, staff, backends, output)


@main.command()
@click.option(
    "--check", is_flag=True, help="Write nothing; exit with 1 where the file is not what the routes say."
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="openapi/openapi.json")
def openapi(file: Path, *, check: bool) -> None:
    """Write what the API is, as OpenAPI 3.1, to FILE (default: openapi/openapi.json)."""
    import msgspec

    from service.api.documentation import document
    from service.app import create_app

    made = document(create_app(Settings(dsn="postgresql://nobody@localhost/none")))
    text = msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"
    if check:
        sys.exit(0 if file.is_file() and file.read_bytes() == text else 1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text)


@main.command()
def examples() -> None:
    """Play everything that can be asked, and keep the answers that the API's description shows (`openapi` puts them in).

    Takes half a minute: the story of `demo`, and beside it what that does not ask, against a house of its own. Exits with 1,
    and keeps what was there, where something was not as expected.
    """
    unwind_when_told()
    with one_line_errors():
        from service.api.documentation import document
        from service.api.examples import ANSWERS
        from service.app import create_app
        from service.demo.examples import write
        from service.demo.play import DemoError

        described = document(create_app(Settings(dsn="postgresql://nobody@localhost/none")))
        try:
            seen = write(described["paths"], ANSWERS)
        except DemoError as error:
            raise CommandError(str(error)) from error
    sys.exit(0 if seen else 1)


@main.group(cls=Later, module="service.policy.commands")
@click.pass_context
def policy(ctx: click.Context) -> None:
    """Read, check and compare editions of policy. Nothing here changes what is in force."""
    from service.commands.policy import known_actions

    ctx.obj = known_actions


@main.group(cls=Later, module="service.commands.keys")
@_url_option
@_key_file
@click.pass_context
def keys(ctx: click.Context, url: str, key_file: Path | None) -> None:
    """List, issue, rotate and revoke keys through the API, with a key of compliance."""
    ctx.obj = (url, key_file)


@main.group(cls=Later, module="service.commands.filings")
@_url_option
@_key_file
@click.pass_context
def filings(ctx: click.Context, url: str, key_file: Path | None) -> None:
    """List what was lodged with authorities, and what is in force and was not, with a key of staff."""
    ctx.obj = (url, key_file)


@main.group(cls=Later, module="service.commands.measures")
@_url_option
@_key_file
@click.pass_context
def measures(ctx: click.Context, url: str, key_file: Path | None) -> None:
    """List measures in force and dormant accounts, with a key of staff."""
    ctx.obj = (url, key_file)


@main.group(cls=Later, module="service.commands.names")
@_url_option
@_key_file
@click.pass_context
def names(ctx: click.Context, url: str, key_file: Path | None) -> None:
    """List names of accounts that wait for a human, beside those they look like, with a key of staff."""
    ctx.obj = (url, key_file)


@main.group(cls=Later, module="service.commands.tiers")
@_url_option
@_key_file
@click.pass_context
def tiers(ctx: click.Context, url: str, key_file: Path | None) -> None:
    """Explain, preview and compare tiers; rank all again after the table has changed; prove what is stored.

    Through the API, with a key of staff; `recompute` alone reads the database.
    """
    ctx.obj = (url, key_file, settings_with_database)


@main.group(cls=Later, module="service.commands.webhooks")
def webhooks() -> None:
    """Add, list, rotate, pause, resume, remove and test webhooks: where effects are posted to as they come.

    Works on the database and the keys folder, beside a service that may be running: that is who may use it. For example:

        mandate webhooks add https://im.example/mandate --families group,account

    What a receiver does not take is posted again, but for 410 (gone): that stops its webhook (`paused by receiver`) until `resume`.
    """


@main.group(cls=Later, module="service.commands.witness")
def witness() -> None:
    """Cosign checkpoints of logs: a small server of its own, to be run by others than those who run the service.

    It needs a folder and no database. A log whose checkpoints it signed can no longer be cut off, forked or rewritten
    without being found out.

        mandate witness init --folder w1 --name witness.example/w1
        mandate witness serve --folder w1 --log VKEY
    """


@main.group(cls=Later, module="service.commands.checkpoint")
def checkpoint() -> None:
    """Carry checkpoints to a witness without a network, and its signature back."""


@main.command("new-log")
@CONFIG
def new_log(config: Path | None) -> None:
    """End the log and begin another one that names its last checkpoint: after a restore from an older backup.

    Set MANDATE_ORIGIN to a new name first, and for good. Nothing is deleted: the tables of the old log move to a schema of
    their own, its last checkpoint stays in the data folder. Records of the old log are not logged again; what their
    bundles proved, they go on proving. Works as the owner of the tables (MANDATE_MIGRATION_DSN). Tell readers and witnesses
    the new key: `mandate keys trail list`.
    """
    with one_line_errors(), settings_with_database(config) as settings:
        from service import log
        from service.commands.trail_keys import begin_anew

        log.set_up("warning")
        begin_anew(settings)


@main.command()
@click.argument("subject_type", metavar="TYPE", type=click.Choice(SUBJECT_TYPES))
@click.argument("subject_id", metavar="ID")
@click.option("--output", "-o", "file", type=_FILE, required=True, help="File to write the bundle to.")
@click.option("--purpose", required=True, help="Why it is taken; sealed, on the record.")
@click.option("--from", "start", type=click.IntRange(0), help="First record to take, counted from 0.")
@click.option("--to", "end", type=click.IntRange(0), help="First record not to take.")
@click.option(
    "--state", type=_FILE, help="The verifier's state file: show too that the log goes on from there."
)
@click.option("--log", metavar="ORIGIN", help="A log that was ended, by its name: as of its last checkpoint.")
@click.option(
    "--with-editions", is_flag=True, help="Put the policy editions that its records name beside it."
)
@_url_option
@_key_file
def export(file: Path, url: str, key_file: Path | None, *, with_editions: bool, **wanted: Any) -> None:
    """Take the evidence bundle of one subject from a running service; the taking is itself on the record.

    Holds all records of the subject as of the newest signed checkpoint, or --from to --to only; of a subject without
    records, the proof that it has none. `mandate verify` checks it offline. Needs a key of an auditor, of compliance, or
    of an authority inside its territory. For example:

        mandate export group g-17 --purpose "order 2026-17" -o g-17.mandate
    """
    with one_line_errors():
        from service.commands.client import opened
        from service.commands.export import Wanted, take_editions
        from service.commands.export import export as take

        api = opened((url, key_file))
        record = take(api, Wanted(**wanted), file)
        if with_editions:
            take_editions(api, file, record)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def verify(arguments: tuple[str, ...]) -> None:
    """Check an evidence bundle offline: `mandate verify BUNDLE --policy trust.json` (or --help)."""
    from service.trail.verify import main as judge

    sys.exit(judge(arguments))


@main.command(cls=Judging)
@click.argument("entries", type=_FILE, required=False)
@click.option("--policy", type=_FILE, required=True, help="Whom you trust, as for `mandate verify`.")
@click.option("--state", type=_FILE, help="Kept from run to run: the next one goes on where this one ends.")
@click.option(
    "--checkpoint", "checkpoints", type=_FILE, multiple=True, help="One that you or a witness kept. Repeat."
)
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language.")
@_url_option
@_key_file
def replay(entries: Path | None, url: str, key_file: Path | None, lang: str, **given: Any) -> None:
    """Check the whole log as an auditor: that every logged record stands in the trail of each of its subjects.

    Reads all entries (no personal data) from a running service, with a key of an auditor or of compliance, and holds them
    against its newest checkpoint and those given. Or from a file, ENTRIES, as `GET /v1/log-entries` answers it: then only
    against checkpoints given, without any service. Exit code: 0 accepted, 2 the log is not what it should be, 3 it could
    not be judged. For example:

        mandate replay --policy trust.json --state replay.state --checkpoint kept-by-our-witness
    """
    with one_line_errors(UNJUDGED):
        from service.commands.client import opened
        from service.commands.replay import Given
        from service.commands.replay import replay as run

        api = None if entries else opened((url, key_file))
        sys.exit(run(Given(entries=entries, **given), api, lang))


@main.group(cls=Later, module="service.commands.receipt")
@_url_option
@_key_file
@click.pass_context
def receipt(ctx: click.Context, url: str, key_file: Path | None) -> None:
    """Check receipts: the signed promise, for one act, that the log holds its record."""
    ctx.obj = (url, key_file)


@main.command()
@click.option("--keep", is_flag=True, help="Leave the data, and say where it is.")
def demo(*, keep: bool) -> None:
    """Show what it does: play a day of its story against a house of its own.

    Everything runs on this machine, in a new folder that is removed at the end. Exits 0 only if all that was expected
    was seen.
    """
    unwind_when_told()
    with one_line_errors():
        from service.demo.play import DemoError, run

        try:
            code = run(keep=keep)
        except DemoError as error:
            raise CommandError(str(error)) from error
    sys.exit(code)


@main.group(cls=Later, module="service.commands.work")
def work() -> None:
    """Do alone what `serve` does in the background."""


if __name__ == "__main__":
    main(prog_name="mandate")
