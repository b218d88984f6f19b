"""A connection that a program of PostgreSQL goes on with, in the transaction that is open."""

from contextlib import closing

import psycopg
import pytest


def through(relay):
    # As a context manager it would commit the transaction that it finds itself in.
    return closing(
        psycopg.connect(
            host=str(relay.folder), port=relay.port, user="nobody", dbname="any", autocommit=True
        )
    )


def test_a_program_goes_on_in_the_transaction(connection, direct, table):
    with connection.transaction():
        connection.execute(f"INSERT INTO {table} VALUES (1, 'before')")
        with connection.lent() as relay, through(relay) as program:
            program.execute(f"INSERT INTO {table} VALUES (2, 'program')")
            assert program.execute(f"SELECT count(*) FROM {table}").fetchone() == (2,)
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (2,)
        assert direct.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        with connection.lent() as relay, through(relay) as program:
            with program.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                copy.write("3\tcopied\n")
    assert direct.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,)


def test_what_a_program_did_is_rolled_back_with_the_rest(connection, direct, table):
    with connection.transaction(force_rollback=True):
        connection.execute(f"INSERT INTO {table} VALUES (1, 'before')")
        with connection.lent() as relay, through(relay) as program:
            program.execute(f"INSERT INTO {table} VALUES (2, 'program')")
    assert direct.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_program_that_fails_lets_nothing_be_committed(connection, direct, table):
    with pytest.raises(psycopg.errors.InFailedSqlTransaction), connection.transaction():
        connection.execute(f"INSERT INTO {table} VALUES (1, 'before')")
        with connection.lent() as relay, through(relay) as program:
            with pytest.raises(psycopg.errors.DivisionByZero):
                program.execute("SELECT 1/0")
        connection.execute("SELECT 1")
    assert direct.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
