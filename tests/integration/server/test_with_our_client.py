"""Shard servers and our own client: what only the two of them together show."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg_errors
from psycopg.conninfo import conninfo_to_dict

from mtdd_router import dbapi
from mtdd_router.backend.locators import DatabaseLocator
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.client.session import sessions_of
from mtdd_router.errors import ShardRefused, ShardUnavailable
from tests.integration.server.running import RunningServer, StartServer, wait_until

MB = 1 << 20
Connect = Callable[[RunningServer], dbapi.Connection[Any]]


@pytest.fixture
def connect(shard_dsn: str) -> Iterator[Connect]:
    """Connect to the whole database of a server."""
    opened = []
    database = str(conninfo_to_dict(shard_dsn)["dbname"])

    def make(server: RunningServer) -> dbapi.Connection[Any]:
        locator = DatabaseLocator(server.address, database, "")
        opened.append(dbapi.connect(locator, database=database, autocommit=True))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


def test_a_request_that_is_too_long_is_refused_once_and_the_connection_goes_on(
    start_server: StartServer, connect: Connect
) -> None:
    connection = connect(start_server(max_message_bytes=MB))
    with pytest.raises(ShardRefused, match=f"bytes; {MB} are allowed"):
        connection.execute("SELECT length(%s)", ["x" * 2 * MB])
    assert connection.execute("SELECT length(%s)", ["x" * (MB // 2)]).fetchone() == (MB // 2,)
    with pytest.raises(ShardUnavailable, match="rolled back"), connection.transaction():
        connection.execute("SELECT 1")
        connection.execute("SELECT length(%s)", ["x" * 2 * MB])


def test_values_of_many_megabytes_go_both_ways(server: RunningServer, connect: Connect) -> None:
    value = os.urandom(60 * MB)
    row = connect(server).execute("SELECT %b::bytea", [value]).fetchone()
    assert row == (value,)


def test_a_cancel_reaches_the_worker_that_runs_the_statement(
    start_server: StartServer, connect: Connect, shard_dsn: str
) -> None:
    server = start_server(workers=2, pool_size=20)
    connections = [connect(server) for _ in range(6)]
    ended: list[str] = []

    def sleep(connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute("SELECT pg_sleep(60)")
        except pg_errors.QueryCanceled:
            ended.append("cancelled")

    threads = [threading.Thread(target=sleep, args=(item,)) for item in connections]
    for thread in threads:
        thread.start()
    with psycopg.connect(shard_dsn, autocommit=True) as watcher:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'"
        while watcher.execute(query).fetchone() != (len(connections) + 1,):
            time.sleep(0.05)
    for connection in connections:
        connection.cancel()
    for thread in threads:
        thread.join(20)
    assert ended == ["cancelled"] * len(connections)


def test_sessions_that_a_peak_has_left_are_closed(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = sessions_of(Endpoint(server.address))
    for session in [pool.acquire(5.0) for _ in range(5)]:
        pool.release(session)
    admin = server.admin()
    assert admin.info().sessions == 5
    monkeypatch.setattr("mtdd_router.client.session._IDLE_SECONDS", 0.0)
    for _ in range(4):
        session = pool.acquire(5.0)
        assert session.alive
        pool.release(session)
    wait_until(lambda: admin.info().sessions == 1)
    assert admin.info().sessions == 1


def test_a_cancel_is_made_by_another_thread_while_its_own_waits(
    server: RunningServer, connect: Connect
) -> None:
    connection = connect(server)
    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    with pytest.raises(pg_errors.QueryCanceled):
        connection.execute("SELECT pg_sleep(60)")
    timer.join()
    assert connection.execute("SELECT 1").fetchone() == (1,)
