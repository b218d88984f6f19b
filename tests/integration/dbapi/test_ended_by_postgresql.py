"""PostgreSQL ends a connection and says why: psycopg raises the same as on a direct one."""

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import errors

END_ITSELF = "pg_terminate_backend(pg_backend_pid())"
END_IN_THE_MIDDLE = f"""
    SELECT repeat('x', 100), CASE WHEN n = 20000 THEN {END_ITSELF} END
    FROM generate_series(1, 50000) AS n
"""


@pytest.fixture
def terminate(shard_postgres_dsn: str) -> Iterator[Callable[[int], None]]:
    """Ends the backend of a process id, and returns once it is gone."""
    with psycopg.connect(shard_postgres_dsn, autocommit=True) as other:

        def terminate(pid: int) -> None:
            query = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
            # In a COPY, it would otherwise tell another line.
            while other.execute(query, [pid]).fetchone() != ("ClientRead",):
                time.sleep(0.01)
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
            while other.execute(query, [pid]).fetchone() is not None:
                time.sleep(0.01)

        yield terminate


@pytest.fixture
def both(
    shard_postgres_dsn: str, connection: psycopg.Connection
) -> tuple[psycopg.Connection, psycopg.Connection]:
    """A direct connection, and one over a shard server."""
    return psycopg.connect(shard_postgres_dsn, autocommit=True), connection


def in_a_statement(connection, terminate, table):
    connection.execute(f"SELECT {END_ITSELF}")


def in_a_statement_with_parameters(connection, terminate, table):
    psycopg.Cursor(connection).execute(f"SELECT {END_ITSELF}, %s", [1])


def in_the_middle_of_a_result(connection, terminate, table):
    connection.execute(END_IN_THE_MIDDLE)


def in_the_middle_of_a_stream(connection, terminate, table):
    with psycopg.Cursor(connection) as cursor:
        for text, _ in cursor.stream(END_IN_THE_MIDDLE):
            assert text == "x" * 100


def in_the_middle_of_a_copy_out(connection, terminate, table):
    with connection.cursor() as cursor, cursor.copy(f"COPY ({END_IN_THE_MIDDLE}) TO STDOUT") as out:
        for _ in out:
            pass


def in_the_middle_of_a_copy_in(connection, terminate, table):
    with connection.transaction(), connection.cursor() as cursor:
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            copy.write("1\tx\n")
            terminate(pid)


def between_two_statements_of_a_transaction(connection, terminate, table):
    with connection.transaction():
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        terminate(pid)
        connection.execute("SELECT 1")


def before_a_commit(connection, terminate, table):
    with connection.transaction():
        connection.execute(f"INSERT INTO {table} VALUES (1, 'x')")
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        terminate(pid)


def of_a_transaction_that_idled(connection, terminate, table):
    with connection.transaction():
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 20")
        time.sleep(0.2)
        connection.execute("SELECT 1")


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (in_a_statement, errors.AdminShutdown),
        (in_a_statement_with_parameters, errors.AdminShutdown),
        (in_the_middle_of_a_result, errors.AdminShutdown),
        (in_the_middle_of_a_stream, errors.AdminShutdown),
        (in_the_middle_of_a_copy_out, errors.AdminShutdown),
        (in_the_middle_of_a_copy_in, errors.AdminShutdown),
        (between_two_statements_of_a_transaction, errors.AdminShutdown),
        (before_a_commit, errors.AdminShutdown),
        (of_a_transaction_that_idled, errors.IdleInTransactionSessionTimeout),
    ],
    ids=lambda value: value.__name__,
)
def test_its_own_error_is_raised_with_every_diagnostic(both, terminate, table, end, kind):
    said = []
    for one in both:
        with pytest.raises(kind) as caught:
            end(one, terminate, table)
        diag = caught.value.diag
        fields = [name for name in dir(diag) if not name.startswith("_")]
        said.append((str(caught.value), {name: getattr(diag, name) for name in fields}))
        assert one.closed
        with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
            one.execute("SELECT 1")
    assert said[0] == said[1]
    assert said[0][1]["severity"] == "FATAL"
