"""Loopbacks go from connection to connection, and nothing goes with them."""

import gc

import psycopg
import pytest

from mtdd_router import dbapi
from mtdd_router.backend.locators import DatabaseLocator
from mtdd_router.dbapi import loopback


@pytest.fixture
def connect(shard_addresses):
    opened = []

    def connect(**options):
        locator = DatabaseLocator(shard_addresses["shard1"], "mtdd", "")
        connection = dbapi.connect(locator, database="mtdd", autocommit=True, **options)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


def test_single_row_mode_does_not_go_to_the_next_connection(connect):
    loopback._free.clear()
    first = connect()
    with psycopg.Cursor(first) as cursor:
        assert list(cursor.stream("SELECT 1")) == [(1,)]
    del cursor
    first.close()
    assert len(loopback._free["mtdd"]) == 1
    second = connect()
    with second.pipeline():
        assert psycopg.Cursor(second).execute("SELECT 2").fetchone() == (2,)


def test_a_thread_keeps_few_loopbacks_however_many_connections_it_has(connect):
    connections = [connect() for _ in range(20)]
    for connection in connections:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert sum(connection._loopback is not None for connection in connections) <= 5
    for number, connection in enumerate(connections):
        assert connection.execute("SELECT %s", [number]).fetchone() == (number,)


def test_a_cursor_that_is_alive_keeps_its_loopback_from_others(connect):
    mine = connect()
    cursor = mine.execute("SELECT 1")
    others = [connect() for _ in range(20)]
    for other in others:
        other.execute("SELECT 2")
    assert cursor.execute("SELECT 3").fetchone() == (3,)


def test_connections_that_end_as_garbage_leave_no_dead_loopback_to_others(connect, shard_addresses):
    loopback._free.clear()
    locator = DatabaseLocator(shard_addresses["shard1"], "mtdd", "")
    # As of threads that end without closing theirs: the collector finalises all that is
    # in a cycle, in any order.
    for _ in range(8):
        forgotten = dbapi.connect(locator, database="mtdd", autocommit=True)
        forgotten.execute("SELECT 1")
        forgotten.cycle = [forgotten]
        del forgotten
    gc.collect()
    for number in range(8):
        assert connect().execute("SELECT %s", [number]).fetchone() == (number,)


def test_a_transaction_keeps_its_loopback_from_others(connect):
    mine = connect()
    with mine.transaction():
        mine.execute("CREATE TEMP TABLE x (id int) ON COMMIT DROP")
        for other in [connect() for _ in range(20)]:
            other.execute("SELECT 2")
        assert mine.execute("SELECT count(*) FROM x").fetchone() == (0,)


def test_a_time_zone_does_not_go_to_the_next_connection(connect):
    first = connect(settings={"TimeZone": "Asia/Tokyo"})
    assert first.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo",)
    assert first.info.parameter_status("TimeZone") == "Asia/Tokyo"
    first.close()
    second = connect(settings={"TimeZone": "UTC"})
    assert second.info.parameter_status("TimeZone") == "UTC"
    assert second.execute("SHOW TimeZone").fetchone() == ("UTC",)
    third = connect()
    assert third.execute("SHOW TimeZone").fetchone() != ("Asia/Tokyo",)


def test_other_declared_settings_are_taken_back(connect):
    first = connect(settings={"work_mem": "77MB"})
    assert first.execute("SHOW work_mem").fetchone() == ("77MB",)
    first.close()
    second = connect()
    assert second.execute("SHOW work_mem").fetchone() != ("77MB",)


def test_a_session_that_left_state_behind_is_cleaned(connect):
    first = connect()
    first.execute("SET work_mem = '88MB'; CREATE TEMP TABLE left_behind (id int); LISTEN x")
    first.execute("SELECT pg_advisory_lock(4711)")
    first.prepare_threshold = 0
    psycopg.Cursor(first).execute("SELECT 1 + %s", [1])
    assert first.busy
    first.close()
    second = connect()
    for _ in range(30):
        assert second.execute("SHOW work_mem").fetchone() != ("88MB",)
        assert second.execute("SELECT to_regclass('left_behind')").fetchone() == (None,)
        assert second.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0] <= 1
        assert second.execute("SELECT pg_listening_channels()").fetchall() == []
    with second.transaction():
        assert second.execute("SELECT pg_try_advisory_xact_lock(4711)").fetchone() == (True,)
