"""The control connection of a worker: one PostgreSQL connection beside the pool.

It listens for placement changes, answers lookups, and is the worker's proof
that PostgreSQL answers. It is remade with back-off whenever it is lost.

Invariants: while ``connected`` is true the channel is listened to, so a
notification that is committed reaches the watchers; watchers are told of a loss
before anybody can use the next connection. It runs in autocommit, with an
empty search path.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

import psycopg
from psycopg import sql
from psycopg.pq.abc import PGconn
from psycopg.pq.misc import PGnotify

from mtdd_router.errors import ShardUnavailable
from mtdd_router.server.logs import get_logger

__all__ = [
    "BEGIN",
    "LOCK_TIMEOUT",
    "AsyncConnection",
    "ControlConnection",
    "Watcher",
    "clean",
    "connect",
    "fetch_value",
]

AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]

LOCK_TIMEOUT: Final = 5.0
"""So many seconds does what changes catalogs wait for a lock."""

BEGIN: Final = f"BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT:g}s'"
"""Begins a transaction that changes catalogs."""

APPLICATION_NAME: Final = "mtdd_shard"
_HEARTBEAT: Final = 5.0
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 5.0
# A dead network is noticed within about half a minute even without traffic.
_KEEPALIVE: Final[dict[str, Any]] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_SESSION: Final = (
    "SELECT pg_catalog.set_config('search_path', '', false),"
    " pg_catalog.set_config('statement_timeout', '0', false),"
    " pg_catalog.set_config('idle_session_timeout', '0', false),"
    " pg_catalog.set_config('default_transaction_isolation', 'read committed', false),"
    " pg_catalog.set_config('default_transaction_read_only', 'off', false)"
)
# What statements of others may have changed; but not prepared statements, which are ours.
_CLEAN: Final = (
    "CLOSE ALL; RESET ROLE; RESET ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES;"
    " SELECT pg_catalog.pg_advisory_unlock_all()"
)

log = get_logger(__name__)


class Watcher(Protocol):
    """Who wants to know what happens on the control connection."""

    def connected(self) -> None:
        """PostgreSQL answers, and the channel is listened to."""

    def lost(self) -> None:
        """The connection is gone: notifications may be missed from now on."""

    def notified(self, payload: str) -> None:
        """A notification came."""


async def connect(dsn: str, limit: float) -> AsyncConnection:
    """Open a connection for the server's own work, within *limit* seconds.

    Raises:
        psycopg.OperationalError: if PostgreSQL cannot be reached.
    """
    try:
        async with asyncio.timeout(limit):
            connection = await psycopg.AsyncConnection.connect(
                dsn, autocommit=True, application_name=APPLICATION_NAME, **_KEEPALIVE
            )
    except TimeoutError as exc:
        raise psycopg.OperationalError(f"no answer within {limit:g} s") from exc
    connection.prepare_threshold = None
    try:
        await connection.execute(_SESSION)
    except BaseException:
        await connection.close()
        raise
    return connection


async def fetch_value(connection: AsyncConnection, query: str, *parameters: object) -> Any:
    """Return the first column of the first row, or None if there is no row."""
    cursor = await connection.execute(query.encode(), list(parameters) or None)
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def clean(connection: AsyncConnection) -> None:
    """Undo what statements that are not the server's own did to the session.

    Raises:
        psycopg.OperationalError: if PostgreSQL is lost.
    """
    await connection.execute(f"{_CLEAN}; {_SESSION}".encode())


class ControlConnection:
    """The control connection, kept up by ``run``.

    Args:
        dsn: PostgreSQL's connection string.
        channel: the channel to listen to.
        prepare: run on each new connection before it is used.
        connect_timeout: in seconds.
    """

    def __init__(
        self,
        dsn: str,
        *,
        channel: str,
        prepare: Callable[[AsyncConnection], Awaitable[None]],
        connect_timeout: float = 10.0,
    ) -> None:
        self._dsn = dsn
        self._channel = channel
        self._prepare = prepare
        self._connect_timeout = connect_timeout
        self._connection: AsyncConnection | None = None
        self._fileno = -1
        self._lock = asyncio.Lock()
        self._watchers: list[Watcher] = []
        self._gone = asyncio.Event()
        self._wanted = asyncio.Event()
        self._attempt: asyncio.Future[None] | None = None
        self._reason = "it has not been reached yet"

    @property
    def connected(self) -> bool:
        """Whether PostgreSQL answers."""
        return self._connection is not None

    def watch(self, watcher: Watcher) -> None:
        """Tell *watcher* what happens from now on."""
        self._watchers.append(watcher)

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[AsyncConnection]:
        """Use the connection alone.

        Without a connection, one is attempted now, not after the back-off.

        Raises:
            ShardUnavailable: if PostgreSQL cannot be reached, or is lost meanwhile.
        """
        await self.attempted()
        async with self._lock:
            connection = self._connection
            if connection is None:
                raise self._unavailable()
            loop = asyncio.get_running_loop()
            # psycopg watches the socket itself while it waits.
            loop.remove_reader(self._fileno)
            try:
                yield connection
            except psycopg.OperationalError as exc:
                if not _is_broken(connection):
                    raise
                self._lose(connection, str(exc))
                raise self._unavailable() from exc
            finally:
                if self._connection is connection:
                    if _is_broken(connection) or not _is_idle(connection):
                        self._lose(connection, "it was interrupted")
                    else:
                        self._listen(connection)

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        delay = _FIRST_DELAY
        try:
            while True:
                if await self._open():
                    delay = _FIRST_DELAY
                    await self._until_lost()
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay * random.uniform(0.8, 1.2)):
                        await self._wanted.wait()
                delay = min(delay * 2, _LONGEST_DELAY)
        finally:
            if (connection := self._connection) is not None:
                self._lose(connection, "")
            self._answer_waiters()

    async def attempted(self) -> None:
        """Return when there is a connection, or the next attempt at one has failed."""
        if self._connection is None:
            await self._attempt_now()

    async def _attempt_now(self) -> None:
        if self._attempt is None:
            self._attempt = asyncio.get_running_loop().create_future()
        self._wanted.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._connect_timeout):
                await asyncio.shield(self._attempt)

    async def _open(self) -> bool:
        self._wanted.clear()
        connection = None
        try:
            connection = await connect(self._dsn, self._connect_timeout)
            await self._prepare(connection)
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        except Exception as exc:  # noqa: BLE001 - whatever is wrong there, it is tried again
            if connection is not None:
                await connection.close()
            if str(exc) != self._reason:
                self._reason = str(exc)
                log.warning("postgres_unavailable", reason=self._reason)
            return False
        else:
            self._adopt(connection)
            return True
        finally:
            self._answer_waiters()

    def _answer_waiters(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None and not attempt.done():
            attempt.set_result(None)

    def _adopt(self, connection: AsyncConnection) -> None:
        self._gone.clear()
        self._connection = connection
        self._fileno = connection.fileno()
        self._reason = ""
        connection.pgconn.notify_handler = self._notified
        log.info("postgres_connected", backend_pid=connection.info.backend_pid)
        for watcher in self._watchers:
            watcher.connected()
        self._listen(connection)

    async def _until_lost(self) -> None:
        while not self._gone.is_set():
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await self._gone.wait()
            except TimeoutError:
                await self._beat()

    async def _beat(self) -> None:
        try:
            async with asyncio.timeout(_HEARTBEAT), self.use() as connection:
                await connection.execute("SELECT 1")
        except (TimeoutError, ShardUnavailable, psycopg.Error) as exc:
            if (silent := self._connection) is not None:
                self._lose(silent, str(exc) or "it does not answer")

    def _listen(self, connection: AsyncConnection) -> None:
        """Take in notifications as they come, while nobody uses the connection."""
        self._drain(connection)
        if self._connection is connection:
            asyncio.get_running_loop().add_reader(self._fileno, self._readable, connection)

    def _readable(self, connection: AsyncConnection) -> None:
        try:
            connection.pgconn.consume_input()
        except psycopg.OperationalError as exc:
            self._lose(connection, str(exc))
            return
        self._drain(connection)

    def _drain(self, connection: AsyncConnection) -> None:
        pgconn: PGconn = connection.pgconn
        while (notice := pgconn.notifies()) is not None:
            self._notified(notice)
        if _is_broken(connection):
            self._lose(connection, "it was closed by PostgreSQL")

    def _notified(self, notice: PGnotify) -> None:
        if notice.relname.decode() == self._channel:
            for watcher in self._watchers:
                watcher.notified(notice.extra.decode())

    def _lose(self, connection: AsyncConnection, reason: str) -> None:
        if self._connection is not connection:
            return
        self._connection = None
        self._reason = reason
        asyncio.get_running_loop().remove_reader(self._fileno)
        connection.pgconn.finish()
        if reason:
            log.warning("postgres_lost", reason=reason)
        for watcher in self._watchers:
            watcher.lost()
        self._gone.set()

    def _unavailable(self) -> ShardUnavailable:
        return ShardUnavailable(f"PostgreSQL of this shard cannot be reached: {self._reason}")


def _is_broken(connection: AsyncConnection) -> bool:
    return connection.closed or connection.pgconn.status != psycopg.pq.ConnStatus.OK


def _is_idle(connection: AsyncConnection) -> bool:
    return connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
