"""The `mandate` command. Each subcommand imports what it needs when it runs, so that --help is quick."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from service.commands import OUTPUT, CommandError, Later, one_line_errors
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from granian.server.embed import Server

STOP_SECONDS = 3.5
"""How long running requests may take to end after SIGTERM; the whole stop stays under five seconds."""

click.rich_click.TEXT_MARKUP = "markdown"
_HELP = {"help_option_names": ["-h", "--help"]}
_config = click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file of settings (else MANDATE_CONFIG)."
)


@click.group(context_settings=_HELP)
def main() -> None:
    """Decide, apply and record every act of governance over groups and public accounts.

    Settings come from MANDATE_… variables, a TOML file, and MANDATE_…_FILE for secrets. Without MANDATE_DSN a
    PostgreSQL of its own is started under MANDATE_DATA (`.data`).
    """


@main.command()
@_config
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
def serve(config: Path | None, host: str | None, port: int | None) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    The embedded database is migrated on the way, and in a new one a first staff is appointed whose keys are printed
    once; any other must already have this program's schema and be founded (`mandate found`).
    """
    # Until the server listens to it, SIGTERM unwinds like Ctrl-C, so that the embedded database is left properly.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_line_errors(), _settings_with_database(config) as found:
        from msgspec.structs import replace

        from service import log

        log.set_up(found.log_level)
        settings = replace(found, host=host or found.host, port=found.port if port is None else port)
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, own=Settings.read(file=config).embedded))


@main.command()
@_config
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
                apply(embedded.owner_dsn)
        click.echo("The schema is up to date.")


@main.command()
@_config
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
    with one_line_errors(), _settings_with_database(config) as settings:
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


@main.group(cls=Later, module="service.policy.commands")
@click.pass_context
def policy(ctx: click.Context) -> None:
    """Read, check and compare editions of policy. Nothing here changes what is in force."""
    from service.commands.policy import known_actions

    ctx.obj = known_actions


@main.group(cls=Later, module="service.commands.keys")
@click.option(
    "--url", envvar="MANDATE_URL", default="http://127.0.0.1:8000", show_default=True, help="The service."
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="File that holds your own key (else the variable MANDATE_KEY).",
)
@click.pass_context
def keys(ctx: click.Context, url: str, key_file: Path | None) -> None:
    """List, issue, rotate and revoke keys through the API, with a key of compliance."""
    ctx.obj = (url, key_file)


@main.command()
@click.option("--keep", is_flag=True, help="Leave the data, and say where it is.")
def demo(*, keep: bool) -> None:
    """Show what it does: play a day of its story against a house of its own.

    Everything runs on this machine, in a new folder that is removed at the end. Exits 0 only if all that was expected
    was seen.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_line_errors():
        from service.demo.play import DemoError, run

        try:
            code = run(keep=keep)
        except DemoError as error:
            raise CommandError(str(error)) from error
    sys.exit(code)


@main.group()
def work() -> None:
    """Do alone what `serve` does in the background."""


@work.command()
@_config
def sequencer(config: Path | None) -> None:
    """Bring records into the log and sign it, until SIGTERM or Ctrl-C; `serve` elsewhere with sequence_seconds 0."""
    with one_line_errors(), _settings_with_database(config) as settings:
        from service import log
        from service.app import sequence_alone

        log.set_up(settings.log_level)
        asyncio.run(_until_stopped(sequence_alone(settings)))


async def _until_stopped(working: "Coroutine[None, None, None]") -> None:
    """Run until a signal, then let the work end as it does when cancelled."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    task, stopping = asyncio.ensure_future(working), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@contextmanager
def _settings_with_database(config: Path | None) -> Iterator[Settings]:
    """Yield settings whose `dsn` is set, starting and migrating the embedded database when there is no other."""
    settings = Settings.read(file=config)
    if not settings.embedded:
        yield settings
        return
    from msgspec.structs import replace

    from service.db import Embedded, migrate

    with Embedded.start(settings.data) as embedded:
        migrate(embedded.owner_dsn)
        yield replace(settings, dsn=embedded.service_dsn, migration_dsn=embedded.owner_dsn)


async def _serve(settings: Settings, *, own: bool) -> None:
    """Serve until told to stop. `own`: the database is the embedded one, where a house is founded at need."""
    from granian.constants import Interfaces
    from granian.server.embed import Server

    from service.app import create_app
    from service.commands.founding import DEFAULT_STAFF, found_by_default, print_keys

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    port = _free_port(settings.host, settings.port)
    app = create_app(settings)
    # The lifespan is ours and not the server's, so that a database out of reach is one line and not a traceback.
    async with app.lifespan():
        fresh = await found_by_default(app.state.door, app.state.db) if own else []
        server = Server(
            app,
            settings.host,
            port,
            interface=Interfaces.ASGINL,
            log_enabled=False,
            websockets=False,
            backlog=1024,
        )
        serving = asyncio.create_task(server.serve())
        await _until_answering(settings.host, port, serving)
        # Long-lived objects leave the collector's sight, and it looks less often: p99 falls by three quarters.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        click.echo(f"Mandate is serving at {_url(settings.host, port)}")
        if fresh:
            print_keys(fresh, DEFAULT_STAFF)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # Streams end by themselves when told; else they would be cut off only after STOP_SECONDS.
        app.state.stopping.set()
        await _end(server, serving)


async def _end(server: "Server", serving: "asyncio.Task[None]") -> None:
    """Stop taking requests, let the running ones end, and cut off what does not."""
    server.stop()
    done, _ = await asyncio.wait({serving}, timeout=STOP_SECONDS)
    if not done:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def _until_answering(host: str, port: int, serving: "asyncio.Task[None]") -> None:
    reached = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  compared, not bound
    for _ in range(200):
        if serving.done():
            raise CommandError(f"the server ended while starting: {serving.exception() or 'no reason given'}")
        with suppress(OSError):
            _, writer = await asyncio.open_connection(reached, port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise CommandError(f"the server does not answer at {host}:{port}")


def _free_port(host: str, port: int) -> int:
    """Return a port that nobody listens on; the server itself would quietly share one with another process."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandError(
            f"cannot listen at {host}:{port}: {reason}; choose another with --host and --port (0 takes a free one)"
        ) from None


def _url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


if __name__ == "__main__":
    main(prog_name="mandate")
