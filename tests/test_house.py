"""The rules of the house: what holds for every file, and what an operator meets first."""

import asyncio
import io
import json
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from service import clock, log
from service.db import DatabaseUnavailable, Db, Embedded, MigrationError, Tx, migrate, schema_state
from service.db.checksums import complaints
from service.db.migrations import digests, migration_files
from service.db.named import Queries
from service.door import Door
from service.settings import Settings, SettingsError
from tests.conftest import REPOSITORY, Database
from tests.kit import House, plain_logs

STATEMENTS = sorted((REPOSITORY / "service").rglob("*.sql"))
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


# Files


def test_no_committed_file_names_a_place_of_one_machine():
    """A checkout works anywhere: no package index, no file of the machine it was written on."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    place = re.compile(
        r"/(?:home|Users)/[a-z]|/(?:root|work|opt)/|--(?:extra-)?index[-]url|--find[-]links|\bfile:/{3}"
    )
    suspects = [path for name in listed.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]
    found = [
        f"{path.relative_to(REPOSITORY)}: {match[0]}"
        for path in suspects
        if path != Path(__file__)
        and (match := place.search(path.read_text(encoding="utf-8", errors="ignore")))
    ]
    assert found == []


def test_locks_pin_every_package_with_hashes():
    """What is installed is what was chosen: each line of the locks has a version and a hash."""
    for lock in ("requirements.lock", "requirements-dev.lock"):
        entries = re.split(r"\n(?=\S)", (REPOSITORY / lock).read_text().strip())
        packages = [entry for entry in entries if not entry.lstrip().startswith("#")]
        assert packages
        assert [entry for entry in packages if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_applied_migrations_are_never_edited():
    """Every migration file is noted with its digest, and none has changed since."""
    assert complaints() == []


def test_an_edited_removed_or_new_migration_is_complained_of(tmp_path):
    """The guard above notices what it is there to notice."""
    name, first = next(iter(digests(REPOSITORY / "migrations").items()))
    shutil.copy(REPOSITORY / "migrations" / name, tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{first}  {name}\n")
    (tmp_path / name).write_text("-- migrate:up\n")
    assert complaints(tmp_path) == [f"{name} was edited after it was noted: write a new migration instead"]
    (tmp_path / name).unlink()
    (tmp_path / "SHA256SUMS").write_text(f"{first}  {name}\n")
    assert complaints(tmp_path) == [f"{name} was removed, but databases have applied it"]
    (tmp_path / "SHA256SUMS").write_text("")
    (tmp_path / name).write_text("-- migrate:up\n")
    assert complaints(tmp_path) == [f"{name} is new: run make checksums"]


def test_migrations_are_numbered_without_gap_and_go_forward_only():
    """0001, 0002, …; dbmate wants a down block, and ours are empty."""
    files = migration_files()
    assert [path.name[:5] for path in files] == [f"{number:04}_" for number in range(1, len(files) + 1)]
    for path in files:
        assert path.read_text(encoding="utf-8").rstrip().endswith("-- migrate:down"), path.name


async def test_every_named_query_prepares(database: Database):
    """Each statement beside a module fits the schema, under the role that will run it."""
    connection = await asyncpg.connect(database.service_dsn)
    try:
        for path in STATEMENTS:
            for named in Queries(path).all.values():
                try:
                    await connection.prepare(named.sql)
                except asyncpg.PostgresError as error:
                    pytest.fail(f"{path.relative_to(REPOSITORY)}: {named.name}: {error}")
    finally:
        await connection.close()


async def test_named_queries_take_and_return_what_their_mark_says(database: Database, tmp_path):
    """`sql.name(tx, …)` returns rows, a row, a value, a tag or what was made."""
    (tmp_path / "things.sql").write_text("""
-- name: make_table#
-- Make the table.
CREATE TABLE thing (id bigint GENERATED ALWAYS AS IDENTITY, name text, about jsonb);
-- name: add_thing<!
INSERT INTO thing (name, about) VALUES (:name, :about::jsonb) RETURNING id;
-- name: add_things*!
INSERT INTO thing (name) VALUES (:name);
-- name: get_thing^
SELECT id, name, about FROM thing WHERE id = :id AND name <> 'a :name in quotes' AND :id::bigint > 0;
-- name: things
SELECT name FROM thing ORDER BY id;
-- name: count_things$
SELECT count(*) FROM thing;
-- name: drop_things!
DELETE FROM thing WHERE name = :name;
""")
    sql = Queries(tmp_path / "things.sql")
    db = await Db.open(database.owner_dsn, size=1)
    async with db.transaction() as tx:
        await sql.make_table(tx)
        number = await sql.add_thing(tx, name="one", about={"群": [1, None]})
        await sql.add_things(tx, [{"name": "two"}, ("three",)])
        assert dict(await sql.get_thing(tx, id=number)) == {
            "id": 1,
            "name": "one",
            "about": {"群": [1, None]},
        }
        assert [row["name"] for row in await sql.things(tx)] == ["one", "two", "three"]
        assert await sql.drop_things(tx, "two") == "DELETE 1"
        assert await sql.count_things(tx) == 2
        with pytest.raises(TypeError, match="get_thing needs id"):
            await sql.get_thing(tx, name="one")
    with pytest.raises(AttributeError, match="no statement named nothing"):
        _ = sql.nothing
    await db.close()


# Settings


def test_settings_come_from_environment_over_file(tmp_path):
    """A variable wins over the file; a secret may be the content of a file; an empty variable is not set."""
    (tmp_path / "mandate.toml").write_text('port = 9001\nhost = "::1"\nsweep_seconds = 2\n')
    (tmp_path / "dsn").write_text("postgresql://service:secret@db/mandate\n")
    settings = Settings.read(
        {
            "MANDATE_CONFIG": str(tmp_path / "mandate.toml"),
            "MANDATE_PORT": "0",
            "MANDATE_LOG_LEVEL": "",
            "MANDATE_DSN_FILE": str(tmp_path / "dsn"),
            "HOME": "elsewhere",
        }
    )
    assert (settings.port, settings.host, settings.sweep_seconds) == (0, "::1", 2.0)
    assert (settings.dsn, settings.log_level) == ("postgresql://service:secret@db/mandate", "info")


def test_settings_never_show_their_secrets():
    """The text of the settings may be logged."""
    settings = Settings(dsn="postgresql://service:secret@db/mandate", port=1)
    for text in (repr(settings), str(settings), f"{settings}"):
        assert "secret" not in text
        assert "dsn='***'" in text


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"MANDATE_PROT": "1"}, r"unknown variable MANDATE_PROT: did you mean port\?"),
        (
            {"MANDATE_PORT": "many"},
            r"port 'many' \(from MANDATE_PORT\) does not fit: .*write for example 8000",
        ),
        ({"MANDATE_PORT": "70000"}, r"port '70000' \(from MANDATE_PORT\) does not fit: .*65535"),
        ({"MANDATE_LOG_LEVEL": "loud"}, r"log_level 'loud' \(from MANDATE_LOG_LEVEL\)"),
        ({"MANDATE_DSN": "mysql://u:hidden@h/d"}, r"^dsn \(from MANDATE_DSN\) does not fit: (?!.*hidden)"),
        ({"MANDATE_DSN_FILE": "/nowhere/dsn"}, r"cannot read /nowhere/dsn, named by MANDATE_DSN_FILE"),
        ({"MANDATE_CONFIG": "/nowhere.toml"}, r"cannot read the settings file /nowhere.toml"),
        (
            {"MANDATE_DSN": "postgresql://h/d", "MANDATE_CLOCK_FILE": "now"},
            r"clock_file \(from MANDATE_CLOCK_FILE\)",
        ),
        ({"MANDATE_DSN": "postgresql://h/d", "MANDATE_DSN_FILE": __file__}, r"dsn is given twice"),
        ({"MANDATE_JURISDICTION": "US"}, r"jurisdiction 'US' \(from MANDATE_JURISDICTION\)"),
    ],
)
def test_a_bad_setting_stops_with_its_name_place_and_cure(env, message):
    with pytest.raises(SettingsError, match=message):
        Settings.read(env)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "unknown setting prot in"),
        ('port = "8000"', "port '8000' .in .*Expected"),
        ("port =", "is not TOML"),
    ],
)
def test_a_bad_settings_file_stops_with_its_name(text, message, tmp_path):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        Settings.read({}, tmp_path / "bad.toml")


# Clock and logs


def test_every_instant_is_utc_and_whole_milliseconds(tmp_path):
    """Finer parts are cut, not rounded; text and number say the same instant."""
    at = datetime(2026, 11, 22, 22, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=8)))
    stood = clock.SetClock(at)
    assert clock.instant_text(stood.now()) == "2026-11-22T14:30:00.999Z"
    assert (
        clock.from_us(clock.to_us(stood.now()))
        == stood.now()
        == clock.parse_instant("2026-11-22T22:30:00.999999+08:00")
    )
    stood.advance(0.0015)
    assert clock.instant_text(stood.now()) == "2026-11-22T14:30:01.000Z"
    assert clock.Clock().now().microsecond % 1000 == 0
    assert clock.Clock().now().tzinfo is UTC
    (tmp_path / "now").write_text("2026-01-01T00:00:00Z\n")
    assert clock.instant_text(clock.FileClock(tmp_path / "now").now()) == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize("text", ["2026-11-22", "2026-11-22T14:30:00", "2026-13-01T00:00:00Z", "now", ""])
def test_what_is_no_instant_is_refused(text, tmp_path):
    with pytest.raises(ValueError):
        clock.parse_instant(text)
    (tmp_path / "now").write_text(text)
    with pytest.raises(ValueError, match="clock file"):
        clock.FileClock(tmp_path / "now").now()


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    kept, level = logging.root.handlers[:], logging.root.level
    stream = io.BytesIO()
    log.set_up("info", stream)
    yield stream
    logging.root.handlers[:] = kept
    logging.root.setLevel(level)
    logging.captureWarnings(capture=False)
    plain_logs()


def test_every_log_line_is_one_json_object(lines):
    """Our events and the libraries' warnings; Casbin's denials stay out."""
    log.logger("door").info("act.done", group_id="群", took=0.5)
    log.logger("door").debug("not.written")
    logging.getLogger("asyncpg").warning("odd %s", "thing")
    logging.getLogger("casbin.enforcer").warning("Request: denied")
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["event"] for line in written] == ["act.done", "odd thing"]
    assert {"source": "door", "level": "info", "group_id": "群"}.items() <= written[0].items()
    assert {"source": "asyncpg", "level": "warning"}.items() <= written[1].items()


class Full(io.BytesIO):
    """A stream on a disk that is full for a while."""

    full = False

    def write(self, line: Any) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(line)


def test_a_line_that_cannot_be_written_is_lost_and_counted(lines):
    """Neither our events nor the libraries' raise; the first line that goes through comes after one that says how many were lost."""
    del lines
    stream = Full()
    log.set_up("info", stream)
    door = log.logger("door")
    door.info("first")
    stream.full = True
    door.info("second")
    logging.getLogger("asyncpg").warning("third")
    stream.full = False
    door.info("fourth")
    written = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in written] == ["first", "log.lines_lost", "fourth"]
    assert (written[1]["lines"], written[1]["level"]) == (2, "error")


# Database


async def test_the_service_role_is_bounded_in_time_and_cannot_make_tables(database: Database):
    """Time limits hold for the role itself; the schema belongs to another one."""
    db = await Db.open(database.service_dsn, size=1)
    async with db.read() as reader:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "TimeZone")
        shown = [await reader.fetchval("SELECT current_setting($1)", name) for name in names]
        assert shown == ["2s", "15s", "10s", "UTC"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with db.transaction() as tx:
            await tx.execute("CREATE TABLE mine (id int)")
    await db.close()


async def test_a_lost_race_is_run_again(database: Database):
    """Of two transactions that wait for one another, the one PostgreSQL ends is run again and both succeed."""
    db = await Db.open(database.owner_dsn, size=2)
    async with db.transaction() as tx:
        await tx.execute("CREATE TABLE row (id int PRIMARY KEY, n int)")
        await tx.execute("INSERT INTO row VALUES (1, 0), (2, 0)")
    attempts = 0

    async def add(first: int, second: int) -> None:
        async def work(tx: Tx) -> None:
            nonlocal attempts
            attempts += 1
            await tx.execute("UPDATE row SET n = n + 1 WHERE id = $1", first)
            await tx.execute("SELECT pg_sleep(0.1)")
            await tx.execute("UPDATE row SET n = n + 1 WHERE id = $1", second)

        chain = db.chain()
        await chain.run(work, lambda _: None)
        await chain.rest()

    await asyncio.gather(add(1, 2), add(2, 1))
    async with db.read() as reader:
        assert [row["n"] for row in await reader.fetch("SELECT n FROM row ORDER BY id")] == [2, 2]
    assert attempts == 3
    await db.close()


async def test_a_snapshot_sees_one_instant_and_may_not_write(database: Database):
    """What commits meanwhile is not seen; a reader of a snapshot cannot change anything."""
    db = await Db.open(database.owner_dsn, size=2)
    async with db.transaction() as tx:
        await tx.execute("CREATE TABLE seen (n int)")
    async with db.read(snapshot=True) as reader:
        assert await reader.fetchval("SELECT count(*) FROM seen") == 0
        async with db.transaction() as tx:
            assert await tx.copy("seen", ["n"], [(1,), (2,)]) == "COPY 2"
        assert [row async for row in reader.walk("SELECT n FROM seen")] == []
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.fetch("DELETE FROM seen RETURNING n")
    await db.close()


async def test_without_a_statement_cache_reads_still_work(database: Database):
    """Behind PgBouncer in transaction mode every read is one transaction."""
    db = await Db.open(database.service_dsn, size=1, statement_cache=0)
    async with db.read() as reader:
        assert await reader.fetchval("SELECT now() = now() AND $1::jsonb = '{\"a\": 1}'", {"a": 1})
        assert await reader.fetchval("SELECT transaction_timestamp() < clock_timestamp()")
    assert await schema_state(db) == "equal"
    await db.close()


async def test_a_lost_database_is_one_kind_of_error(database: Database, tmp_path):
    """Nobody there, a wrong database, a connection cut in mid-transaction: all are DatabaseUnavailable."""
    for dsn in (f"postgresql://x@/y?host={tmp_path}", database.service_dsn.replace(database.name, "nowhere")):
        with pytest.raises(DatabaseUnavailable):
            await Db.open(dsn, size=1)
    db = await Db.open(database.owner_dsn, size=1)
    with pytest.raises(DatabaseUnavailable) as caught:
        async with db.transaction() as tx:
            await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert caught.value.uncertain is False
    async with db.read() as reader:
        assert await reader.fetchval("SELECT 1") == 1
    await db.close()
    with pytest.raises(DatabaseUnavailable):
        async with db.read():
            pass


# Readiness


async def test_ready_on_an_equal_schema(database: Database, tmp_path):
    """Ready says which policy edition is in force."""
    async with House.open(database.service_dsn, tmp_path) as house:
        answer = await house.client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        assert answer.json()["edition"] == house.app.state.editions.folder.edition


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("INSERT INTO schema_migrations VALUES ('9999')", "newer"),
        ("DELETE FROM schema_migrations", "missing"),
        ("DROP TABLE schema_migrations", "missing"),
    ],
)
async def test_not_ready_on_any_other_schema(database: Database, change, state, tmp_path):
    """A program and a schema that do not belong together do not serve, nor go on serving."""
    async with House.open(database.service_dsn, tmp_path) as house:
        owner = await asyncpg.connect(database.owner_dsn)
        await owner.execute(change)
        await owner.close()
        assert await schema_state(house.db) == state
        answer = await house.client.get("/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "reason": "schema"})
    with pytest.raises(BaseExceptionGroup) as raised:
        async with House.open(database.service_dsn, tmp_path):
            pass
    assert raised.group_contains(MigrationError, match="schema")


async def test_no_role_serves_that_may_change_what_is_on_record(database: Database, tmp_path):
    """The service can add records and nothing else; by the address of the owner of the tables it says so and ends."""
    with pytest.raises(BaseExceptionGroup) as raised:
        async with House.open(database.owner_dsn, tmp_path):
            pass
    assert raised.group_contains(MigrationError, match="may change records.*mandate_service")


async def test_not_ready_where_no_act_can_be_recorded(database: Database, tmp_path, monkeypatch):
    """A standby, a role without its rights and a process whose door is shut are sent no work."""
    async with House.open(database.service_dsn, tmp_path) as house:
        with monkeypatch.context() as shut:
            shut.setattr(Door, "working", False)
            answer = await house.client.get("/health/ready")
            assert (answer.status_code, answer.json()["reason"]) == (503, "writer")
        owner = await asyncpg.connect(database.owner_dsn)
        await owner.execute("REVOKE INSERT ON record FROM mandate_service")
        answer = await house.client.get("/health/ready")
        assert (answer.status_code, answer.json()["reason"]) == (503, "read_only")
        await owner.execute("GRANT INSERT ON record TO mandate_service")
        await owner.close()
        assert (await house.client.get("/health/ready")).status_code == 200


async def test_an_older_schema_is_told_from_an_equal_one(database: Database, tmp_path):
    """A file the database has not applied makes its schema older."""
    shutil.copytree(REPOSITORY / "migrations", tmp_path, dirs_exist_ok=True)
    (tmp_path / "9998_more.sql").write_text("-- migrate:up\nSELECT 1;\n-- migrate:down\n")
    db = await Db.open(database.service_dsn, size=1)
    assert await schema_state(db, tmp_path) == "older"
    await db.close()


# The command


def mandate(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as an operator would, with nothing set but what is given."""
    return subprocess.run(
        [sys.executable, "-m", "service", *args],
        cwd=REPOSITORY, env=plain(env), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def plain(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MANDATE_")} | env


@pytest.mark.parametrize("args", [[], ["serve"], ["migrate"]])
def test_help_helps(args):
    for option in ("-h", "--help"):
        shown = mandate(*args, option)
        assert shown.returncode == 0
        assert "Usage" in shown.stdout


def test_what_an_operator_can_cure_is_one_line(tmp_path):
    """Exit code 2, one line on standard error, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = [
            (["serve"], {"MANDATE_PORT": "many"}, "MANDATE_PORT"),
            (["serve"], {"MANDATE_DSN": "postgresql://u:pass@127.0.0.1:1/m"}, "not available"),
            (["migrate"], {"MANDATE_DSN": "postgresql://u:pass@127.0.0.1:1/m"}, "MANDATE_MIGRATION_DSN"),
            (["migrate"], {"MANDATE_MIGRATION_DSN": "postgresql://u:pass@127.0.0.1:1/m"}, "did not run"),
            (["serve"], {"MANDATE_DATA": str(tmp_path / "data"), "MANDATE_PORT": port}, "choose another"),
            (["serve"], {"MANDATE_DATA": __file__}, "choose another folder"),
        ]
        for args, env, words in cases:
            done = mandate(*args, **env)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert words in done.stderr
            assert "pass@" not in done.stderr


def serving(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        cwd=REPOSITORY, env=plain({"MANDATE_DATA": str(folder)}), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"http://\S+", line):
            return process, match[0]
    raise AssertionError(f"serve ended with code {process.wait()} before it served")


def gone(pid_file):
    """The database was told to end before the process did; on a busy disk it writes its last checkpoint a little longer."""
    for _ in range(1_200):
        if not pid_file.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid_file} is still there")


def test_serve_starts_its_database_and_stops_in_time(tmp_path):
    """One command serves; SIGTERM, Ctrl-C and a closed terminal end it within five seconds, even with guests, and its database with it."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process, url = serving(tmp_path / "data")
        with httpx.Client(base_url=url) as guest:
            assert guest.get("/health/ready").status_code == 200
            asked = time.monotonic()
            process.send_signal(signum)
            assert process.wait(10) == 0
            assert time.monotonic() - asked < 5
        gone(tmp_path / "data" / "postgresql" / "postmaster.pid")


def test_serve_survives_a_kill_and_a_stale_pid_file(tmp_path):
    """After SIGKILL the next start joins the orphaned database; a pid file of a stranger's number is no obstacle."""
    process, url = serving(tmp_path / "data")
    process.kill()
    process.wait()
    process, url = serving(tmp_path / "data")
    assert httpx.get(f"{url}/health/ready").status_code == 200
    process.terminate()
    assert process.wait(10) == 0
    pid_file = tmp_path / "data" / "postgresql" / "postmaster.pid"
    gone(pid_file)
    pid_file.write_text(f"{os.getppid()}\n{pid_file.parent}\n")
    process, url = serving(tmp_path / "data")
    assert httpx.get(f"{url}/health/ready").status_code == 200
    process.terminate()
    assert process.wait(10) == 0


@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9, 1.2])
def test_a_start_cut_short_is_no_obstacle_to_the_next(seconds, tmp_path):
    """SIGTERM at any moment of the first start leaves nothing running, and nothing to be cleaned up by hand."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        cwd=REPOSITORY, env=plain({"MANDATE_DATA": str(tmp_path)}), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(seconds)
    process.terminate()
    # SIGTERM unwinds as Ctrl-C does; where that meets Python itself on its way out, it ends as if by that signal.
    assert process.wait(15) in {0, 130, -signal.SIGTERM, -signal.SIGINT}
    gone(tmp_path / "postgresql" / "postmaster.pid")
    with Embedded.start(tmp_path) as embedded:
        assert embedded.query("SELECT 1") == "1"


# PostgreSQL of other makes


class Installed(msgspec.Struct, frozen=True):
    """A PostgreSQL of the machine, reached over TCP with passwords."""

    port: int
    programs: Path
    folder: Path
    user: str | None

    def run(self, program: str, *args: str, script: str | None = None) -> str:
        group = (
            {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}
            if self.user
            else {}
        )
        return subprocess.run(
            [self.programs / program, *args],
            input=script, stdout=subprocess.PIPE, text=True, check=True, cwd="/", **group,
        ).stdout  # fmt: skip

    def psql(self, script: str, *args: str) -> str:
        return self.run(
            "psql",
            "-q",
            "-X",
            "-h",
            str(self.folder),
            "-p",
            str(self.port),
            "-U",
            "postgres",
            *args,
            script=script,
        )


@pytest.fixture
def installed(tmp_path_factory) -> Iterator[Installed]:
    if not INSTALLED:
        pytest.skip("no PostgreSQL is installed on this machine")
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path("/tmp") / f"mandate-installed-{os.getpid()}"  # noqa: S108  pytest's own folders are closed to others
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    if user:
        shutil.chown(folder, user)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Installed(port, INSTALLED[-1].parent, folder, user)
    data = str(folder / "data")
    server.run(
        "initdb", "-D", data, "-U", "postgres", "--auth-host=scram-sha-256", "--auth-local=trust", "-N"
    )
    server.run(
        "pg_ctl",
        "-D",
        data,
        "-l",
        str(folder / "log"),
        "-w",
        "-o",
        f"-h 127.0.0.1 -p {port} -k {folder}",
        "start",
    )
    try:
        yield server
    finally:
        server.run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


async def test_an_installed_postgresql_serves_too(installed: Installed, tmp_path):
    """By address and password over TCP: roles made once, migrated by the owner, served by the service's role."""
    installed.psql((REPOSITORY / "service" / "db" / "roles.sql").read_text())
    installed.psql("ALTER ROLE mandate_owner PASSWORD 'o w/n'; ALTER ROLE mandate_service PASSWORD 'ser@ve';")
    installed.psql("CREATE DATABASE mandate OWNER mandate_owner")
    service = f"postgresql://mandate_service:ser%40ve@127.0.0.1:{installed.port}/mandate"
    with pytest.raises(BaseExceptionGroup) as raised:
        async with House.open(service, tmp_path):
            pass
    assert raised.group_contains(MigrationError, match="schema")
    migrate(f"postgresql://mandate_owner:o%20w%2Fn@127.0.0.1:{installed.port}/mandate", say=None)
    async with House.open(service, tmp_path) as house:
        assert (await house.client.get("/health/ready")).status_code == 200
        await house.has_group("g", "ann", (), ("dan",))
        muting = {"person_id": "dan", "seconds": 60, "reason": "spam", "note": "again and again"}
        await house.do("ann", "POST", "/v1/groups/g/mutes", muting)
        assert [record["out"] for record in await house.records()] == ["done"]


def test_the_embedded_database_is_shared_and_the_last_one_stops_it(tmp_path):
    """Two handles on one folder are one server; a path too long for a socket is no obstacle."""
    folder = tmp_path / ("long" * 25)
    first = Embedded.start(folder)
    second = Embedded.start(folder)
    assert first.service_dsn == second.service_dsn
    first.close()
    first.close()
    assert second.query("SELECT 1") == "1"
    second.close()
    assert not (folder / "postgresql" / "postmaster.pid").exists()
