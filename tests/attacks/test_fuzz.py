"""Statements out of a grammar of escapes: what the guard lets through changes nothing.

Each is made of what leaves a role or a path, in all spellings that PostgreSQL reads the
same, mixed with what is harmless, and then mangled. What the guard allows is run by
PostgreSQL as the tenant, and must leave the session where it was.
``pytest --fuzz=200000 tests/attacks/test_fuzz.py`` tries that many.
"""

import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus

from mtdd_router.embedded import Stack, administrator_dsns
from mtdd_router.server.statements import classify
from tests.databases import drop_database

_TRIED = 300
SPACES = st.sampled_from([" ", " ", " ", "\n", "\t", "\f", "\r", "/**/", "/* /* x */ */", "--\n"])
TAGS = st.sampled_from(["", "a", "_1", "é"])


@st.composite
def spaced(draw: st.DrawFn, *words: str | st.SearchStrategy[str]) -> str:
    """Words with what separates them."""
    drawn = [word if isinstance(word, str) else draw(word) for word in words]
    return "".join(part for word in drawn for part in (word, draw(SPACES)))


@st.composite
def cased(draw: st.DrawFn, word: str) -> str:
    upper = draw(st.lists(st.booleans(), min_size=len(word), max_size=len(word)))
    return "".join(c.upper() if up else c for c, up in zip(word, upper, strict=True))


@st.composite
def escaped(draw: st.DrawFn, text: str, quote: str) -> str:
    """A U& spelling of *text*."""
    mark = draw(st.sampled_from(["\\", "\\", "!", "#"]))
    body = "".join(
        draw(st.sampled_from([c, f"{mark}{ord(c):04x}", f"{mark}+{ord(c):06X}"])) for c in text
    )
    ending = "" if mark == "\\" else f" UESCAPE '{mark}'"
    return f"{draw(st.sampled_from('uU'))}&{quote}{body}{quote}{ending}"


def name(word: str) -> st.SearchStrategy[str]:
    """Spellings of an identifier."""
    return st.one_of(cased(word), st.just(f'"{word}"'), escaped(word, '"'))


@st.composite
def text(draw: st.DrawFn, value: str) -> str:
    """Spellings of a string constant, and expressions that give it."""
    kind = draw(st.integers(0, 8))
    if kind == 0:
        return draw(escaped(value, "'"))
    if kind == 1:
        return "E'" + "".join(draw(st.sampled_from([c, f"\\x{ord(c):02x}"])) for c in value) + "'"
    if kind == 2:
        tag = f"${draw(TAGS)}$"
        return f"{tag}{value}{tag}"
    if kind == 3:
        cut = draw(st.integers(0, len(value)))
        return f"'{value[:cut]}'\n'{value[cut:]}'"
    if kind == 4:
        cut = draw(st.integers(0, len(value)))
        return f"('{value[:cut]}' || '{value[cut:]}')"
    if kind == 5:
        return f"'{value}'::{draw(st.sampled_from(['text', 'varchar', 'name::text']))}"
    if kind == 6:
        return f"(SELECT '{value}')"
    return f"'{value}'"


PARAMETERS = st.sampled_from(
    [
        "role",
        "search_path",
        "session_authorization",
        "standard_conforming_strings",
        "TimeZone",
        "own.role",
        "statement_timeout",
    ]
)
VALUES = st.sampled_from(["none", "{b}", "off", "public"])
FUNCTIONS = st.sampled_from(
    ["set_config", "set_config", "query_to_xml", "current_setting", "lower"]
)


@st.composite
def call(draw: st.DrawFn) -> str:
    prefix = draw(st.sampled_from(["", "", "pg_catalog.", '"pg_catalog" . ']))
    function = draw(FUNCTIONS)
    if function == "query_to_xml":
        inner = "SELECT set_config(''role'', ''none'', false)"
        return f"{prefix}{draw(name(function))}('{inner}', true, true, '')"
    first, second = draw(text(draw(PARAMETERS))), draw(text(draw(VALUES)))
    if function == "set_config":
        return f"{prefix}{draw(name(function))}{draw(SPACES)}({first}, {second}, false)"
    return f"{prefix}{draw(name(function))}({first})"


@st.composite
def query(draw: st.DrawFn) -> str:
    inner = draw(call())
    return draw(
        st.sampled_from(
            [
                f"SELECT {inner}",
                f"SELECT 1 WHERE {inner} IS NOT NULL",
                f"VALUES ({inner})",
                f"WITH x AS MATERIALIZED (SELECT {inner}) SELECT * FROM x",
                f"SELECT * FROM {inner} AS x",
                f"UPDATE word SET word = {inner}",
                f"INSERT INTO word SELECT {inner}",
                f"DELETE FROM word WHERE word = {inner}",
                f"EXPLAIN ANALYZE SELECT {inner}",
                f"COPY (SELECT {inner}) TO STDOUT",
                f"CREATE TEMP TABLE x AS SELECT {inner}",
                f"PREPARE p AS SELECT {inner}; EXECUTE p",
                f"DECLARE c CURSOR WITH HOLD FOR SELECT {inner}",
                f"MERGE INTO word USING (SELECT {inner}) AS x ON true WHEN MATCHED THEN DELETE",
            ]
        )
    )


STATEMENTS = st.one_of(
    query(),
    query(),
    spaced(cased("set"), st.sampled_from(["", "local", "session"]), name("role"), name("none")),
    spaced(cased("set"), name("search_path"), st.sampled_from(["=", "TO"]), text("public")),
    spaced(cased("set"), cased("schema"), text("public")),
    spaced(cased("set"), cased("session"), cased("authorization"), name("default")),
    spaced(cased("reset"), st.sampled_from(["role", "all", "search_path", '"role"'])),
    spaced(cased("discard"), st.sampled_from(["all", "temp", "plans"])),
    spaced(
        cased("update"),
        name("pg_settings"),
        cased("set"),
        "setting =",
        text("none"),
        cased("where"),
        "name =",
        text("role"),
    ),
    spaced(cased("execute"), name("mtdd_switch"), "('none', NULL, NULL)"),
    spaced(cased("deallocate"), name("mtdd_switch")),
    spaced(cased("do"), "$$ BEGIN RESET ROLE; END $$"),
    st.sampled_from(["SELECT 1", "SELECT word FROM word", "BEGIN", "COMMIT", "SELECT 'a;b'", ""]),
)


@st.composite
def attacks(draw: st.DrawFn) -> str:
    """One statement, or several, and sometimes with a character too many or too few."""
    whole = ";".join(draw(st.lists(STATEMENTS, min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(whole)))
        inserted = draw(
            st.sampled_from(["'", '"', "\\", ";", "$$", "/*", "*/", "--", "\0", "(", " "])
        )
        whole = draw(
            st.sampled_from(
                [whole[:place] + inserted + whole[place:], whole[:place] + whole[place + 1 :]]
            )
        )
    return whole


@pytest.fixture(scope="module")
def tenant(attacked: Stack) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the login role, in the role of a tenant, as the server has it."""
    role = f"fuzz_{secrets.token_hex(4)}"
    superuser = administrator_dsns(attacked.folder)["shard1"]
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role}; GRANT {role} TO mtdd_shard WITH INHERIT FALSE")
        connection.execute(f"CREATE DATABASE {role} OWNER mtdd_shard")
        dsn = make_conninfo(superuser, dbname=role)
        with psycopg.connect(dsn, autocommit=True) as inside:
            inside.execute(
                f"CREATE SCHEMA AUTHORIZATION {role}; CREATE TABLE {role}.word (word text)"
            )
            inside.execute(f"ALTER TABLE {role}.word OWNER TO {role}")
        login = make_conninfo(attacked.shard_servers[0].dsn, dbname=role)
        with psycopg.connect(login, autocommit=True, prepare_threshold=None) as session:
            yield session
        drop_database(connection, role)
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_what_the_guard_allows_stays_in_the_role_and_the_path(
    tenant: psycopg.Connection[Any], fuzz: int
) -> None:
    role = tenant.info.dbname
    counts = Counter[str]()
    start = (
        "ROLLBACK; CLOSE ALL; DEALLOCATE ALL; DISCARD TEMP;"
        " PREPARE mtdd_switch (text, text, text) AS SELECT set_config('role', $1, false);"
        f" SET ROLE {role}; SET search_path = {role}"
    )

    def stays(statement: str) -> bool:
        """Run a statement as the tenant, and tell whether the session stays the tenant's."""
        assert tenant.pgconn.exec_(start.encode()).status == ExecStatus.COMMAND_OK
        tenant.pgconn.exec_(statement.replace("\0", " ").encode())
        tenant.pgconn.exec_(b"ROLLBACK")
        found = tenant.execute("SELECT current_user::text, current_setting('search_path')")
        return found.fetchone() == (role, role)

    @settings(
        max_examples=fuzz, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(attacks())
    def attack(statement: str) -> None:
        known = classify(statement.encode())
        if not known.refusal and known.parsed:
            counts["allowed"] += 1
            assert stays(statement)
        else:
            counts["refused"] += 1
            # What is refused would often have succeeded: so the test could fail.
            if counts["refused"] < _TRIED and not stays(statement):
                counts["would have escaped"] += 1

    attack()
    assert min(counts["allowed"], counts["refused"]) > fuzz / 50, counts
    assert counts["would have escaped"] > _TRIED / 20, counts
