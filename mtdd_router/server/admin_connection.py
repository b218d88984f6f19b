"""The connection of a worker for administrative calls, one of them at a time.

Opening one costs more than most calls, so it is kept for a while. Invariants: what a
call leaves behind, or an exception, never meets the next call: such a connection is
closed; it is opened anew after so many calls, for a backend of PostgreSQL remembers
each relation that it has seen.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from mtdd_router.server.control import AsyncConnection, connect

__all__ = ["AdminConnection"]

_KEPT_SECONDS: Final = 10.0
_CALLS: Final = 200


class AdminConnection:
    """A connection to the shard's own database, opened when it is used.

    Args:
        dsn: PostgreSQL's connection string.
        connect_timeout: in seconds.
    """

    def __init__(self, dsn: str, connect_timeout: float) -> None:
        self._dsn = dsn
        self._connect_timeout = connect_timeout
        self._turn = asyncio.Lock()
        self._kept: AsyncConnection | None = None
        self._calls = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[tuple[AsyncConnection, UUID]]:
        """Use the connection alone, and learn the id of the shard.

        Raises:
            psycopg.OperationalError: if PostgreSQL cannot be reached.
        """
        async with self._turn:
            connection, shard_id = await self._take()
            try:
                yield connection, shard_id
            except BaseException:
                await connection.close()
                raise
            if connection.info.transaction_status is TransactionStatus.IDLE:
                await self._keep(connection)
            else:
                await connection.close()

    async def close(self) -> None:
        """Close the connection if it is kept."""
        async with self._turn:
            await self._close_kept()

    async def _take(self) -> tuple[AsyncConnection, UUID]:
        if self._expiry is not None:
            self._expiry.cancel()
        if (kept := self._kept) is not None:
            self._kept = None
            try:
                return kept, await _shard_id(kept)
            except psycopg.OperationalError:
                # PostgreSQL has ended it meanwhile.
                await kept.close()
        self._calls = 0
        connection = await connect(self._dsn, self._connect_timeout)
        try:
            return connection, await _shard_id(connection)
        except BaseException:
            await connection.close()
            raise

    async def _keep(self, connection: AsyncConnection) -> None:
        self._calls += 1
        if self._calls >= _CALLS:
            await connection.close()
            return
        self._kept = connection
        self._expiry = asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._expire)

    def _expire(self) -> None:
        self._closing = asyncio.ensure_future(self.close())

    async def _close_kept(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.close()


async def _shard_id(connection: AsyncConnection) -> UUID:
    cursor = await connection.execute("SELECT shard_id FROM mtdd.shard")
    row = await cursor.fetchone()
    assert row is not None
    shard_id: UUID = row[0]
    return shard_id
