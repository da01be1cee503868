"""`mandate work`: the background work of `serve` in processes of their own, on this machine or another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rich_click as click

from service import log
from service.commands import CONFIG, STOPPING, CommandError, one_line_errors, settings_with_database
from service.settings import Settings

_METRICS_PORT = click.option(
    "--metrics-port", type=click.IntRange(1, 65_535), help="Answer Prometheus at this port of 127.0.0.1."
)


@click.group("work")
def commands() -> None:
    """Do alone what `serve` does in the background."""


@commands.command()
@CONFIG
@_METRICS_PORT
def sequencer(config: Path | None, metrics_port: int | None) -> None:
    """Bring records into the log and sign it, until SIGTERM or Ctrl-C; `serve` elsewhere with sequence_seconds 0."""
    with one_line_errors():
        from service.app import sequence_alone

        _work(config, metrics_port, sequence_alone)


@commands.command("webhooks")
@CONFIG
@_METRICS_PORT
def post_effects(config: Path | None, metrics_port: int | None) -> None:
    """Post effects to webhooks, until SIGTERM or Ctrl-C; as many of these may run as you like, beside `serve` too.

    With webhook_seconds 0 `serve` leaves it all to them.
    """
    with one_line_errors():
        from service.app import post_alone

        _work(config, metrics_port, post_alone)


@commands.command(hidden=True)
def requests() -> None:
    """Answer requests for the `mandate serve` that started this, whose settings come on standard input."""
    with one_line_errors():
        from service.commands.serving import answer_until_told, settings_line

        settings = Settings.from_json(settings_line())
        log.set_up(settings.log_level)
        answer_until_told(settings)


def _work(
    config: Path | None, port: int | None, work: Callable[[Settings, Any], Coroutine[None, None, None]]
) -> None:
    from service.watch import Watching

    watch = Watching()
    with _measured(watch, port), settings_with_database(config) as settings:
        log.set_up(settings.log_level)
        asyncio.run(_until_stopped(work(settings, watch)))


@contextmanager
def _measured(watch: Any, port: int | None) -> Iterator[None]:
    """Answer Prometheus while the work is done; only this machine can ask."""
    if port is None:
        yield
        return
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=watch.registry)
    except OSError as error:
        raise CommandError(
            f"cannot answer at 127.0.0.1:{port}: {error.strerror}; choose another with --metrics-port"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _until_stopped(working: Coroutine[None, None, None]) -> None:
    """Run until a signal, then let the work end as it does when cancelled."""
    from service.commands.serving import stopped_by

    stop = stopped_by(*STOPPING)
    task, stopping = asyncio.ensure_future(working), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
