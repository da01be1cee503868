"""`mandate witness`: the server that cosigns checkpoints, and the same by hand. Needs a folder, and nothing of the service."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import rich_click as click
import structlog

from service.commands import OUTPUT, STOPPING, CommandError, one_line_errors, shown, unwind_when_told
from service.trail.extension import MOST_BYTES, Extension
from service.trail.note import ED25519, Note, NoteError, Vkey
from service.trail.witness import KEEP_BOTH, Answer, Witness

_log = structlog.get_logger("mandate.witness")
_BODY_SECONDS = 10.0
_FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where its key and what it saw are kept; never on the machine of the service.",
)
_LOG = click.option(
    "--log",
    "log_keys",
    multiple=True,
    metavar="VKEY",
    help="Key of a log it follows, as `mandate keys trail list` prints it. Repeat, also for a rotated key.",
)
_LOGS = click.option(
    "--logs",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of such keys, one a line; lines that begin with # are skipped.",
)


@click.group("witness")
def commands() -> None:
    """Cosign checkpoints of logs."""


@commands.command()
@_FOLDER
@click.option("--name", required=True, help="Its name for ever, such as witness.example/w1.")
def init(folder: Path, name: str) -> None:
    """Make the key of a new witness, and print what the log and readers must know of it."""
    with one_line_errors():
        click.echo(Witness.open(folder, name, (), time.time).vkey)


@commands.command()
@_FOLDER
@_LOG
@_LOGS
@click.option("--name", help="Its name, at the first start.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
def serve(
    folder: Path, log_keys: tuple[str, ...], logs: Path | None, name: str | None, host: str, port: int
) -> None:
    """Answer `POST /add-checkpoint` (C2SP tlog-witness) until SIGTERM or Ctrl-C.

    The service asks it when its setting MANDATE_WITNESSES has a line `URL VKEY`, with the key that is printed here. Put a
    proxy with TLS before it where the way is not your own: what it signs cannot be forged on the way, but it can be held up.
    """
    with one_line_errors():
        from service import log

        log.set_up("info")
        followed = _followed(log_keys, logs)
        witness = Witness.open(folder, name, followed, time.time)
        unwind_when_told()
        asyncio.run(_serve(witness, followed, host, port))


@commands.command()
@_FOLDER
@_LOG
@_LOGS
@click.argument("request", type=click.File("rb"))
@click.argument("answer", type=click.File("w", encoding="utf-8", lazy=True), default="-")
def sign(folder: Path, log_keys: tuple[str, ...], logs: Path | None, request: Any, answer: Any) -> None:
    """Cosign a REQUEST that was carried here in a file, and write the ANSWER to carry back.

    The service's side makes and takes them: `mandate checkpoint request`, `mandate checkpoint add-cosignature`.
    """
    with one_line_errors():
        witness = Witness.open(folder, None, _followed(log_keys, logs), time.time)
        asked = request.read(MOST_BYTES + 1)
        given = witness.cosign(asked)
        if given.status == 409:
            seen = given.text.strip()
            if Extension.parse(asked).old_size == int(seen):
                raise CommandError(
                    f"not signed: another tree of {seen} entries was cosigned here; {KEEP_BOTH}"
                )
            raise CommandError(
                f"not signed: this witness saw {seen} entries of that log last; have the request made for them: "
                f"mandate checkpoint request --old {seen}"
            )
        if given.status != 200:
            raise CommandError(f"not signed ({given.status}): {given.text.strip()}")
        text = Note.parse(asked.decode().partition("\n\n")[2]).text
        answer.write(f"{text}\n{given.text}")


@commands.command()
@_FOLDER
@OUTPUT
def show(folder: Path, output: str) -> None:
    """Print its key, and the last checkpoint it saw of each log."""
    with one_line_errors():
        witness = Witness.open(folder, None, (), time.time)
        if output == "table":
            click.echo(witness.vkey)
        shown(
            [{"origin": one.origin, "size": one.size, "root": one.root.hex()} for one in witness.seen()],
            output,
        )


def _followed(given: Iterable[str], file: Path | None) -> list[Vkey]:
    texts = list(given)
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, UnicodeDecodeError) as fault:
        raise CommandError(f"cannot read {file}: {fault}") from None
    texts += [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    if not texts:
        raise CommandError("name a log to follow: --log VKEY or --logs FILE")
    found: list[Vkey] = []
    for text in texts:
        try:
            found.append(Vkey.parse(text, ED25519))
        except NoteError as fault:
            raise CommandError(f"{text!r} is no key of a log: {fault}") from None
    return found


async def _serve(witness: Witness, followed: list[Vkey], host: str, port: int) -> None:
    from service.commands.serving import answering, first, held_port, stopped_by, url

    stop = stopped_by(*STOPPING)
    with held_port(host, port) as held:
        async with answering(application(witness), host, held) as ended:
            for key in followed:
                click.echo(f"Following {key}")
            click.echo(f"Cosigning as {witness.vkey}")
            click.echo(f"Set MANDATE_WITNESSES of the service to: {url(host, held)} {witness.vkey}")
            sys.stdout.flush()
            await first(stop.wait(), ended)


def application(witness: Witness) -> Any:
    """The witness as an ASGI application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        given = await _answer(witness, scope, receive)
        body = given.text.encode()
        headers = [(b"content-type", given.media.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": given.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _answer(witness: Witness, scope: Any, receive: Any) -> Answer:
    if not scope["path"].endswith("/add-checkpoint"):
        return Answer(404, "POST /add-checkpoint is all there is here\n")
    if scope["method"] != "POST":
        return Answer(405, "POST it\n")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await _body(receive)
        # A thread: it waits for the disk, and for the folder's lock.
        given = await asyncio.to_thread(witness.cosign, body)
    except TimeoutError:
        return Answer(400, "the request did not come in time\n")
    except Exception as fault:  # noqa: BLE001 - whatever it is, nothing was signed, and the operator is told
        _log.critical("witness", why=str(fault), kind=type(fault).__name__)
        return Answer(500, "the witness cannot answer; its operator finds why in its log\n")
    _log.info("add-checkpoint", status=given.status, said=given.text.strip() if given.status != 200 else "")
    return given


async def _body(receive: Any) -> bytes:
    """The body, or as much of it as is too long anyway."""
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body") or len(body) > MOST_BYTES:
            return body
