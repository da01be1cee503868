"""How `mandate serve` serves: one process keeps time and the log, and beside it as many as there are cores answer.

The workers share the port; the system spreads connections over them. A worker ends when its standard input does, so none
outlives the process that started it, however that ends; one that ends by itself is replaced.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import rich_click as click
import structlog

from service.commands import STOPPING, CommandError, mute
from service.settings import Settings

if TYPE_CHECKING:
    from asyncio.subprocess import Process

STOP_SECONDS = 3
"""How long running requests may take to end after SIGTERM; the whole stop stays under five seconds."""
KEEP_SECONDS = 75
"""How long an idle connection stays open: longer than a backend's pool is likely to keep one unused."""
START_SECONDS = 30.0
"""How long a worker may take until it answers."""

_AGAIN_SECONDS = 1.0
_LONGEST_AGAIN_SECONDS = 30.0
_READY = b"ready\n"
_log = structlog.get_logger("mandate.serve")


def serve_until_stopped(settings: Settings, *, own: bool) -> None:
    """Serve until one of `STOPPING` comes. `own`: the database is the embedded one, where a house is founded at need."""
    workers: list[int | None] = [None] * settings.workers if settings.workers else [*cores()]
    with tempfile.TemporaryDirectory(prefix="mandate-metrics-") as metrics:
        if len(workers) > 1:
            # Read where the metrics' package is imported, here and in the workers: they count into files of this folder.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        _run(_serve(settings, workers, own=own))


def answer_until_told(settings: Settings) -> None:
    """Be a worker: answer requests until standard input ends or SIGTERM comes."""
    _run(_answer_as_worker(settings))


def settings_line() -> bytes:
    """What a worker is told first; what follows on standard input stays there."""
    with open(0, "rb", buffering=0, closefd=False) as told:
        return told.readline()


def cores() -> Sequence[int | None]:
    """The cores that this process may use, each None where the system does not say which they are."""
    if hasattr(psutil.Process, "cpu_affinity"):
        return psutil.Process().cpu_affinity()
    return [None] * (os.cpu_count() or 1)


def _run(working: Any) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(working)


async def _serve(settings: Settings, workers: Sequence[int | None], *, own: bool) -> None:
    """`workers`: the core of each, None where the system may choose one at any time."""
    stop = stopped_by(*STOPPING)
    async with AsyncExitStack() as stack:
        port = stack.enter_context(held_port(settings.host, settings.port))
        settings = msgspec.structs.replace(settings, port=port)
        team = None
        if len(workers) > 1:
            # Started first: they import while this process opens its database.
            team = await stack.enter_async_context(_Team.started(settings, workers))
        from service.app import create_app
        from service.commands.founding import DEFAULT_STAFF, found_by_default, hand_over

        app = create_app(settings)
        # The lifespan is ours and not the server's, so that a database out of reach is one line and not a traceback.
        async with app.lifespan():
            fresh = await found_by_default(app.state.door, app.state.db) if own else []
            if fresh:
                # Before the workers answer: whatever ends this start, the keys of the house that was founded are known.
                try:
                    hand_over(fresh, DEFAULT_STAFF, settings.data)
                except CommandError as fault:
                    _log.error("keys.unprinted", why=str(fault))
            async with (
                team.answering()
                if team
                else answering(app, settings.host, settings.port, app.state.stopping) as ended
            ):
                settle()
                address = url(settings.host, settings.port)
                _log.info("serve.begun", url=address)
                try:
                    click.echo(f"Mandate is serving at {address}")
                except OSError:
                    mute()
                await first(stop.wait(), ended)
                if not stop.is_set():
                    ended.result()
                    raise CommandError("what answers requests ended by itself")


async def _answer_as_worker(settings: Settings) -> None:
    """Import at once, wait to be told that the house is open, say when requests are answered."""
    stop = stopped_by(signal.SIGTERM)
    from service.app import create_app

    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    if not await told.readline():
        return
    # Time, the log and webhooks are kept by the process that started this one.
    app = create_app(
        msgspec.structs.replace(settings, sweep_seconds=0, sequence_seconds=0, webhook_seconds=0)
    )
    async with app.lifespan(), answering(app, settings.host, settings.port, app.state.stopping) as ended:
        settle()
        sys.stdout.buffer.write(_READY)
        sys.stdout.buffer.flush()
        await first(stop.wait(), told.read(), ended)


@asynccontextmanager
async def answering(
    app: Any, host: str, port: int, stopping: asyncio.Event | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """Answer requests in this process; yields the task of the server, which ends only if it fails.

    `stopping` is set before the server is told to end.
    """
    import uvicorn

    from service.commands.wire import Http1

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            listening.set()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave the signals to this process, which has more to end than its server."""
            yield

    listening = asyncio.Event()
    server = Server(
        uvicorn.Config(
            app,
            http=Http1,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=1024,
            timeout_keep_alive=KEEP_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    with _listening(host, port) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await first(listening.wait(), serving)
            yield serving
        finally:
            # Streams end by themselves when told; else they would be cut off only after STOP_SECONDS.
            if stopping is not None:
                stopping.set()
            server.should_exit = True
            with suppress(asyncio.CancelledError):
                await serving


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address to listen on, which the other workers listen on too."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    listener.setblocking(False)
    return listener


class _Team:
    """The workers of one `mandate serve`."""

    def __init__(self, settings: Settings, cores: Sequence[int | None], workers: Sequence[Process]) -> None:
        self._settings = settings
        self._cores = cores
        self._workers = list(workers)
        self._keeping: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def started(cls, settings: Settings, cores: Sequence[int | None]) -> AsyncIterator[_Team]:
        """Start a worker on each of these cores; they wait for `answering`. All have ended afterwards."""
        team = cls(settings, cores, [await _started(settings, core) for core in cores])
        try:
            yield team
        finally:
            await team._end()

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[asyncio.Task[None]]:
        """Let the workers answer, and replace who ends; what is yielded ends only if they can no longer be replaced."""
        await asyncio.gather(*(_until_ready(worker) for worker in self._workers))
        self._keeping = asyncio.create_task(self._keep_all())
        try:
            yield self._keeping
        finally:
            await self._end()

    async def _keep_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for place in range(len(self._workers)):
                group.create_task(self._keep(place))

    async def _keep(self, place: int) -> None:
        """Start a worker anew, each time the one at this place ends, and try again as long as that fails."""
        from prometheus_client.multiprocess import mark_process_dead

        pause = _AGAIN_SECONDS
        while True:
            worker = self._workers[place]
            code = await worker.wait()
            if self._closing:
                return
            _log.error("worker.ended", code=code, pid=worker.pid)
            while self._workers[place] is worker:
                await asyncio.sleep(pause)
                try:
                    mark_process_dead(worker.pid)
                    self._workers[place] = await _started(self._settings, self._cores[place])
                    await _until_ready(self._workers[place])
                    pause = _AGAIN_SECONDS
                # Out of memory or of open files, for one: what passes must not leave this place empty for good.
                except Exception as fault:  # noqa: BLE001
                    _log.error("worker.failed", why=str(fault))
                    pause = min(2 * pause, _LONGEST_AGAIN_SECONDS)

    async def _end(self) -> None:
        self._closing = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await asyncio.gather(*(_ended(worker) for worker in self._workers))


async def _started(settings: Settings, core: int | None) -> Process:
    """Start a worker, which reads its settings and imports the house; it stays on `core`, None: on any.

    One that moves shares a core with another time and again while a core does nothing.
    """
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "work", "requests"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is for the process that started them.
        start_new_session=True,
    )
    if core is not None:
        # Taken from us since, or the process has ended: then it runs where it may.
        with suppress(psutil.Error, OSError, ValueError):
            psutil.Process(worker.pid).cpu_affinity([core])
    _tell(worker, settings.to_json() + b"\n")
    return worker


def _tell(worker: Process, line: bytes) -> None:
    if worker.stdin is not None:
        worker.stdin.write(line)


async def _until_ready(worker: Process) -> None:
    """Let a worker begin, and wait until it answers. Raises CommandError where it ends instead; it said why itself."""
    _tell(worker, b"\n")
    said = b""
    if worker.stdout is not None:
        with suppress(TimeoutError):
            said = await asyncio.wait_for(worker.stdout.readline(), START_SECONDS)
    if said != _READY:
        raise CommandError("a process that answers requests did not start: what it wrote above says why")


async def _ended(worker: Process) -> None:
    """Tell a worker to end, and make sure that it does."""
    if worker.stdin is not None:
        worker.stdin.close()
    try:
        await asyncio.wait_for(worker.wait(), STOP_SECONDS + 1)
    except TimeoutError:
        worker.kill()
        await worker.wait()


def stopped_by(*signals: signal.Signals) -> asyncio.Event:
    """An event that these signals set; a SIGHUP that is ignored stays so."""
    stop = asyncio.Event()
    for one in signals:
        if one is signal.SIGHUP and signal.getsignal(one) is signal.SIG_IGN:
            continue
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    return stop


async def first(*working: Any) -> None:
    """Wait until one of these ends; the others are left."""
    tasks = [asyncio.ensure_future(one) for one in working]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task not in working:
            task.cancel()


def settle() -> None:
    """Put long-lived objects out of the collector's sight, and let it look less often: p99 falls by three quarters."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def free_port(host: str, port: int) -> int:
    """Return a port that nobody listens on or holds. Raises CommandError where there is none."""
    with held_port(host, port) as free:
        return free


@contextmanager
def held_port(host: str, port: int) -> Iterator[int]:
    """Hold a port that nobody else listens on or holds, for servers of our own to share, and yield it.

    They would quietly share it with another process too. Raises CommandError where it is taken.
    """
    with socket.socket(_address(host, port)[0], socket.SOCK_STREAM) as held:
        try:
            # Past connections of an earlier server are no obstacle; from then on only who shares ports on purpose may come.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(_address(host, port)[1])
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except (OSError, OverflowError) as error:
            raise _no_listening(host, port, error) from None
        yield held.getsockname()[1]


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError) as error:
        raise _no_listening(host, port, error) from None
    return family, address


def _no_listening(host: str, port: int, error: OSError | OverflowError) -> CommandError:
    reason = error.strerror if isinstance(error, OSError) else error
    return CommandError(
        f"cannot listen at {host}:{port}: {reason}; choose another with --host and --port (0 takes a free one)"
    )


def url(host: str, port: int) -> str:
    """The address under which this machine reaches the server."""
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
