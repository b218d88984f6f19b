"""What tenant a tries against tenant b: families of attacks, and how each would work.

An attack is what one client sends, statement by statement, on one connection. ``{b}`` is
b's schema, or its database; ``{role_b}`` and ``{role_a}`` the roles, ``{login}`` the role
that the shard server logs in as, ``{file}`` a file that holds b's secret, ``{written}`` one
that is not there, ``{large}`` a large object of b's and ``{pid_b}`` a process of b's.
``secret`` is a table that both tenants have.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Attack = tuple[str, ...]

READ = 'SELECT word FROM "{b}".secret'
READ_OWN = "SELECT word FROM secret"
WRITE = "UPDATE \"{b}\".secret SET word = 'changed'"


@dataclass(frozen=True)
class Family:
    """Attacks of one kind.

    Args:
        name: of the family.
        how: how it works where nothing guards against it.
        attacks: to try.
        unguarded: what keeps tenants apart where the family succeeds: the role that is
            set, or only the search path.
    """

    name: str
    how: str
    attacks: tuple[Attack, ...]
    unguarded: Literal["role", "path"] = "role"


def then_read(statements: Iterable[str]) -> Iterator[Attack]:
    """After each statement, look for b's rows by both names, and change them."""
    for statement in statements:
        yield (statement, READ_OWN, READ, WRITE)


def spelled(statement: str) -> list[str]:
    """Return other ways to write a statement whose words PostgreSQL reads the same."""
    words = statement.split()
    return [
        statement,
        statement.lower(),
        statement.title(),
        "/**/".join(words),
        "  \t\n".join(words),
        "--\n".join(words),
        f"/* /* nested */ */ {statement}",
        f"SELECT 1; {statement}",
        f"{statement}; SELECT 1",
        f"BEGIN; {statement}; COMMIT",
        f"; ; {statement};;",
        f"\ufeff{statement}",
    ]


def placed(call: str) -> list[str]:
    """Return statements in which PostgreSQL evaluates a function call."""
    return [
        f"SELECT {call}",
        f"VALUES ({call})",
        f"SELECT 1 WHERE {call} IS NOT NULL",
        f"SELECT (SELECT {call})",
        f"WITH x AS (SELECT {call}) SELECT * FROM x",
        f"WITH x AS MATERIALIZED (SELECT {call}) SELECT 1 FROM secret",
        f"SELECT * FROM {call} AS x",
        f"SELECT 1 FROM secret, LATERAL (SELECT {call}) AS x",
        f"SELECT 1 FROM secret ORDER BY {call}",
        f"SELECT count(*) FROM secret GROUP BY {call}",
        f"SELECT 1 FROM secret LIMIT (length({call}) * 0 + 1)",
        f"SELECT CASE WHEN true THEN {call} END",
        f"SELECT coalesce(NULL, {call})",
        f"SELECT ARRAY[{call}]",
        f"SELECT ROW({call})",
        f"SELECT count(*) FILTER (WHERE {call} IS NOT NULL) FROM secret",
        f"SELECT row_number() OVER (ORDER BY {call}) FROM secret",
        f"UPDATE secret SET word = word WHERE {call} IS NOT NULL",
        f"DELETE FROM secret WHERE {call} = 'no such word'",
        f"INSERT INTO secret (word) SELECT {call} WHERE false UNION ALL SELECT {call} LIMIT 0",
        f"INSERT INTO secret (word) VALUES ('own') RETURNING {call}",
        f"EXPLAIN ANALYZE SELECT {call}",
        f"PREPARE p AS SELECT {call}; EXECUTE p",
        f"DECLARE c CURSOR WITH HOLD FOR SELECT {call}; FETCH ALL FROM c",
        f"COPY (SELECT {call}) TO STDOUT",
        f"CREATE TABLE own AS SELECT {call}",
        f"SELECT {call} INTO own",
        f"CREATE TABLE own (word text DEFAULT {call}); INSERT INTO own DEFAULT VALUES",
        f"CREATE TABLE own (word text CHECK ({call} IS NOT NULL)); INSERT INTO own VALUES ('x')",
        f"CREATE DOMAIN own AS text CHECK ({call} IS NOT NULL); SELECT 'x'::own",
        f"CREATE VIEW own AS SELECT {call}; SELECT * FROM own",
        f"CREATE MATERIALIZED VIEW own AS SELECT {call}",
        f"CREATE INDEX own ON secret ((1)) WHERE {call} IS NOT NULL",
        f"ALTER TABLE secret ALTER word TYPE text USING coalesce({call}, word)",
        f"MERGE INTO secret USING (SELECT {call}) AS x ON true WHEN MATCHED THEN DO NOTHING",
    ]


ROLES = [
    "SET ROLE NONE",
    "SET ROLE {login}",
    'SET ROLE "{role_b}"',
    "SET ROLE '{role_b}'",
    "SET LOCAL ROLE NONE",
    "SET SESSION ROLE NONE",
    "SET ROLE TO DEFAULT",
    "SET role = DEFAULT",
    "RESET ROLE",
    "RESET ALL",
]
SESSIONS = [
    "SET SESSION AUTHORIZATION {login}",
    "SET SESSION AUTHORIZATION '{role_b}'",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET LOCAL SESSION AUTHORIZATION '{role_b}'",
    "RESET SESSION AUTHORIZATION",
    "SET session_authorization = '{role_b}'",
    "SET session_authorization TO DEFAULT",
]
PATHS = [
    'SET search_path = "{b}"',
    "SET search_path TO '{b}'",
    "SET LOCAL search_path = '{b}'",
    "SET SESSION search_path = '{b}', public",
    "SET SCHEMA '{b}'",
    "RESET search_path",
    "SET search_path FROM CURRENT",
    "SET \"search_path\" = '{b}'",
]
CALLS = [
    "set_config('role', 'none', false)",
    "set_config('role', '{role_b}', false)",
    "pg_catalog.set_config('search_path', '{b}', false)",
    "set_config('session_authorization', '{role_b}', false)",
]
SPELLINGS_OF_A_CALL = [
    "SET_CONFIG('ROLE', 'none', FALSE)",
    "\"set_config\"('role', 'none', false)",
    "U&\"set\\005fconfig\"('role', 'none', false)",
    "U&\"set!005fconfig\" UESCAPE '!' ('role', 'none', false)",
    "u&\"\\0073et_config\"('role', 'none', false)",
    "u&\"\\+000073et_config\"('role', 'none', false)",
    "pg_catalog . set_config ('role', 'none', false)",
    "pg_catalog/**/./**/set_config/**/('role', 'none', false)",
    "set_config--\n('role', 'none', false)",
    "set_config('ro' || 'le', 'none', false)",
    "set_config(E'\\x72ole', 'none', false)",
    "set_config(U&'\\0072ole', 'none', false)",
    "set_config($$role$$, $x$none$x$, false)",
    "set_config('role'::text, 'none', false)",
    "set_config(CAST('role' AS text), 'none', false)",
    "set_config(concat('ro', 'le'), 'none', false)",
    "set_config(lower('ROLE'), 'none', false)",
    "set_config(is_local => false, new_value => 'none', setting_name => 'role')",
    "set_config(setting_name := 'role', new_value := 'none', is_local := false)",
    "set_config(VARIADIC ARRAY['role', 'none'])",
    "set_config('ro'\n'le', 'none', false)",
    "set_config((SELECT 'role'), 'none', false)",
    "set_config((SELECT min(x) FROM unnest(ARRAY['role']) AS x), 'none', false)",
    "set_config(current_setting('own.name'), 'none', false)",
    "(SELECT set_config(x, 'none', false) FROM (VALUES ('role')) AS v (x))",
]
PREPARED = [
    "EXECUTE mtdd_switch('none', NULL, NULL)",
    "EXECUTE mtdd_switch('{role_b}', '{b}', 'UTC')",
    "EXECUTE \"mtdd_switch\"('{role_b}', '{b}', NULL)",
    "EXECUTE MTDD_SWITCH('none', NULL, NULL)",
    "EXECUTE U&\"mtdd\\005fswitch\"('none', NULL, NULL)",
    "EXPLAIN ANALYZE EXECUTE mtdd_switch('{role_b}', '{b}', NULL)",
    "EXPLAIN (ANALYZE, VERBOSE) EXECUTE mtdd_switch('none', NULL, NULL)",
    "CREATE TABLE own AS EXECUTE mtdd_switch('{role_b}', '{b}', NULL)",
    "CREATE TEMP TABLE own AS EXECUTE mtdd_switch('{role_b}', '{b}', NULL)",
    "SELECT 1; EXECUTE mtdd_switch('none', NULL, NULL)",
    "BEGIN; EXECUTE mtdd_switch('{role_b}', '{b}', NULL); COMMIT",
    "DEALLOCATE mtdd_switch",
    "DEALLOCATE PREPARE mtdd_switch",
    "DEALLOCATE ALL",
    "DEALLOCATE ALL; PREPARE mtdd_switch (text, text, text) AS SELECT $1, $2, $3",
    "DISCARD PLANS",
    "DEALLOCATE ALL; SELECT 1 / 0",
]
QUALIFIED = [
    READ,
    'TABLE "{b}".secret',
    'SELECT word FROM ONLY "{b}".secret',
    'SELECT ("{b}".secret.*)::text FROM "{b}".secret',
    'SELECT max(word) FROM "{b}".secret',
    'SELECT (SELECT word FROM "{b}".secret LIMIT 1)',
    'SELECT * FROM secret UNION ALL SELECT * FROM "{b}".secret',
    'SELECT * FROM secret WHERE word IN (SELECT word FROM "{b}".secret)',
    'WITH x AS (SELECT * FROM "{b}".secret) SELECT * FROM x',
    'SELECT * FROM secret JOIN "{b}".secret AS theirs ON true',
    'SELECT word FROM "{b}".secret FOR UPDATE',
    'COPY "{b}".secret TO STDOUT',
    'COPY (SELECT * FROM "{b}".secret) TO STDOUT',
    'DECLARE c CURSOR WITH HOLD FOR SELECT * FROM "{b}".secret; FETCH ALL FROM c',
    'PREPARE p AS SELECT * FROM "{b}".secret; EXECUTE p',
    'CREATE TABLE own AS SELECT * FROM "{b}".secret',
    'CREATE VIEW own AS SELECT * FROM "{b}".secret; SELECT * FROM own',
    'CREATE MATERIALIZED VIEW own AS SELECT * FROM "{b}".secret',
    'CREATE TABLE own (LIKE "{b}".secret INCLUDING ALL)',
    'CREATE TABLE own () INHERITS ("{b}".secret); SELECT * FROM own',
    'CREATE TABLE own (word text REFERENCES "{b}".secret (word))',
    'CREATE RULE r AS ON INSERT TO secret DO ALSO SELECT * FROM "{b}".secret',
    "SELECT table_to_xml('\"{b}\".secret'::regclass, true, true, '')",
    "SELECT schema_to_xml('{b}', true, true, '')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT * FROM pg_stats WHERE tablename = 'secret' AND schemaname = '{b}'",
    "SELECT * FROM pg_statistic",
    "SELECT pg_get_viewdef(oid) FROM pg_class WHERE relkind = 'v' AND relname = 'shown'",
    "INSERT INTO \"{b}\".secret (word) VALUES ('added')",
    WRITE,
    'DELETE FROM "{b}".secret',
    'TRUNCATE "{b}".secret',
    'MERGE INTO "{b}".secret USING secret AS s ON true WHEN MATCHED THEN DELETE',
    'DROP TABLE "{b}".secret',
    'DROP SCHEMA "{b}" CASCADE',
    'ALTER TABLE "{b}".secret ADD COLUMN own text',
    'ALTER TABLE "{b}".secret RENAME TO own',
    'ALTER TABLE "{b}".secret SET SCHEMA "{a}"',
    'ALTER TABLE "{b}".secret OWNER TO "{role_a}"',
    'ALTER TABLE secret SET SCHEMA "{b}"',
    'ALTER TABLE secret OWNER TO "{role_b}"',
    'CREATE TABLE "{b}".own (id int)',
    'CREATE INDEX own ON "{b}".secret (word)',
    "COMMENT ON TABLE \"{b}\".secret IS 'changed'",
    'LOCK TABLE "{b}".secret',
    'VACUUM "{b}".secret',
    'ANALYZE "{b}".secret',
    'REINDEX TABLE "{b}".secret',
    'CLUSTER "{b}".secret',
    "SELECT nextval('\"{b}\".secret_id_seq')",
    "SELECT setval('\"{b}\".secret_id_seq', 1000)",
    "SELECT pg_relation_filepath('\"{b}\".secret')",
]
BODIES = [
    "DO $$ BEGIN RESET ROLE; END $$",
    "DO 'BEGIN EXECUTE ''RESET ROLE''; END'",
    "DO LANGUAGE plpgsql $$ BEGIN PERFORM set_config('role', 'none', false); END $$",
    "DO $a$ BEGIN EXECUTE chr(82) || 'ESET ROLE'; END $a$",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; END $$; SELECT f()",
    (
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS"
        " $$ SELECT set_config('role', 'none', false) $$; SELECT f()"
    ),
    (
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql RETURN set_config('role', 'none', false)"
        "; SELECT f()"
    ),
    "CREATE FUNCTION f() RETURNS name LANGUAGE sql SET role = 'none' AS 'SELECT current_user'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = '{b}' AS 'SELECT 1'",
    "CREATE OR REPLACE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; END $$; CALL p()",
    (
        "CREATE FUNCTION f(text, text, bool) RETURNS text LANGUAGE internal AS 'set_config_by_name'"
        "; SELECT f('role', 'none', false)"
    ),
    "CREATE FUNCTION f(text, text, bool) RETURNS text AS 'set_config_by_name' LANGUAGE internal",
    (
        "CREATE AGGREGATE a (text, boolean) (sfunc = set_config, stype = text, initcond = 'role')"
        "; SELECT a('none', false)"
    ),
    "CREATE OPERATOR === (leftarg = text, rightarg = text, function = texteq)",
    "CREATE CAST (text AS int) WITH INOUT AS IMPLICIT",
    "ALTER FUNCTION pg_catalog.lower(text) SET role = 'none'",
    "CREATE TRIGGER t BEFORE INSERT ON secret EXECUTE FUNCTION set_config('role', 'none', 'false')",
    "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION f()",
    "CREATE LANGUAGE plpython3u",
    "CREATE EXTENSION IF NOT EXISTS dblink",
    "CREATE EXTENSION IF NOT EXISTS file_fdw",
    "CREATE EXTENSION IF NOT EXISTS plpython3u",
    "CREATE EXTENSION IF NOT EXISTS adminpack",
    (
        "CREATE RULE r AS ON UPDATE TO secret DO INSTEAD"
        " UPDATE pg_settings SET setting = 'none' WHERE name = 'role'; UPDATE secret SET word = 'x'"
    ),
    (
        "CREATE VIEW own AS SELECT * FROM pg_settings"
        "; UPDATE own SET setting = 'none' WHERE name = 'role'"
    ),
]
BY_VIEW = [
    "UPDATE pg_settings SET setting = 'none' WHERE name = 'role'",
    "UPDATE pg_catalog.pg_settings SET setting = '{role_b}' WHERE name = 'role'",
    "UPDATE \"pg_settings\" SET setting = '{b}' WHERE name = 'search_path'",
    "UPDATE ONLY pg_settings AS s SET setting = 'none' WHERE s.name = 'role'",
    "UPDATE U&\"pg\\005fsettings\" SET setting = 'none' WHERE name = 'role'",
    "WITH x AS (UPDATE pg_settings SET setting = 'none' WHERE name = 'role' RETURNING 1) TABLE x",
    "EXPLAIN ANALYZE UPDATE pg_settings SET setting = 'none' WHERE name = 'role'",
    "PREPARE p AS UPDATE pg_settings SET setting = 'none' WHERE name = 'role'; EXECUTE p",
    (
        "MERGE INTO pg_settings AS s USING (SELECT 'role' AS n) AS x ON s.name = x.n"
        " WHEN MATCHED THEN UPDATE SET setting = 'none'"
    ),
    "INSERT INTO pg_settings (name, setting) VALUES ('role', 'none')",
]
IN_TEXT = [
    "SELECT query_to_xml('SELECT set_config(''role'', ''none'', false)', true, true, '')",
    "SELECT query_to_xmlschema('SELECT set_config(''role'', ''none'', false)', true, true, '')",
    (
        "SELECT query_to_xml_and_xmlschema("
        "'SELECT set_config(''role'', ''none'', false)', true, true, '')"
    ),
    "SELECT \"query_to_xml\"('SELECT set_config(''role'', ''none'', false)', true, true, '')",
    (
        "SELECT U&\"query\\005fto\\005fxml\"('SELECT set_config(''role'', ''none'', false)', "
        "true, true, '')"
    ),
    "SELECT * FROM ts_stat('SELECT to_tsvector(set_config(''role'', ''none'', false))')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(word) FROM \"{b}\".secret')",
    (
        "SELECT ts_rewrite('a'::tsquery, 'SELECT set_config(''role'', ''none'', false)::tsquery, "
        "''b''::tsquery')"
    ),
    "SELECT * FROM dblink('dbname={database}', 'SELECT word FROM \"{b}\".secret') AS t(word text)",
    "SELECT dblink_connect('dbname={database} user={login}')",
    (
        "SELECT * FROM crosstab('SELECT set_config(''role'', ''none'', false), ''a'', ''b''') "
        "AS t(a text, b text)"
    ),
    "SELECT * FROM connectby('secret', 'id', 'id', '1', 0) AS t(a int, b int, c int)",
    "SELECT * FROM xpath_table('id', 'word', 'secret', '/', 'true') AS t(id int)",
    (
        "DECLARE c CURSOR FOR SELECT set_config('role', 'none', false)"
        "; SELECT cursor_to_xml('c', 1, true, true, '')"
    ),
    "SELECT lo_export(lo_from_bytea(0, 'x'), '{written}')",
]
FILES = [
    "COPY secret FROM '{file}'",
    "COPY secret TO '{written}'",
    "COPY secret FROM PROGRAM 'cat {file}'",
    "COPY secret TO PROGRAM 'cat > {written}'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "CREATE TEMP TABLE own (word text); COPY own FROM '{file}'; SELECT * FROM own",
    "CREATE TEMP TABLE own (word text); COPY own FROM PROGRAM 'cat {file}'; SELECT * FROM own",
    "SELECT pg_read_file('{file}')",
    "SELECT pg_read_file('{file}', 0, 100)",
    "SELECT pg_read_binary_file('{file}')",
    "SELECT convert_from(pg_read_binary_file('{file}'), 'UTF8')",
    "SELECT * FROM pg_ls_dir('.')",
    "SELECT * FROM pg_stat_file('{file}')",
    "SELECT * FROM pg_ls_logdir()",
    "SELECT * FROM pg_ls_waldir()",
    "SELECT * FROM pg_ls_tmpdir()",
    "SELECT pg_current_logfile()",
    "SELECT lo_import('{file}')",
    "SELECT convert_from(lo_get(lo_import('{file}')), 'UTF8')",
    "SELECT lo_export({large}, '{written}')",
    "SELECT convert_from(lo_get({large}), 'UTF8')",
    "BEGIN; SELECT loread(lo_open({large}, 262144), 100); COMMIT",
    "SELECT lo_unlink({large})",
    "SELECT lo_put({large}, 0, 'changed')",
    "SELECT data FROM pg_largeobject",
    'ALTER LARGE OBJECT {large} OWNER TO "{role_a}"',
    'GRANT SELECT ON LARGE OBJECT {large} TO "{role_a}"',
    "LOAD 'plpgsql'",
    "LOAD '{file}'",
    "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT * FROM pg_file_settings",
    "SELECT rolpassword FROM pg_authid",
    "SELECT passwd FROM pg_shadow",
    "SELECT subconninfo FROM pg_subscription",
    "SELECT umoptions FROM pg_user_mapping",
    "CREATE TABLESPACE own LOCATION '/tmp'",
    "CREATE DATABASE own",
    "DROP DATABASE {database}",
    "ALTER DATABASE {database} SET search_path = '{b}'",
]
OTHERS = [
    "SELECT query FROM pg_stat_activity",
    "SELECT * FROM pg_stat_activity",
    "SELECT pg_stat_get_backend_activity(i) FROM generate_series(1, 100) AS i",
    "SELECT query FROM pg_stat_get_activity(NULL)",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    "SELECT pg_terminate_backend({pid_b})",
    "SELECT pg_cancel_backend({pid_b})",
    "SELECT pg_terminate_backend({pid_b}, 1000)",
    "SELECT pg_log_backend_memory_contexts({pid_b})",
    "SELECT * FROM pg_stat_statements",
    "SELECT * FROM pg_prepared_statements",
    "SELECT * FROM pg_cursors",
    "SELECT * FROM pg_prepared_xacts",
    "SELECT pg_export_snapshot()",
    "SELECT pg_switch_wal()",
    "SELECT pg_create_restore_point('own')",
    "SELECT pg_logical_slot_get_changes('own', NULL, NULL)",
    "SELECT pg_create_physical_replication_slot('own')",
    "SELECT pg_stat_reset()",
    "LISTEN news",
    "LISTEN mtdd_placement",
    "NOTIFY mtdd_placement, 'no number'",
    "SELECT pg_notify('mtdd_placement', '99999999999999999999')",
]
GRANTS = [
    'GRANT "{role_b}" TO "{role_a}"',
    'GRANT {login} TO "{role_a}"',
    'GRANT ALL ON SCHEMA "{b}" TO "{role_a}"',
    'GRANT ALL ON ALL TABLES IN SCHEMA "{b}" TO PUBLIC',
    'GRANT pg_read_all_data TO "{role_a}"',
    'REVOKE ALL ON SCHEMA "{b}" FROM "{role_b}"',
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
    'ALTER DEFAULT PRIVILEGES FOR ROLE "{role_b}" GRANT ALL ON TABLES TO PUBLIC',
    'CREATE ROLE own LOGIN IN ROLE "{role_b}"',
    "CREATE USER own SUPERUSER",
    'ALTER ROLE "{role_a}" SUPERUSER',
    "ALTER ROLE \"{role_a}\" LOGIN PASSWORD 'own'",
    'ALTER ROLE "{role_a}" BYPASSRLS',
    "ALTER ROLE \"{role_a}\" SET role = '{role_b}'",
    "ALTER ROLE \"{role_a}\" SET search_path = '{b}'",
    "ALTER ROLE {login} SET search_path = '{b}'",
    "ALTER ROLE CURRENT_USER SET session_preload_libraries = '{file}'",
    "ALTER ROLE CURRENT_USER PASSWORD 'own'",
    "ALTER ROLE CURRENT_USER NOLOGIN",
    "ALTER ROLE CURRENT_USER SET statement_timeout = 1",
    "ALTER ROLE ALL SET search_path = '{b}'",
    'ALTER USER "{role_b}" RENAME TO own',
    'DROP ROLE "{role_b}"',
    'DROP OWNED BY "{role_b}" CASCADE',
    'REASSIGN OWNED BY "{role_b}" TO "{role_a}"',
    'ALTER SCHEMA "{b}" OWNER TO "{role_a}"',
    'ALTER SCHEMA "{b}" RENAME TO own',
    'ALTER SCHEMA "{a}" RENAME TO "{b}"',
    'ALTER SCHEMA "{a}" OWNER TO "{role_b}"',
    'CREATE SCHEMA own AUTHORIZATION "{role_b}"',
    'CREATE POLICY p ON "{b}".secret USING (true)',
    'ALTER TABLE "{b}".secret DISABLE ROW LEVEL SECURITY',
    "SECURITY LABEL ON TABLE secret IS 'own'",
    "CREATE SERVER own FOREIGN DATA WRAPPER dblink_fdw OPTIONS (dbname '{database}')",
    "CREATE PUBLICATION own FOR ALL TABLES",
    "CREATE SUBSCRIPTION own CONNECTION 'dbname={database}' PUBLICATION own",
]
OF_THE_SERVER = [
    "SELECT * FROM mtdd.placement",
    "SELECT * FROM mtdd.shard",
    "TABLE mtdd.placement",
    "UPDATE mtdd.placement SET role = '{role_b}' WHERE tenant = 'a'",
    "UPDATE mtdd.placement SET state = 'deleting' WHERE tenant = 'b'",
    "UPDATE mtdd.placement SET namespace = '{b}' WHERE tenant = 'a'",
    "DELETE FROM mtdd.placement",
    "INSERT INTO mtdd.placement SELECT * FROM mtdd.placement",
    "TRUNCATE mtdd.placement",
    "DROP SCHEMA mtdd CASCADE",
    "DROP TABLE mtdd.placement",
    "ALTER TABLE mtdd.placement DISABLE TRIGGER ALL",
    "CREATE TRIGGER t AFTER INSERT ON mtdd.placement EXECUTE FUNCTION f()",
    "SELECT mtdd.fingerprints(ARRAY['{b}'], ARRAY['{role_b}'])",
    "SELECT mtdd.migration_states(ARRAY['b'])",
    "SELECT mtdd.applied_migrations(ARRAY['b'])",
    "SELECT mtdd.placement_changed()",
    "CREATE TABLE mtdd.own (id int)",
    "CREATE TABLE extensions.own (id int)",
    "CREATE TABLE public.own (id int)",
    "CREATE VIEW extensions.lower AS SELECT 1",
    "CREATE TABLE pg_catalog.own (id int)",
    "DROP SCHEMA extensions CASCADE",
]
LEFT = [
    ("SET statement_timeout = 1",),
    ("SET default_transaction_read_only = on",),
    ("SET default_transaction_isolation = 'serializable'",),
    ("SET TimeZone = 'Pacific/Apia'",),
    ("SET DateStyle = 'German'",),
    ("SET client_min_messages = debug5",),
    ("SET row_security = off",),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",),
    ("SELECT set_config('statement_timeout', '1', false)",),
    ("UPDATE pg_settings SET setting = '1' WHERE name = 'statement_timeout'",),
    ("SET own.name = 'secret of a'",),
    ("CREATE TEMP TABLE secret (word text)", "INSERT INTO pg_temp.secret VALUES ('of a')"),
    ("CREATE TEMP VIEW secret AS SELECT 'of a' AS word",),
    ("SELECT 'of a' AS word INTO TEMP secret",),
    ("CREATE TEMP SEQUENCE secret_id_seq",),
    ("CREATE TABLE pg_temp.secret (word text)",),
    ('CREATE TABLE U&"pg\\005ftemp".secret (word text)',),
    ("CREATE VIEW pg_temp.secret AS SELECT 'of a' AS word",),
    ("SELECT 'of a' AS word INTO pg_temp.secret",),
    ("SELECT 'of a' AS word INTO \"pg_temp\".secret",),
    ("CREATE SEQUENCE pg_temp.secret_id_seq",),
    ("CREATE DOMAIN pg_temp.text AS text CHECK (false)",),
    ("CREATE TYPE pg_temp.int4 AS (word text)",),
    ("CREATE TABLE own (id int)", "ALTER TABLE own SET SCHEMA pg_temp"),
    ("PREPARE p AS SELECT 'of a'",),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 'of a'",),
    ("BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT 'of a'", "COMMIT"),
    ("SELECT pg_advisory_lock(42)",),
    ("SELECT pg_advisory_lock_shared(42)",),
    ("SELECT pg_try_advisory_lock(42, 1)",),
    ("LISTEN own",),
    ("BEGIN", "UPDATE secret SET word = 'open'"),
    ("BEGIN", "LOCK TABLE secret IN ACCESS EXCLUSIVE MODE"),
    ("BEGIN", "SELECT 1 / 0"),
    ("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",),
    ("BEGIN", "SAVEPOINT s", "SELECT 1 / 0"),
    ("BEGIN", "SET LOCAL statement_timeout = 1"),
    ("SET standard_conforming_strings = off", r"SELECT 'a\', '; RESET ROLE; --'", READ),
    ("SET backslash_quote = on", r"SELECT E'a\'; RESET ROLE; --'", READ),
    ("SET client_encoding = 'SJIS'", "SELECT '\u8868'; RESET ROLE"),
    ("SET session_replication_role = replica",),
    ("SET lc_messages = 'C'; SET extra_float_digits = -15",),
    ("DISCARD ALL",),
    ("DISCARD TEMP",),
    ("DISCARD SEQUENCES",),
    ("SELECT lastval()", "SELECT currval('secret_id_seq')"),
    ("COPY secret FROM STDIN",),
    ("SELECT word FROM secret; SELECT 1 / 0",),
    ("SET LOCAL statement_timeout = 1",),
]


def alone(statements: Iterable[str]) -> tuple[Attack, ...]:
    """Return attacks of one statement each."""
    return tuple((statement,) for statement in statements)


def every(rewrite: Callable[[str], list[str]], statements: Iterable[str]) -> Iterator[str]:
    return itertools.chain.from_iterable(map(rewrite, statements))


FAMILIES = (
    Family(
        "role",
        "The pooler has chosen the tenant's role by SET ROLE; who may set it may set another.",
        tuple(then_read([*every(spelled, ROLES[:4]), *ROLES[4:]])),
    ),
    Family(
        "session authorization",
        "A pooler that logs in as a superuser can be told to be anybody.",
        tuple(then_read([*every(spelled, SESSIONS[:2]), *SESSIONS[2:]])),
    ),
    Family(
        "search path",
        "Where only the path keeps tenants apart, another path is another tenant.",
        tuple((path, READ_OWN) for path in [*every(spelled, PATHS[:2]), *PATHS[2:]]),
        unguarded="path",
    ),
    Family(
        "set_config",
        "A function sets what SET sets, wherever an expression may stand, however it is spelled.",
        tuple(
            then_read(
                [
                    *every(placed, CALLS),
                    *(f"SELECT {call}" for call in SPELLINGS_OF_A_CALL),
                    *(
                        f"UPDATE secret SET word = word WHERE {c} <> ''"
                        for c in SPELLINGS_OF_A_CALL
                    ),
                ]
            )
        ),
    ),
    Family(
        "settings by a view",
        "Updating pg_settings calls set_config.",
        tuple(then_read(BY_VIEW)),
    ),
    Family(
        "prepared statements",
        "What the pooler has prepared on the connection for itself, everybody can execute, "
        "or put another in its place.",
        tuple(then_read(PREPARED)),
    ),
    Family(
        "names of others",
        "Without roles of their own, a schema's name is enough to reach what is in it.",
        alone(QUALIFIED),
        unguarded="path",
    ),
    Family(
        "hidden bodies",
        "Code that is text to the parser sets the role when it runs.",
        tuple(then_read(BODIES)),
    ),
    Family(
        "SQL in text",
        "Functions that run a string as SQL run what nobody has looked at.",
        tuple(then_read(IN_TEXT)),
    ),
    Family(
        "files and the server's secrets",
        "A superuser behind the pooler reads and writes files, runs programs, and reads passwords.",
        alone(FILES),
        unguarded="path",
    ),
    Family(
        "other sessions",
        "All tenants' statements run as one login role, which sees and ends its own sessions.",
        alone(OTHERS),
        unguarded="path",
    ),
    Family(
        "grants and owners",
        "A role that may make roles, or that owns what others use, gives itself the rest.",
        alone(GRANTS),
        unguarded="path",
    ),
    Family(
        "the server's own tables",
        "Who changes where the server believes a tenant to be is led to another's rows.",
        alone(OF_THE_SERVER),
        unguarded="path",
    ),
    Family(
        "left for the next",
        "The next tenant gets the connection as it was left.",
        tuple(LEFT),
    ),
)
