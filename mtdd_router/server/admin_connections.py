"""The connections of a worker for administrative calls, each for one of them at a time.

Opening one costs more than most calls, so it is kept for a while. Invariants: what a
call leaves behind, or an exception, never meets the next call: such a connection is
closed; it is opened anew after so many calls, for a backend of PostgreSQL remembers
each relation that it has seen.
"""

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from mtdd_router.server.control import AsyncConnection, connect

__all__ = ["AdminConnections"]

_KEPT_SECONDS: Final = 10.0
_CALLS: Final = 200


@dataclass(slots=True, eq=False)
class _Connection:
    """A connection, how many calls it has served, and what closes it when it rests."""

    connection: AsyncConnection
    shard_id: UUID
    calls: int = 0
    expiry: asyncio.TimerHandle | None = None


class AdminConnections:
    """At most *size* connections to the shard's own database, opened when they are used.

    Args:
        dsn: PostgreSQL's connection string.
        connect_timeout: in seconds.
        size: how many calls run at a time; others wait.
    """

    def __init__(self, dsn: str, connect_timeout: float, *, size: int) -> None:
        self._dsn = dsn
        self._connect_timeout = connect_timeout
        self._turns = asyncio.Semaphore(size)
        self._resting: list[_Connection] = []
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[tuple[AsyncConnection, UUID]]:
        """Use a connection alone, and learn the id of the shard.

        Raises:
            psycopg.OperationalError: if PostgreSQL cannot be reached.
        """
        async with self._turns:
            used = await self._take()
            connection = used.connection
            try:
                yield connection, used.shard_id
            except BaseException:
                await connection.close()
                raise
            used.calls += 1
            idle = connection.info.transaction_status is TransactionStatus.IDLE
            if idle and used.calls < _CALLS:
                self._rest(used)
            else:
                await connection.close()

    async def close(self) -> None:
        """Close those that are kept."""
        resting, self._resting = self._resting, []
        for kept in resting:
            self._forget(kept)
            await kept.connection.close()
        await asyncio.gather(*self._closing)

    async def _take(self) -> _Connection:
        while self._resting:
            kept = self._resting.pop()
            self._forget(kept)
            try:
                if _is_spoken_to(kept.connection):
                    await _shard_id(kept.connection)
            except psycopg.OperationalError:
                # PostgreSQL has ended it meanwhile.
                await kept.connection.close()
            else:
                return kept
        connection = await connect(self._dsn, self._connect_timeout)
        try:
            return _Connection(connection, await _shard_id(connection))
        except BaseException:
            await connection.close()
            raise

    def _rest(self, used: _Connection) -> None:
        loop = asyncio.get_running_loop()
        used.expiry = loop.call_later(_KEPT_SECONDS, self._expire, used)
        self._resting.append(used)

    def _expire(self, kept: _Connection) -> None:
        self._resting.remove(kept)
        task = asyncio.get_running_loop().create_task(kept.connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    @staticmethod
    def _forget(kept: _Connection) -> None:
        """It rests no longer."""
        if kept.expiry is not None:
            kept.expiry.cancel()
            kept.expiry = None


def _is_spoken_to(connection: AsyncConnection) -> bool:
    """Whether PostgreSQL has said anything that nobody asked for, such as that it goes."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _shard_id(connection: AsyncConnection) -> UUID:
    cursor = await connection.execute("SELECT shard_id FROM mtdd.shard")
    row = await cursor.fetchone()
    assert row is not None
    shard_id: UUID = row[0]
    return shard_id
