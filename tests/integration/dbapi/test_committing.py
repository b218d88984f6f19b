"""A statement that ends its transaction with COMMIT, sent in each way that psycopg has."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors, pq

from mtdd_router.errors import TransactionEnded

INSERT = "INSERT INTO scratch.t VALUES (%s, %s)"


def prepared(connection: psycopg.Connection[Any], query: str, values: list[object]) -> None:
    connection.execute(query, values, prepare=True)


def bound(connection: psycopg.Connection[Any], query: str, values: list[object]) -> None:
    psycopg.Cursor(connection).execute(query, values)


def as_text(connection: psycopg.Connection[Any], query: str, values: list[object]) -> None:
    psycopg.ClientCursor(connection).execute(query, values)


Run = Callable[[psycopg.Connection[Any], str, list[object]], None]


@pytest.fixture(params=[prepared, bound, as_text])
def run(request: pytest.FixtureRequest, connection: psycopg.Connection[Any], table: str) -> Run:
    """One of the ways, on a connection that begins transactions."""
    connection.autocommit = False
    return request.param


def tell_at_commit(direct: psycopg.Connection[Any], what: str) -> None:
    """Let COMMIT raise a notice of *what* for each row that was inserted."""
    direct.execute(f"""
        CREATE FUNCTION scratch.tell() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE NOTICE {what}; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON scratch.t
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION scratch.tell()
    """)


def ids(direct: psycopg.Connection[Any]) -> list[int]:
    return [number for (number,) in direct.execute("SELECT id FROM scratch.t ORDER BY 1")]


def test_it_is_committed_and_the_next_transaction_is_another(direct, connection, run):
    for number in range(1, 8):
        run(connection, INSERT, [-number, "first"])
        with connection.committing():
            run(connection, INSERT, [number, "last"])
        assert connection.info.transaction_status == pq.TransactionStatus.IDLE
        assert len(ids(direct)) == 2 * number
        with pytest.raises(TransactionEnded):
            run(connection, INSERT, [100, "never"])
        connection.commit()
    run(connection, INSERT, [101, "never"])
    connection.rollback()
    assert len(ids(direct)) == 14


def test_a_write_of_no_row_leaves_the_transaction_open(direct, connection, run):
    run(connection, INSERT, [1, "first"])
    with connection.committing():
        run(connection, "UPDATE scratch.t SET word = %s WHERE id = %s", ["x", 10])
        assert connection.info.transaction_status == pq.TransactionStatus.INTRANS
        run(connection, "UPDATE scratch.t SET word = %s WHERE id = %s", ["x", 1])
        assert connection.info.transaction_status == pq.TransactionStatus.IDLE
    connection.rollback()
    assert ids(direct) == [1]


def test_an_error_of_the_write_is_its_own(direct, connection, run):
    run(connection, INSERT, [1, "first"])
    with connection.committing(), pytest.raises(errors.UniqueViolation):
        run(connection, INSERT, [1, "again"])
    assert connection.info.transaction_status == pq.TransactionStatus.INERROR
    connection.rollback()
    assert ids(direct) == []


def test_an_error_of_the_commit_is_the_statements(direct, connection, run):
    direct.execute("ALTER TABLE scratch.t ADD UNIQUE (word) DEFERRABLE INITIALLY DEFERRED")
    run(connection, INSERT, [1, "same"])
    with connection.committing(), pytest.raises(errors.UniqueViolation, match="t_word_key"):
        run(connection, INSERT, [2, "same"])
    assert connection.info.transaction_status == pq.TransactionStatus.IDLE
    connection.rollback()
    assert ids(direct) == []
    run(connection, INSERT, [3, "other"])
    connection.commit()
    assert ids(direct) == [3]


def test_in_autocommit_it_changes_nothing(direct, connection, run):
    connection.autocommit = True
    with connection.committing():
        run(connection, INSERT, [1, "first"])
        run(connection, INSERT, [2, "second"])
    run(connection, INSERT, [3, "third"])
    connection.autocommit = False
    run(connection, INSERT, [4, "fourth"])
    connection.commit()
    assert ids(direct) == [1, 2, 3, 4]


def test_what_comes_unasked_with_the_commit_arrives(direct, connection, run):
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    tell_at_commit(direct, "'row %', NEW.id")
    with connection.committing():
        run(connection, INSERT, [1, "first"])
    connection.commit()
    assert notices == ["row 1"]
    assert ids(direct) == [1]


def test_a_commit_that_says_much_is_awaited(direct, connection, run):
    tell_at_commit(direct, "'%', repeat('x', 1000)")
    told: list[object] = []
    connection.add_notice_handler(told.append)
    with connection.committing():
        run(
            connection,
            "INSERT INTO scratch.t SELECT n, %s FROM generate_series(1, %s) n",
            ["", 5000],
        )
    connection.commit()
    assert len(told) == len(ids(direct)) == 5000


def test_nothing_else_is_taken_until_the_transaction_is_ended(direct, connection, table):
    connection.autocommit = False
    with connection.committing():
        connection.execute(INSERT, [1, "last"])
    with pytest.raises(TransactionEnded), connection.cursor() as cursor:
        cursor.executemany(INSERT, [[2, "never"], [3, "never"]])
    with pytest.raises(TransactionEnded), connection.pipeline() as pipeline:
        connection.execute(INSERT, [4, "never"])
        pipeline.sync()
        connection.execute(INSERT, [5, "never"])
    with pytest.raises(TransactionEnded), connection.cursor() as cursor:
        with cursor.copy("COPY scratch.t FROM STDIN"):
            pass
    with pytest.raises(TransactionEnded):
        psycopg.ClientCursor(connection).execute("SELECT 1")
    assert connection.info.transaction_status == pq.TransactionStatus.IDLE
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, [[6, "next"], [7, "next"]])
    connection.commit()
    assert ids(direct) == [1, 6, 7]


def test_a_cursor_that_the_commit_has_closed_reads_no_more(direct, connection, table):
    connection.autocommit = False
    connection.execute("INSERT INTO scratch.t SELECT n FROM generate_series(1, 10) n")
    with connection.cursor("held", withhold=True) as held, connection.cursor("open") as opened:
        for cursor in (held, opened):
            cursor.execute("SELECT id FROM scratch.t ORDER BY 1")
            assert cursor.fetchone() == (1,)
        with connection.committing():
            connection.execute(INSERT, [11, "last"])
        for cursor in (held, opened):
            with pytest.raises(TransactionEnded):
                cursor.fetchone()
        connection.commit()
        assert held.fetchone() == (2,)
    connection.commit()


def test_a_copy_is_no_such_statement(direct, connection, table):
    connection.autocommit = False
    with connection.committing(), connection.cursor() as cursor:
        with cursor.copy("COPY scratch.t FROM STDIN") as copy:
            copy.write_row([1, "first"])
    connection.rollback()
    assert ids(direct) == []


def test_what_a_pipeline_wrote_is_committed_as_a_whole(direct, connection, table):
    connection.autocommit = False
    with connection.committing(), connection.pipeline():
        for number in range(3):
            connection.execute(INSERT, [number, "same"])
    connection.commit()
    assert ids(direct) == [0, 1, 2]
