"""One backend connection: what is put in front of a statement, and how answers are heard."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mtdd_router.server.postgres.connection import PostgresConnection
from mtdd_router.server.postgres.dsn import Dsn
from mtdd_router.server.requests import begin_messages
from mtdd_router.wire import frontend

PATIENCE = 10.0

Use = Callable[[PostgresConnection], Awaitable[None]]


@pytest.fixture
def with_connection(shard_dsn: str) -> Callable[[Use], None]:
    """Run a coroutine on a connection of its own."""

    async def main(use: Use) -> None:
        dsn = Dsn.parse(shard_dsn)
        connection = await PostgresConnection.connect(dsn, dsn.database, {})
        try:
            async with asyncio.timeout(PATIENCE):
                await use(connection)
        finally:
            gone = asyncio.Event()
            connection.when_gone = gone.set
            connection.close()
            if not connection.gone:
                await gone.wait()

    return lambda use: asyncio.run(main(use))


async def heard(connection: PostgresConnection) -> bytes:
    """Return what there is of the answer when it is first heard."""
    done = asyncio.Event()
    connection.heard = done.set
    await done.wait()
    connection.heard = None
    return connection.take()


def test_a_query_runs_in_the_transaction_that_is_begun_before_it(
    with_connection: Callable[[Use], None],
) -> None:
    async def use(connection: PostgresConnection) -> None:
        query = frontend.simple_query(b"SELECT 'x'; SELECT 'y'")
        connection.send(begin_messages("BEGIN READ ONLY") + query, syncs=1, prelude=1, query=True)
        answer = await connection.complete()
        assert answer[:1] == b"T"
        assert answer.count(b"SELECT 1") == 2
        assert connection.status == b"T"
        assert connection.prelude_error is None
        assert await connection.ask(frontend.simple_query(b"ROLLBACK"))
        assert connection.status == b"I"

    with_connection(use)


def test_a_query_does_not_run_if_what_is_before_it_fails(
    with_connection: Callable[[Use], None],
) -> None:
    async def use(connection: PostgresConnection) -> None:
        assert await connection.ask(frontend.simple_query(b"CREATE TEMPORARY TABLE t (i int)"))
        query = frontend.simple_query(b"INSERT INTO t VALUES (1)")
        connection.send(begin_messages("BEGINN") + query, syncs=1, prelude=1, query=True)
        answer = await connection.complete()
        assert connection.prelude_error is not None
        assert b"BEGINN" in connection.prelude_error
        assert answer == ready()
        assert connection.quiet
        assert not connection.whole
        # It was passed over, and the connection is in step.
        connection.send(frontend.simple_query(b"SELECT count(*) FROM t"), syncs=1)
        assert b"\0\1\0\0\0\0010" in await connection.complete()

    with_connection(use)


def test_an_answer_is_heard_when_it_is_whole(with_connection: Callable[[Use], None]) -> None:
    async def use(connection: PostgresConnection) -> None:
        connection.send(frontend.simple_query(b"SELECT 'all of it'"), syncs=1)
        answer = await heard(connection)
        assert connection.whole
        assert b"all of it" in answer
        assert answer[-6:] == ready()

    with_connection(use)


def test_a_long_answer_is_heard_in_parts(with_connection: Callable[[Use], None]) -> None:
    async def use(connection: PostgresConnection) -> None:
        rows = b"SELECT repeat('x', 1000) FROM generate_series(1, 5000)"
        connection.send(frontend.simple_query(rows), syncs=1)
        answer = await heard(connection)
        assert not connection.whole
        answer += await connection.complete()
        assert connection.whole
        assert answer.count(b"x" * 1000) == 5000

    with_connection(use)


def test_the_end_of_a_connection_is_heard(with_connection: Callable[[Use], None]) -> None:
    async def use(connection: PostgresConnection) -> None:
        end = b"SELECT pg_terminate_backend(pg_backend_pid())"
        connection.send(frontend.simple_query(end), syncs=1)
        await heard(connection)
        assert not connection.whole

    with_connection(use)


def ready() -> bytes:
    """Return PostgreSQL's ReadyForQuery of an idle session."""
    return b"Z\0\0\0\5I"
