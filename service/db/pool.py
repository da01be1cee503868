"""The pool, and the only two ways to the database: a `Tx` that may write and a `Reader` that may not."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

import asyncpg
import msgspec

from service.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.prepared_stmt import PreparedStatement

    from service.settings import Settings

T = TypeVar("T")
U = TypeVar("U")

ACQUIRE_SECONDS = 5.0
"""How long a caller waits for a free connection before it is told that the database is unavailable."""

CONNECT_SECONDS = 10.0
"""How long one connection attempt may take."""

_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    # What the driver says when the server dies under a statement that is being cancelled.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

_AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
)


class DatabaseUnavailable(Exception):
    """The database cannot be reached, is full or is shutting down.

    `uncertain` is True when the connection broke during COMMIT: the transaction may or may not have happened,
    and only asking again under the same idempotency key can tell.
    """

    def __init__(self, reason: str, *, uncertain: bool = False) -> None:
        super().__init__(reason)
        self.uncertain = uncertain


class Reader:
    """A connection for reading: statements that only change something need a `Tx`. Made by `Db.read()` only."""

    def __init__(self, connection: "PoolConnectionProxy") -> None:
        self._connection = connection

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """Return all rows."""
        with _translated():
            return await self._connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        """Return the first row, or None."""
        with _translated():
            return await self._connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Return the first column of the first row, or None."""
        with _translated():
            return await self._connection.fetchval(sql, *args)

    async def walk(self, sql: str, *args: Any) -> AsyncIterator[asyncpg.Record]:
        """Yield rows of a result too large to hold; only in a `Tx` or a snapshot."""
        with _translated():
            async for row in self._connection.cursor(sql, *args, prefetch=500):
                yield row

    async def prepare(self, sql: str) -> "PreparedStatement":
        """Prepare a statement on this connection; it must not outlive it."""
        with _translated():
            return await self._connection.prepare(sql)


class Tx(Reader):
    """An open transaction. Made by `Db.transaction()` only; who takes a `Tx` may write."""

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement and return its command tag, such as `UPDATE 3`."""
        with _translated():
            return await self._connection.execute(sql, *args)

    async def executemany(self, sql: str, args: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per row of arguments, in one round trip."""
        with _translated():
            await self._connection.executemany(sql, args)

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
        """Add many rows by COPY and return the command tag; several times quicker than INSERT."""
        with _translated():
            return await self._connection.copy_records_to_table(table, columns=columns, records=rows)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Run a part which, if it raises, is undone alone."""
        async with self._connection.transaction():
            yield


class Db:
    """The pool of connections under the service's role."""

    def __init__(self, pool: asyncpg.Pool, *, pooled: bool) -> None:
        self._pool = pool
        self._pooled = pooled

    @classmethod
    async def open(cls, settings: "Settings | str", size: int = 8, statement_cache: int = 256) -> Self:
        """Connect; `settings` may be a bare address, and only then do the other arguments count.

        `statement_cache` 0 says that PgBouncer in transaction mode stands between: then even a single read runs
        inside a transaction, because two messages outside one may reach two different servers.
        Raises DatabaseUnavailable; SettingsError where the address is none.
        """
        if isinstance(settings, str):
            dsn = settings
        else:
            if settings.dsn is None:
                raise DatabaseUnavailable("no database address is set and no embedded one was started")
            dsn, size, statement_cache = settings.dsn, settings.pool_size, settings.statement_cache
        try:
            with _translated():
                pool = await asyncpg.create_pool(
                    dsn,
                    min_size=size,
                    max_size=size,
                    timeout=CONNECT_SECONDS,
                    statement_cache_size=statement_cache,
                    max_cached_statement_lifetime=0,
                    init=_prepare_connection,
                    # Nothing outlives a transaction here, so the driver's reset, a round trip per use, is not needed.
                    reset=_keep,
                    server_settings={"application_name": "mandate"},
                )
        except (ValueError, OverflowError) as error:
            # Said without what was read: a part of a password could be in it.
            raise SettingsError(
                "dsn: no address of a database, as postgresql://user:password@host:port/name; what is special in a part is"
                " percent-encoded"
            ) from error
        return cls(pool, pooled=statement_cache == 0)

    async def close(self, seconds: float = 3.0) -> None:
        """Let running work end, then close; after so many seconds cut it off."""
        try:
            await asyncio.wait_for(self._pool.close(), seconds)
        except (TimeoutError, *_GONE):
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a transaction: committed when the block ends, undone when it raises.

        Raises DatabaseUnavailable when the database is lost, `uncertain` when that was during COMMIT.
        """
        async with self._borrowed() as connection:
            transaction = connection.transaction()
            with _translated():
                await transaction.start()
            try:
                yield Tx(connection)
            except BaseException:
                await _undo(transaction)
                raise
            with _translated(uncertain=True):
                await transaction.commit()

    @asynccontextmanager
    async def read(self, *, snapshot: bool = False) -> AsyncIterator[Reader]:
        """Lend a connection for reading; with `snapshot` all its reads see one instant of the database."""
        async with self._borrowed() as connection:
            if not snapshot and not self._pooled:
                yield Reader(connection)
                return
            isolation = "repeatable_read" if snapshot else "read_committed"
            transaction = connection.transaction(isolation=isolation, readonly=True)
            with _translated():
                await transaction.start()
            try:
                yield Reader(connection)
            finally:
                await _undo(transaction)

    def chain(self) -> "Chain":
        """Return what runs transactions one after another for one task."""
        return Chain(self._pool)

    @asynccontextmanager
    async def _borrowed(self) -> "AsyncIterator[PoolConnectionProxy]":
        with _translated():
            connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
        try:
            yield connection
        finally:
            # A release that fails has already cost the connection; what matters was said by the statement itself.
            try:
                await self._pool.release(connection)
            except (*_GONE, asyncpg.InterfaceError):
                pass


class Chain:
    """Transactions of one task, one after another on one connection; made by `Db.chain()` only.

    Each begins with the COMMIT of the one before it (`COMMIT AND CHAIN`), which saves a round trip and the borrowing of a
    connection. Whoever has no more to run says `rest`, so that no transaction stays open for long. If we crash, the
    server ends the open one, in which nothing was done.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._connection: PoolConnectionProxy | None = None

    @property
    def resting(self) -> bool:
        """Whether no transaction is open."""
        return self._connection is None

    async def run(
        self, work: Callable[[Tx], Awaitable[T]], meanwhile: Callable[[T], U], *, attempts: int = 4
    ) -> U:
        """Run `work` in a transaction, and again, up to `attempts` times, when it lost a race with another one.

        Returns what `meanwhile` makes of its result while COMMIT is on its way; if that fails, nobody sees it. Retried are
        serialization failures, deadlocks and plans made stale by a migration; each time `work` starts from nothing, so it
        must keep nothing from a failed attempt. The last error is raised as it is.
        Raises DatabaseUnavailable, `uncertain` when the database is lost during COMMIT.
        """
        for attempt in range(1, attempts):
            try:
                return await self._once(work, meanwhile)
            except _AGAIN:
                await asyncio.sleep(random.uniform(0.001, 0.010) * 2**attempt)  # noqa: S311  spreads the crowd
        return await self._once(work, meanwhile)

    async def rest(self) -> None:
        """Give the connection back, without a transaction."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # On a lost connection the server has rolled back already, and a release that fails has cost the connection.
        with suppress(*_GONE, asyncpg.InterfaceError):
            await connection.execute("ROLLBACK")
        with suppress(*_GONE, asyncpg.InterfaceError):
            await self._pool.release(connection)

    async def _once(self, work: Callable[[Tx], Awaitable[T]], meanwhile: Callable[[T], U]) -> U:
        connection = await self._begun()
        try:
            worked = await work(Tx(connection))
            with _translated(uncertain=True):
                commit = asyncio.ensure_future(connection.execute("COMMIT AND CHAIN"))
                # One turn of the loop sends it.
                await asyncio.sleep(0)
                try:
                    done = meanwhile(worked)
                finally:
                    await commit
        except BaseException:
            await self.rest()
            raise
        return done

    async def _begun(self) -> "PoolConnectionProxy":
        """The connection, in a transaction in which nothing was done yet."""
        if self._connection is not None and self._connection.is_closed():
            await self.rest()
        if self._connection is None:
            with _translated():
                self._connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
                try:
                    await self._connection.execute("BEGIN")
                except BaseException:
                    await self.rest()
                    raise
        return self._connection


async def _undo(transaction: Any) -> None:
    """Roll back; on a lost connection the server has already done so."""
    try:
        await transaction.rollback()
    except (*_GONE, asyncpg.InterfaceError):
        pass


@contextmanager
def _translated(*, uncertain: bool = False) -> "Iterator[None]":
    """Turn every way of losing the database into DatabaseUnavailable; leave what the statement itself did wrong."""
    try:
        yield
    except _GONE as error:
        raise DatabaseUnavailable(_reason(error), uncertain=uncertain and not _refused(error)) from error
    except asyncpg.InterfaceError as error:
        if any(word in str(error) for word in ("closed", "closing", "terminated", "released back")):
            raise DatabaseUnavailable(_reason(error), uncertain=uncertain) from error
        raise


def _refused(error: BaseException) -> bool:
    return isinstance(error, asyncpg.TooManyConnectionsError | ConnectionRefusedError)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "the database did not answer in time"
    return f"the database is not available: {str(error) or type(error).__name__}"


async def _prepare_connection(connection: asyncpg.Connection) -> None:
    # In a transaction, because behind a pooler the look-up of the type and its use could reach two servers.
    async with connection.transaction():
        # Binary, so that they can stand inside rows that are themselves a value.
        for name, encoder, decoder in (
            ("jsonb", _jsonb, _of_jsonb),
            ("json", msgspec.json.encode, msgspec.json.decode),
        ):
            await connection.set_type_codec(
                name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="binary"
            )


async def _keep(_connection: asyncpg.Connection) -> None:
    """Leave the session as it is."""


def _jsonb(value: Any) -> bytes:
    """The binary form of jsonb: its version, and the text."""
    return b"\x01" + msgspec.json.encode(value)


def _of_jsonb(raw: bytes) -> Any:
    return msgspec.json.decode(raw[1:])
