"""Types beyond the common ones, and what goes wrong with them, as on a direct connection."""

import datetime
import decimal
import threading

import psycopg
import pytest
from psycopg import sql
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.hstore import register_hstore
from psycopg.types.range import Int4Range, TimestamptzRange

MEGABYTE = 1 << 20


@pytest.fixture
def types(direct):
    direct.execute("DROP SCHEMA IF EXISTS kinds CASCADE; CREATE SCHEMA kinds")
    direct.execute("CREATE TYPE kinds.mood AS ENUM ('glad', 'sad')")
    direct.execute("CREATE TYPE kinds.place AS (x int, name text)")
    direct.execute("CREATE EXTENSION hstore SCHEMA kinds; CREATE EXTENSION citext SCHEMA kinds")
    yield "kinds"
    direct.execute("DROP SCHEMA kinds CASCADE")


@pytest.mark.parametrize("binary", [False, True])
def test_ranges_and_arrays_come_back_as_they_went(either, binary):
    since = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    values = [
        Int4Range(1, 5),
        Int4Range(empty=True),
        TimestamptzRange(since, None, "[)"),
        [[1, 2], [3, None]],
    ]
    for value in values:
        cursor = either.execute("SELECT %s", [value], binary=binary)
        assert cursor.fetchone() == (value,)
    words = ["a,b", 'quote"', "", None]
    cursor = either.execute("SELECT %s::text[]", [words], binary=binary)
    assert cursor.fetchone() == (words,)


def test_numbers_keep_every_digit(either):
    exact = decimal.Decimal("1234567890" * 12 + "." + "0987654321" * 12)
    for value in (exact, -exact, decimal.Decimal("Infinity"), decimal.Decimal("1E-300")):
        for kind in (psycopg.Cursor, psycopg.ClientCursor):
            assert kind(either).execute("SELECT %s::numeric", [value]).fetchone() == (value,)
    (nan,) = either.execute("SELECT 'NaN'::numeric").fetchone()
    assert nan.is_nan()


@pytest.mark.parametrize(
    "value", ["'infinity'::date", "'-infinity'::timestamptz", "'0044-03-15 BC'::date"]
)
def test_a_date_that_python_has_not_is_refused_as_on_a_direct_connection(direct, connection, value):
    said = []
    for one in (direct, connection):
        with pytest.raises(psycopg.DataError) as caught:
            one.execute(f"SELECT {value}").fetchone()
        said.append(str(caught.value))
        assert one.execute(f"SELECT ({value})::text").fetchone()[0]
    assert said[0] == said[1]


def test_hstore_and_citext_can_be_registered(either, types):
    either.execute(f"SET search_path TO {types}")
    register_hstore(psycopg.types.TypeInfo.fetch(either, "hstore"), either)
    value = {"a": "1", "b": None, 'q"': "ü"}
    assert either.execute("SELECT %s::hstore", [value]).fetchone() == (value,)
    assert either.execute("SELECT 'ABC'::citext = 'abc'").fetchone() == (True,)


def test_enums_and_composites_can_be_registered(either, types):
    register_enum(EnumInfo.fetch(either, f"{types}.mood"), either)
    (mood,) = either.execute(f"SELECT 'glad'::{types}.mood").fetchone()
    assert mood.name == "glad"
    register_composite(CompositeInfo.fetch(either, f"{types}.place"), either)
    place = either.execute(f"SELECT ROW(1, 'here')::{types}.place").fetchone()[0]
    assert (place.x, place.name) == (1, "here")


def test_a_type_that_the_client_does_not_know_is_text(either, types):
    assert either.execute(f"SELECT 'sad'::{types}.mood").fetchone() == ("sad",)
    (place,) = either.execute(f"SELECT ROW(1, 'here')::{types}.place").fetchone()
    assert place in ("(1,here)", ("1", "here"))


def test_columns_may_have_one_name(either):
    cursor = either.execute("SELECT 1 AS a, 2 AS a, 3 AS a")
    assert cursor.fetchone() == (1, 2, 3)
    assert [column.name for column in cursor.description] == ["a", "a", "a"]


def test_a_statement_can_be_seen_before_it_is_sent(either):
    cursor = psycopg.ClientCursor(either)
    assert cursor.mogrify("SELECT %s, %s", ["it's", None]) == "SELECT 'it''s', NULL"


def test_a_hundred_megabytes_of_bytea_pass_both_ways(connection):
    value = bytes(range(256)) * (100 * MEGABYTE // 256)
    cursor = psycopg.Cursor(connection)
    cursor.execute("SELECT %b::bytea", [value], binary=True)
    assert cursor.fetchone() == (value,)


def test_fifty_megabytes_of_statement_pass(connection):
    statement = sql.SQL("SELECT length({})").format(sql.Literal("x" * 50 * MEGABYTE))
    assert connection.execute(statement).fetchone() == (50 * MEGABYTE,)


def test_a_role_can_be_assumed_and_left(either, types):
    either.execute("CREATE ROLE of_types_test; GRANT of_types_test TO CURRENT_USER")
    try:
        either.execute("SET ROLE of_types_test")
        assert either.execute("SELECT current_user").fetchone() == ("of_types_test",)
        either.execute("RESET ROLE")
        assert either.execute("SELECT current_user").fetchone() != ("of_types_test",)
    finally:
        either.execute("DROP ROLE of_types_test")


def test_a_connection_can_be_used_by_threads_in_turns(either):
    found = []

    def ask(number):
        found.append(either.execute("SELECT %s::int", [number]).fetchone()[0])

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(8))


def test_a_syntax_error_in_a_transaction_fails_it_as_on_a_direct_connection(direct, connection):
    said = []
    for one in (direct, connection):
        one.autocommit = False
        errors_of_one = []
        for statement in ("SELECT 1", "SELEC 1", "SELECT 1"):
            try:
                one.execute(statement)
            except psycopg.Error as exc:
                errors_of_one.append((type(exc), str(exc)))
        one.rollback()
        assert one.execute("SELECT 1").fetchone() == (1,)
        one.rollback()
        said.append(errors_of_one)
    assert said[0] == said[1]
    assert len(said[0]) == 2
