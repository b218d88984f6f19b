"""What psycopg does on a direct connection, it does over a shard server.

Each test runs on both, with one expectation.
"""

import datetime
import decimal
import threading
import time
import uuid
from ipaddress import ip_address

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.types.json import Jsonb

VALUES = [
    0,
    2**62,
    1.5,
    float("inf"),
    decimal.Decimal("1234567890.0987654321"),
    True,
    None,
    "text with 'quotes', \\ and ünïcödé 🐘",
    b"\x00\xff bytes",
    datetime.date(1, 1, 1),
    datetime.datetime(2026, 11, 23, 1, 2, 3, 456, tzinfo=datetime.UTC),
    datetime.timedelta(days=-1, seconds=5),
    uuid.UUID(int=7),
    ip_address("10.0.0.1"),
    [1, 2, None],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("cursor_class", [psycopg.Cursor, psycopg.ClientCursor])
def test_a_value_comes_back_as_it_went(either, value, cursor_class):
    with cursor_class(either) as cursor:
        cursor.execute("SELECT %s", [value])
        assert cursor.fetchone() == (value,)


def test_json_comes_back_as_it_went(either):
    document = {"a": [1, None, "ü"], "b": {"c": 1.5}}
    assert either.execute("SELECT %s", [Jsonb(document)]).fetchone() == (document,)


def test_results_can_be_binary(either):
    cursor = either.execute("SELECT 1::int, 'x'::text, 1.5::float8", binary=True)
    assert cursor.fetchone() == (1, "x", 1.5)


def test_a_description_tells_all(either):
    cursor = either.execute("SELECT 1::int AS a, 'x'::varchar(7) AS b, 1.5::numeric(6, 2) AS a")
    described = [tuple(column) for column in cursor.description]
    assert described == [
        ("a", 23, None, 4, None, None, None),
        ("b", 1043, 7, None, None, None, None),
        ("a", 1700, None, None, 6, 2, None),
    ]


def test_there_can_be_no_columns_and_1600(either):
    assert either.execute("SELECT").fetchall() == [()]
    wide = either.execute("SELECT " + ", ".join(str(n) for n in range(1600))).fetchone()
    assert wide == tuple(range(1600))


def test_a_script_gives_its_results_one_after_another(either):
    cursor = either.execute("SELECT 1; SELECT 'two'; CREATE TEMP TABLE x (id int)")
    assert cursor.fetchall() == [(1,)]
    assert cursor.nextset()
    assert cursor.fetchall() == [("two",)]
    assert cursor.nextset()
    assert cursor.statusmessage == "CREATE TABLE"
    assert not cursor.nextset()


def test_row_counts_and_tags(either, table):
    cursor = either.execute(f"INSERT INTO {table} SELECT n, 'x' FROM generate_series(1, 7) n")
    assert (cursor.rowcount, cursor.statusmessage) == (7, "INSERT 0 7")
    cursor = either.execute(f"UPDATE {table} SET word = 'y' WHERE id > 5 RETURNING id")
    assert (cursor.rowcount, cursor.fetchall()) == (2, [(6,), (7,)])


def test_executemany_counts_and_returns(either, table):
    with either.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", [(n, "x") for n in range(500)])
        assert cursor.rowcount == 500
        cursor.executemany(
            f"DELETE FROM {table} WHERE id = %s RETURNING id", [(1,), (2,)], returning=True
        )
        assert cursor.fetchone() == (1,)
        assert cursor.nextset()
        assert cursor.fetchone() == (2,)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1/0", errors.DivisionByZero),
        ("SELEC 1", errors.SyntaxError),
        ("SELECT * FROM nowhere", errors.UndefinedTable),
        ("SELECT 'x'::int", errors.InvalidTextRepresentation),
        ("INSERT INTO scratch.t VALUES (1, 'x'), (1, 'y')", errors.UniqueViolation),
        ("DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'ABC12', HINT = 'h'; END $$",
         psycopg.DatabaseError),
    ],
)  # fmt: skip
def test_an_error_is_psycopgs_own_with_every_diagnostic(direct, connection, table, statement, kind):
    raised = []
    for one in (direct, connection):
        with pytest.raises(kind) as caught:
            one.execute(statement)
        raised.append(caught.value)
        assert one.execute("SELECT 1").fetchone() == (1,)
    straight, over = raised
    assert type(over) is type(straight)
    assert str(over) == str(straight)
    fields = [name for name in dir(straight.diag) if not name.startswith("_")]
    assert len(fields) > 15
    for name in fields:
        assert getattr(over.diag, name) == getattr(straight.diag, name), name


def test_what_cannot_be_sent_is_refused_before_it_is(either):
    with pytest.raises(psycopg.ProgrammingError, match="cannot adapt"):
        either.execute("SELECT %s", [object()])
    with pytest.raises(psycopg.DataError, match="NUL"):
        either.execute("SELECT %s", ["a\0b"])
    with pytest.raises(psycopg.ProgrammingError, match="placeholders"):
        either.execute("SELECT %s, %s", [1])
    assert either.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("cursor_class", [psycopg.Cursor, psycopg.ClientCursor])
@pytest.mark.parametrize("autocommit", [True, False])
def test_what_cannot_be_encoded_leaves_nothing_to_the_next_statement(
    either, cursor_class, autocommit
):
    either.autocommit = autocommit
    for _ in range(2):
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
            cursor_class(either).execute("SELECT %s", ["\ud800"])
        assert cursor_class(either).execute("SELECT %s", ["x"]).fetchone() == ("x",)
    with pytest.raises(UnicodeEncodeError):
        cursor_class(either).executemany("SELECT %s", [["a"], ["\ud800"], ["b"]])
    either.rollback()
    assert cursor_class(either).execute("SELECT %s", ["x"]).fetchone() == ("x",)
    either.rollback()


def test_a_transaction_is_one(either, table, direct):
    with pytest.raises(ZeroDivisionError), either.transaction():
        either.execute(f"INSERT INTO {table} VALUES (1, 'x')")
        assert either.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        raise ZeroDivisionError
    assert direct.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    with either.transaction():
        either.execute(f"INSERT INTO {table} VALUES (2, 'x')")
        with pytest.raises(errors.UniqueViolation), either.transaction():
            either.execute(f"INSERT INTO {table} VALUES (2, 'again')")
        either.execute(f"INSERT INTO {table} VALUES (3, 'x')")
    assert direct.execute(f"SELECT count(*) FROM {table}").fetchone() == (2,)


def test_a_failed_transaction_takes_no_more_statements(either):
    either.autocommit = False
    with pytest.raises(errors.DivisionByZero):
        either.execute("SELECT 1/0")
    with pytest.raises(errors.InFailedSqlTransaction):
        either.execute("SELECT 1")
    either.rollback()
    assert either.execute("SELECT 1").fetchone() == (1,)
    either.rollback()


def test_a_failing_first_statement_fails_its_transaction(either):
    either.autocommit = False
    for statement in ("SELEC 1", "SELECT 1/0", "VACUUM"):
        with pytest.raises(psycopg.DatabaseError):
            either.execute(statement)
        assert either.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(errors.InFailedSqlTransaction):
            either.execute("SELECT 1")
        either.rollback()


def test_an_empty_transaction_can_be_ended(either):
    either.autocommit = False
    either.commit()
    either.rollback()
    with either.transaction():
        pass
    assert either.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_isolation_level_and_read_only_hold(either, table):
    either.autocommit = False
    either.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    either.read_only = True
    assert either.execute("SHOW transaction_isolation").fetchone() == ("serializable",)
    with pytest.raises(errors.ReadOnlySqlTransaction):
        either.execute(f"INSERT INTO {table} VALUES (1, 'x')")
    either.rollback()
    either.read_only = None
    either.autocommit = True


def test_a_deferred_constraint_fails_the_commit(either, direct, table):
    direct.execute(
        f"CREATE TABLE scratch.c (id int REFERENCES {table} DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(errors.ForeignKeyViolation), either.transaction():
        either.execute("INSERT INTO scratch.c VALUES (1)")
    with pytest.raises(errors.ForeignKeyViolation):
        either.execute("INSERT INTO scratch.c VALUES (1)")
    assert direct.execute("SELECT count(*) FROM scratch.c").fetchone() == (0,)


def test_what_cannot_run_in_a_transaction_runs(either, table):
    either.execute(f"CREATE INDEX CONCURRENTLY ON {table} (word)")
    either.execute(f"VACUUM {table}")


def test_server_side_cursors_stream_in_a_transaction_and_outside(either):
    query = "SELECT n, repeat('x', 100) FROM generate_series(1, 5000) n"
    with either.transaction(), either.cursor("inside") as cursor:
        cursor.itersize = 700
        assert sum(1 for _ in cursor.execute(query)) == 5000
    with either.cursor("outside", withhold=True, scrollable=True) as cursor:
        cursor.execute(query)
        assert cursor.fetchmany(2)[1][0] == 2
        cursor.scroll(4998, mode="absolute")
        assert [row[0] for row in cursor.fetchall()] == [4999, 5000]


def test_copy_goes_both_ways(either, table):
    with either.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for number in range(50_000):
                copy.write_row((number, f"word {number}"))
        assert cursor.rowcount == 50_000
        with cursor.copy(f"COPY {table} TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text"])
            rows = list(copy.rows())
    assert rows[-1] == (49_999, "word 49999")


def test_a_copy_that_fails_leaves_nothing(either, table):
    with (
        pytest.raises(errors.InvalidTextRepresentation) as caught,
        either.cursor() as cursor,
        cursor.copy(f"COPY {table} FROM STDIN") as copy,
    ):
        copy.write("1\tfine\nnot a number\tx\n")
        for number in range(200_000):
            copy.write(f"{number + 10}\tmore\n")
    assert caught.value.diag.context.startswith("COPY t, line 2")
    assert either.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_copy_that_the_program_breaks_off_leaves_nothing(either, table):
    with (
        pytest.raises(ZeroDivisionError),
        either.cursor() as cursor,
        cursor.copy(f"COPY {table} FROM STDIN") as copy,
    ):
        copy.write("1\tx\n")
        raise ZeroDivisionError
    assert either.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_copy_out_that_is_broken_off_leaves_the_connection_usable(either):
    with (
        pytest.raises(ZeroDivisionError),
        either.cursor() as cursor,
        cursor.copy("COPY (SELECT generate_series(1, 3000000)) TO STDOUT") as copy,
    ):
        next(iter(copy))
        raise ZeroDivisionError
    assert either.execute("SELECT 1").fetchone() == (1,)


def test_a_result_can_be_streamed_row_by_row(either):
    with psycopg.Cursor(either) as cursor:
        total = sum(row[0] for row in cursor.stream("SELECT generate_series(1, 1000)"))
    assert total == 500_500


def test_statements_can_be_pipelined(either):
    with either.pipeline():
        first = psycopg.Cursor(either).execute("SELECT 1")
        second = psycopg.Cursor(either).execute("SELECT 2")
        assert (first.fetchone(), second.fetchone()) == ((1,), (2,))


def test_a_statement_can_be_prepared(either):
    either.prepare_threshold = 0
    for number in range(4):
        cursor = psycopg.Cursor(either).execute("SELECT %s::int + 1", [number])
        assert cursor.fetchone() == (number + 1,)


def test_notices_arrive(either):
    heard = []
    either.add_notice_handler(lambda diag: heard.append((diag.severity, diag.message_primary)))
    either.execute("DO $$ BEGIN RAISE NOTICE 'hello'; RAISE WARNING 'careful'; END $$")
    assert heard == [("NOTICE", "hello"), ("WARNING", "careful")]


def test_notifications_arrive(either, shard_postgres_dsn):
    either.execute("LISTEN news")

    def announce():
        time.sleep(0.2)
        with psycopg.connect(shard_postgres_dsn, autocommit=True) as other:
            other.execute("NOTIFY news, 'one'; NOTIFY news, 'two'")

    thread = threading.Thread(target=announce)
    thread.start()
    arrived = [note.payload for note in either.notifies(timeout=10, stop_after=2)]
    thread.join()
    assert arrived == ["one", "two"]
    assert list(either.notifies(timeout=0.2)) == []


def test_a_running_statement_can_be_cancelled(either):
    timer = threading.Timer(0.3, either.cancel)
    timer.start()
    with pytest.raises(errors.QueryCanceled, match="user request"):
        either.execute("SELECT pg_sleep(30)")
    timer.join()
    assert either.execute("SELECT 1").fetchone() == (1,)


def test_types_can_be_looked_up(either):
    found = psycopg.types.TypeInfo.fetch(either, "int4")
    assert (found.oid, found.array_oid) == (23, 1007)
    assert psycopg.types.TypeInfo.fetch(either, "no_such_type") is None


def test_sql_can_be_composed(either):
    text = sql.SQL("SELECT {}, {}").format(sql.Literal("it's \\ here"), sql.Literal(b"\x00\xff"))
    assert either.execute(text).fetchone() == ("it's \\ here", b"\x00\xff")
    assert sql.Literal("a\\b'c").as_string(either) == " E'a\\\\b''c'"


def test_large_statements_and_values_pass(either):
    large = "x" * 20_000_000
    assert either.execute("SELECT length(%s)", [large]).fetchone() == (20_000_000,)
    assert psycopg.ClientCursor(either).execute("SELECT %s", [large]).fetchone() == (large,)


def test_a_closed_connection_says_so(either):
    cursor = either.cursor()
    either.close()
    assert either.closed
    with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
        either.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
        cursor.execute("SELECT 1")


def test_a_closed_cursor_says_so(either):
    cursor = either.cursor()
    cursor.close()
    with pytest.raises(psycopg.InterfaceError, match="the cursor is closed"):
        cursor.execute("SELECT 1")
