"""What the server knows of a statement before it sends it."""

import pytest

from mtdd_router.server.statements import ORDINARY, classify

ORDINARY_STATEMENTS = [
    b'SELECT "t"."template", attempts FROM "t" WHERE "t"."temp" = 1',
    b"UPDATE t SET a = 'one; two', b = E'\\\\; three' WHERE c = 'it''s; so'",
    b"INSERT INTO t VALUES ('<p>&nbsp;</p> set_config(''role'', ''none'')')",
    b"(SELECT id FROM a) UNION (SELECT id FROM b)",
    b'SELECT "auth_user"."id" FROM "auth_user" WHERE "auth_user"."id" = 1 LIMIT 21',
    b"INSERT INTO t (a) VALUES ('it''s; fine') RETURNING id"[:0] + b"INSERT INTO t (a) VALUES (1)",
    b"UPDATE t SET role = 'admin' WHERE id = 1",
    b"DELETE FROM t WHERE id IN (SELECT 1)",
    b"WITH x AS (SELECT 1) SELECT * FROM x",
    b"VALUES (1), (2);",
    b"select 1",
    b"\n    SELECT 1\n    FROM t",
]

ESCAPES = [
    b"SET ROLE postgres",
    b"set role none",
    b'SET "role" TO x',
    b"SET SESSION ROLE x",
    b"SET LOCAL ROLE x",
    b"/* a comment */ SET ROLE x",
    b"-- a comment\nSET ROLE x",
    b"\n\t SET\tROLE x",
    b"SELECT 1; SET ROLE x",
    b"RESET ROLE",
    b"RESET ALL",
    b"RESET SESSION AUTHORIZATION",
    b"SET SESSION AUTHORIZATION DEFAULT",
    b"SET search_path = other",
    b"SET SEARCH_PATH TO other",
    b"SET SCHEMA 'other'",
    b"SET standard_conforming_strings = off",
    b"SET LOCAL standard_conforming_strings TO 'off'",
    b"SET client_encoding TO 'SJIS'",
    b"SET NAMES 'BIG5'",
    b"SELECT set_config('standard_conforming_strings', 'off', false)",
    b"UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
    b'UPDATE "pg_catalog"."pg_settings" SET setting = 1',
    b"WITH x AS (UPDATE pg_settings SET setting = 1 RETURNING 1) SELECT * FROM x",
    b"CREATE VIEW v AS SELECT * FROM pg_settings",
    b"CREATE RULE r AS ON INSERT TO t DO UPDATE pg_settings SET setting = new.a",
    b"DISCARD ALL",
    b"DISCARD TEMP",
    b"SELECT set_config('role', 'x', false)",
    b"SELECT pg_catalog.set_config('search_path', 'x', true)",
    b"SELECT SET_CONFIG('ROLE', 'x', false)",
    b"SELECT set_config('ro' || 'le', 'x', false)",
    b"SELECT set_config(name, 'x', false) FROM t",
    b"SELECT \"set_config\"('role', 'x', false)",
    b"SELECT U&\"set\\005fconfig\"('role', 'none', false)",
    b"SELECT u&\"\\0073et_config\"('role', 'none', false)",
    b"SELECT 1 WHERE EXISTS (SELECT set_config('role', 'x', false))",
    b"WITH x AS (SELECT set_config('role', 'x', false)) SELECT * FROM x",
    b"UPDATE t SET a = set_config('role', 'x', false)",
    b"PREPARE p AS SELECT set_config('role', 'x', false)",
    b"EXPLAIN ANALYZE SELECT set_config('role', 'x', false)",
    b"CREATE VIEW v AS SELECT set_config('role', 'x', false)",
    b"COPY (SELECT set_config('role', 'x', false)) TO STDOUT",
    b"CREATE TABLE t (a text DEFAULT set_config('role', 'x', false))",
    b"CREATE AGGREGATE a (text, boolean) (sfunc = set_config, stype = text, initcond = 'role')",
    b"DO $$ BEGIN EXECUTE 'reset role'; END $$",
    b"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; END $$",
    b"CREATE PROCEDURE p() LANGUAGE sql AS 'RESET ROLE'",
    b"ALTER ROLE x SET search_path = other",
    b"CREATE ROLE x",
    b"GRANT a TO b",
    b"SELECT query_to_xml('select set_config(''role'', ''none'', false)', true, true, '')",
    b"SELECT * FROM ts_stat('select to_tsvector(set_config(''role'', ''none'', false))')",
    b"SELECT * FROM dblink('', 'reset role') AS t(a int)",
    b"CREATE TRIGGER x AFTER INSERT ON t EXECUTE FUNCTION extensions.check_primary_key('a', 'b')",
    b"CREATE TRIGGER x BEFORE DELETE ON t EXECUTE FUNCTION \"check_foreign_key\"(1, 'a', 'b', 'c')",
    b"COPY t FROM PROGRAM 'id'",
    b"COPY t TO '/etc/passwd'",
    b"LOAD 'plpgsql'",
    b"CREATE DATABASE x",
    b"DROP DATABASE x",
    b"ALTER SYSTEM SET work_mem = '1GB'",
]

ALLOWED = [
    b"SAVEPOINT x",
    b"RELEASE SAVEPOINT x",
    b"ROLLBACK TO SAVEPOINT x",
    b"COMMIT",
    b"SET CONSTRAINTS ALL IMMEDIATE",
    b"SET LOCAL lock_timeout = '1s'",
    b"SET TIME ZONE 'UTC'",
    b"SELECT set_config('TimeZone', 'UTC', false)",
    b"SET client_encoding = 'UTF8'",
    b"SET NAMES 'utf8'",
    b"RESET client_encoding",
    b"SET standard_conforming_strings = on",
    b"SELECT setting FROM pg_settings WHERE name = 'TimeZone'",
    b"CREATE TABLE t (id int)",
    b"CREATE INDEX CONCURRENTLY i ON t (id)",
    b"ALTER TABLE t ADD COLUMN a int",
    b"DROP TABLE t CASCADE",
    b"TRUNCATE t",
    b"EXPLAIN SELECT 1",
    b"LOCK TABLE t IN EXCLUSIVE MODE",
    b"COPY t FROM STDIN",
    b"FETCH FORWARD 10 FROM c",
    b"SHOW search_path",
    b"LISTEN c",
    b"SELECT 1; SELECT 2",
]

PINNING = [
    b"SET TIME ZONE 'UTC'",
    b"SELECT set_config('TimeZone', 'UTC', false)",
    b"LISTEN c",
    b"UNLISTEN *",
    b"PREPARE p AS SELECT 1",
    b"DEALLOCATE p",
    b"UPDATE pg_settings SET setting = 'off' WHERE name = 'enable_seqscan'",
    b"CREATE TEMP TABLE t (id int)",
    b"CREATE TEMPORARY VIEW v AS SELECT 1",
    b"SELECT 1 INTO TEMP t",
    b"CREATE TEMP TABLE t AS SELECT 1",
    b"SELECT pg_advisory_lock(1)",
    b"SELECT pg_try_advisory_lock(1)",
    b"SELECT 1; SET work_mem = '1MB'",
    b"SELECT 1 INTO TEMP x",
    b'select 1 into/**/temporary"x"',
    b"SELECT 1 INTO pg_temp.x",
    b'SELECT 1 INTO "pg_temp".x',
    b"CREATE TABLE pg_temp.x (id int)",
    b"CREATE VIEW pg_temp_3.x AS SELECT 1",
    b'CREATE TABLE U&"pg\\005ftemp".x (id int)',
    b"CREATE DOMAIN pg_temp.d AS int",
    b"CREATE TYPE pg_temp.e AS ENUM ('a')",
    b"ALTER TABLE x SET SCHEMA pg_temp",
    b"DISCARD ALL",
    b"DO $$ BEGIN END $$",
]


@pytest.mark.parametrize("statement", ORDINARY_STATEMENTS)
def test_plain_dml_is_ordinary_by_its_bytes_alone(statement):
    assert classify(statement) is ORDINARY


@pytest.mark.parametrize("statement", ESCAPES)
def test_what_could_leave_the_tenants_role_is_refused(statement):
    assert classify(statement).refusal


@pytest.mark.parametrize("statement", ORDINARY_STATEMENTS + ALLOWED)
def test_what_stays_inside_is_not_refused(statement):
    assert classify(statement).refusal == ""


@pytest.mark.parametrize("statement", PINNING)
def test_what_leaves_state_behind_pins_the_session(statement):
    assert classify(statement).pins


@pytest.mark.parametrize(
    "statement",
    [
        *ORDINARY_STATEMENTS,
        b"SET LOCAL lock_timeout = '1s'",
        b"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        b"SET CONSTRAINTS ALL DEFERRED",
        b"SELECT pg_advisory_xact_lock(1)",
        b"DECLARE c CURSOR FOR SELECT 1",
    ],
)
def test_what_ends_with_the_transaction_does_not_pin(statement):
    assert not classify(statement).pins


def test_a_cursor_with_hold_holds_the_session_until_it_is_closed():
    held = classify(b'DECLARE "c1" NO SCROLL CURSOR WITH HOLD FOR SELECT 1')
    assert (held.holds, held.pins) == ("c1", False)
    assert classify(b'CLOSE "c1"').closes == "c1"
    assert classify(b"CLOSE ALL").closes == "*"


def test_only_a_single_statement_may_share_a_flush():
    assert classify(b"SELECT 1;").fusable
    assert classify(b"/* why */ SELECT 'temp'").fusable
    assert not classify(b"SELECT 1; SELECT 2").fusable
    assert not classify(b"VACUUM").fusable


@pytest.mark.parametrize(
    "statement", [b"SELEC 1", b"SET ROLE", b"\xff\xfe", b"CREATE", b"\0SET ROLE NONE"]
)
def test_what_the_parser_does_not_understand_must_not_run(statement):
    known = classify(statement)
    assert not known.parsed
    assert known.refusal


@pytest.mark.parametrize(
    ("statement", "database"),
    [
        (b"DROP DATABASE x", "x"),
        (b'DROP DATABASE IF EXISTS "Y"', "Y"),
        (b"ALTER DATABASE a RENAME TO b", "a"),
        (b"CREATE DATABASE b TEMPLATE a", "a"),
        (b"CREATE DATABASE b", ""),
    ],
)
def test_a_database_that_nobody_may_be_connected_to_is_named(statement, database):
    assert classify(statement).database == database


def test_the_sql_of_a_long_statement_is_not_kept_in_memory():
    from mtdd_router.server import statements

    before = statements._parsed_cached.cache_info().currsize
    classify(b"EXPLAIN SELECT '" + b"x" * 10_000 + b"'")
    assert statements._parsed_cached.cache_info().currsize == before


@pytest.mark.parametrize("marker", ["SET_config", "u&", "connectby"])
def test_what_may_leave_state_is_found_wherever_it_stands(marker: str) -> None:
    """Also across the border of what is remembered of a statement's beginning."""
    for size in (40, 96, 97, 350, 5000):
        for position in range(8, size - len(marker)):
            plain = f"SELECT {'x' * (size - 7)}"
            assert classify(plain.encode()) is ORDINARY
            marked = plain[:position] + marker + plain[position + len(marker) :]
            assert classify(marked.encode()) is not ORDINARY


@pytest.mark.parametrize(
    "deep",
    [
        "SELECT temp" + "+1" * 9_000,
        "SELECT temp " + "UNION ALL SELECT 1 " * 3_000,
        "SELECT temp" + "::int" * 4_500,
        "SELECT temp WHERE true" + " OR a = 1" * 9_000,
        "INSERT INTO t VALUES " + ",".join(["('temp'::text, 1 + 1, (2))"] * 20_000),
    ],
)
def test_what_is_nested_deeply_or_long_is_examined(deep):
    known = classify(deep.encode())
    assert known.parsed
    assert not known.refusal
    hidden = deep.replace("temp", "set_config('role', 'none', false)", 1)
    assert not deep.startswith("SELECT") or classify(hidden.encode()).refusal


@pytest.mark.parametrize(
    "deeper",
    [
        "SELECT temp" + "+1" * 1_000_000,
        "SELECT temp " + "UNION ALL SELECT 1 " * 100_000,
        "SELECT temp" + "::int" * 100_000,
        "SELECT temp FROM a" + " JOIN b ON true" * 100_000,
        "SELECT temp" + " AT TIME ZONE b" * 100_000,
        "SELECT temp" + " IS NULL" * 100_000,
        "SELECT temp" + " COLLATE c" * 100_000,
        "SELECT temp, f(1" + ", 2+f(1" * 200_000 + ")" * 200_001,
        "SELECT temp FROM t WHERE a IN (1) " + "AND (b) + 1 - 1 = 1 OR c " * 100_000,
    ],
)
def test_what_is_nested_too_deeply_ends_nobodys_server(deeper):
    """A parser that runs out of stack ends the process."""
    known = classify(deeper.encode())
    assert known.refusal
