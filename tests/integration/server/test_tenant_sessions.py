"""Tenants share backend connections, and nothing but that.

Every test has tenants a and b on a shard server whose pool holds a single data
connection, so that whatever one leaves on it meets the other.
"""

import contextlib
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg_errors

from mtdd_router import dbapi, errors
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.client.location import Location
from mtdd_router.client.session import sessions_of
from mtdd_router.embedded import Stack
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.types import Isolation, Placement, TenantState


@dataclass
class Fixed:
    """A locator for tests: it knows one place, and where to look if that is stale."""

    location: Location
    newer: Location | None = None

    def permit(self) -> None:
        """Refuse nothing."""

    def locate(self) -> Location:
        return self.location

    def relocate(self, stale: Location) -> Location:
        if self.newer is not None:
            self.location = self.newer
        return self.location


@dataclass
class Site:
    address: str
    admin: ShardAdmin

    def create(
        self,
        name: str,
        state: TenantState = TenantState.ACTIVE,
        isolation: Isolation = Isolation.SCHEMA,
    ) -> Placement:
        namespace = f"t_{name}_{secrets.token_hex(4)}"
        return self.admin.create_namespace(
            Placement(name, isolation, namespace, namespace, 1, state)
        )

    def location(self, tenant: str, epoch: int = 1, *, maintenance: bool = False) -> Location:
        return Location(Endpoint(self.address, "only"), tenant, epoch, maintenance)


@pytest.fixture(scope="module")
def small_stack() -> Iterator[Stack]:
    from mtdd_router.embedded import StackOptions
    from tests.conftest import _stack_folder

    with (
        _stack_folder() as folder,
        Stack(folder, StackOptions(shards=1, durable=False, pool_size=4)) as running,
    ):
        yield running


@pytest.fixture
def site(small_stack: Stack) -> Iterator[Site]:
    (server,) = small_stack.shard_servers
    admin = ShardAdmin(server.address, shard="only")
    yield Site(server.address, admin)
    for tenant in admin.placements().placements:
        admin.drop_namespace(tenant)


Connect = Callable[..., dbapi.Connection[Any]]


@pytest.fixture
def connect(site: Site) -> Iterator[Connect]:
    with contextlib.ExitStack() as opened:

        def connect(tenant: str, epoch: int = 1, **options: Any) -> dbapi.Connection[Any]:
            maintenance = options.pop("maintenance", False)
            # As Django does; without, a switch sets the time zone back, and is no Query.
            options.setdefault("settings", {"TimeZone": "UTC"})
            locator = options.pop("locator", None) or Fixed(
                site.location(tenant, epoch, maintenance=maintenance)
            )
            connection = dbapi.connect(locator, database=tenant, autocommit=True, **options)
            opened.callback(connection.close)
            return connection

        yield connect


@pytest.fixture
def pair(site: Site, connect: Connect) -> tuple[Any, Any]:
    """Tenants a and b, each with a table ``t`` that holds its own name."""
    site.create("a")
    site.create("b")
    a, b = connect("a"), connect("b")
    for connection, name in ((a, "a"), (b, "b")):
        connection.execute("CREATE TABLE t (id serial PRIMARY KEY, word text UNIQUE)")
        connection.execute("INSERT INTO t (word) VALUES (%s)", [name])
    return a, b


def words(connection: Any) -> list[str]:
    return [row[0] for row in connection.execute("SELECT word FROM t ORDER BY id").fetchall()]


def backend_pid(connection: Any) -> int:
    return int(connection.execute("SELECT pg_backend_pid()").fetchone()[0])


def assert_apart(a: Any, b: Any) -> None:
    """Both see their own rows only, on the same backend connection."""
    for _ in range(2):
        assert words(a)[0] == "a"
        assert "b" not in words(a)
        assert words(b)[0] == "b"
        assert "a" not in words(b)


def test_a_switch_and_its_statement_are_one_query_where_that_is_safe(pair, connect):
    a, b = pair
    asks = "SELECT current_query()"
    for connection in (a, b, a):
        (text,) = connection.execute(asks).fetchone()
        assert text.startswith("SET ROLE ")
        assert text.endswith(f'", "extensions"; {asks}')
        # Now it is there, and a semicolon, a time zone or a transaction is never in one with it.
        assert connection.execute(asks).fetchone() == (asks,)
    anywhere, tokyo = connect("a", settings={}), connect("b", settings={"TimeZone": "Asia/Tokyo"})
    for connection, query in (
        (b, f"{asks}, ';'"),
        (anywhere, asks),
        (tokyo, asks),
        (a, f"{asks}, ';'"),
    ):
        assert connection.execute(query).fetchone()[0] == query
    b.execute("BEGIN")
    assert b.execute(asks).fetchone() == (asks,)
    b.execute("ROLLBACK")
    assert_apart(a, b)


# Each with the text that PostgreSQL points at.
BROKEN = [
    ("SELECT word FROM t WHERE wrod = 'ü'", "wrod"),
    ("SELECT 'ünïcödé', nothing FROM t", "nothing"),
    ("SELECT word FROM FROM t", "FROM t"),
    ("INSERT INTO t (word) VALUES ('a;b', nowhere)", "nowhere"),
    ("SELECT word FROM elsewhere;", "elsewhere"),
    ("SELECT 1 +", ""),
    ("SELECT 1 FETCH FIRST 1 ROWS WITH TIES", "WITH TIES"),
]


@pytest.mark.parametrize(("statement", "pointed_at"), BROKEN)
def test_an_error_points_into_the_statement_also_behind_a_switch(pair, statement, pointed_at):
    for connection, other in (pair, reversed(pair)):
        words(other)
        # The first one switches, the second one finds the connection switched.
        for _ in range(2):
            with pytest.raises(psycopg.ProgrammingError) as caught:
                connection.execute(statement)
            position = int(caught.value.diag.statement_position or 0) - 1
            assert statement[position:].startswith(pointed_at)
            assert position <= len(statement)
            shown = str(caught.value).splitlines()
            assert shown[1] == f"LINE 1: {statement}"
            assert shown[2] == " " * (position + len("LINE 1: ")) + "^"
        assert words(connection)
    assert_apart(*pair)


def test_what_cannot_be_read_is_the_statements_error_also_behind_a_switch(pair):
    a, b = pair
    for connection in (a, b, a, a, b):
        with pytest.raises(pg_errors.CharacterNotInRepertoire):
            connection.execute(b"SELECT '\xff'")
    assert_apart(a, b)


def test_a_warning_points_into_the_statement_also_behind_a_switch(pair):
    said: list[Any] = []
    for connection in pair:
        connection.add_notice_handler(lambda notice: said.append(notice.statement_position))
    for connection in (*pair, *pair, pair[1]):
        connection.execute("SELECT '12:00:00'::time(9)")
    assert said == ["20"] * 5


@pytest.mark.parametrize("text", ["one;two", "'; ROLLBACK; SELECT word FROM t; --", ";", "; "])
def test_a_semicolon_in_a_constant_ends_nothing(pair, text):
    for connection in pair * 2:
        quoted = text.replace("'", "''")
        assert connection.execute(f"SELECT '{quoted}'").fetchone() == (text,)
        assert connection.execute(f"SELECT '{quoted}' ;").fetchone() == (text,)
    assert_apart(*pair)


def test_a_rollback_behind_a_statement_undoes_no_switch(pair):
    for connection in pair * 2:
        cursor = connection.execute("SELECT word FROM t; ROLLBACK; SELECT word FROM t")
        mine = cursor.fetchone()
        assert cursor.nextset()
        assert cursor.nextset()
        assert cursor.fetchone() == mine
    assert_apart(*pair)


def test_tenants_on_one_backend_connection_see_their_own_rows(pair):
    a, b = pair
    assert backend_pid(a) == backend_pid(b)
    assert_apart(a, b)


def test_each_runs_as_its_own_role_in_its_own_schema(pair, site):
    placements = site.admin.placements().placements
    for connection, name in zip(pair, "ab", strict=True):
        user, path = connection.execute("SELECT current_user, current_schema").fetchone()
        assert user == placements[name].role
        assert path == placements[name].namespace


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1/0", "SELECT * FROM nowhere", "INSERT INTO t (word) VALUES ('b')", "SELEC"],
)
def test_a_statement_that_fails_right_after_the_switch_undoes_nothing_for_the_next(pair, statement):
    a, b = pair
    words(a)
    with pytest.raises(psycopg.DatabaseError):
        b.execute(statement)
    # The switch to b was rolled back with its statement: it is not believed in.
    assert_apart(a, b)
    words(a)
    with pytest.raises(psycopg.DatabaseError):
        b.execute(statement)
    assert words(b) == ["b"]


def test_a_rollback_leaves_the_next_tenant_where_it_belongs(pair):
    a, b = pair
    words(a)
    with pytest.raises(ZeroDivisionError), b.transaction():
        b.execute("INSERT INTO t (word) VALUES ('gone')")
        raise ZeroDivisionError
    assert words(b) == ["b"]
    assert words(a) == ["a"]
    words(b)
    with a.transaction(force_rollback=True):
        assert words(a) == ["a"]
    assert words(b) == ["b"]


def test_a_script_that_ends_its_own_transaction_stays_with_its_tenant(pair):
    a, b = pair
    for _ in range(2):
        words(a)
        cursor = b.execute("BEGIN; SELECT word FROM t; ROLLBACK; SELECT word FROM t")
        seen = []
        while True:
            if cursor.description:
                seen += [row[0] for row in cursor.fetchall()]
            if not cursor.nextset():
                break
        assert seen == ["b", "b"]


def test_a_transaction_keeps_its_connection_and_others_wait(pair):
    a, b = pair
    seen: list[list[str]] = []
    with a.transaction():
        a.execute("INSERT INTO t (word) VALUES ('more')")
        waiting = threading.Thread(target=lambda: seen.append(words(b)))
        waiting.start()
        time.sleep(0.3)
        assert seen == []
    waiting.join(10)
    assert seen == [["b"]]


def test_one_tenant_cannot_name_the_others_schema(pair, site):
    a, b = pair
    theirs = site.admin.placements().placements["b"].namespace
    for statement in (
        f'SELECT * FROM "{theirs}".t',
        f"INSERT INTO \"{theirs}\".t (word) VALUES ('x')",
        f'DROP TABLE "{theirs}".t',
        f'CREATE TABLE "{theirs}".u (id int)',
        f'GRANT ALL ON SCHEMA "{theirs}" TO PUBLIC',
    ):
        with pytest.raises((pg_errors.InsufficientPrivilege, pg_errors.UndefinedTable)):
            a.execute(statement)
    assert words(b) == ["b"]


@pytest.mark.parametrize(
    "statement",
    [
        "RESET ROLE",
        "SET ROLE NONE",
        "SELECT set_config('role', 'none', false)",
        "SELECT 1; RESET ROLE",
        "DO $$ BEGIN EXECUTE 'reset role'; END $$",
        "DISCARD ALL",
        "RESET ALL",
        "SET search_path = public",
        "SET standard_conforming_strings = off",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
        "SET client_encoding = 'SJIS'",
    ],
)
def test_what_would_leave_the_role_is_refused_and_loses_nothing(pair, statement):
    a, b = pair
    with pytest.raises(errors.StatementRefused, match="tenant 'a'"):
        a.execute(statement)
    assert_apart(a, b)
    with pytest.raises(errors.StatementRefused), a.transaction():
        a.execute("INSERT INTO t (word) VALUES ('lost with its transaction')")
        with pytest.raises(errors.StatementRefused):
            a.execute(statement)
        # Like after any error, the transaction takes no more statements.
        with pytest.raises(pg_errors.InFailedSqlTransaction):
            a.execute("INSERT INTO t (word) VALUES ('never')")
        a.execute(statement)
    assert words(a) == ["a"]


def test_no_statement_can_hide_in_what_the_server_takes_for_a_constant(pair, connect):
    a, b = pair
    hidden = "SELECT 'a\\', '; RESET ROLE; --'"
    for setting in (
        "SET standard_conforming_strings = off",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
    ):
        with pytest.raises(errors.StatementRefused):
            a.execute(setting)
        assert a.execute(hidden).fetchall() == [("a\\", "; RESET ROLE; --")]
    declared = connect("a", settings={"standard_conforming_strings": "off"})
    with pytest.raises(errors.StatementRefused, match="cannot be set for a tenant"):
        declared.execute(hidden)
    assert_apart(a, b)


def test_prepared_by_parameters_is_refused_as_well(pair):
    a, _ = pair
    with pytest.raises(errors.StatementRefused):
        psycopg.Cursor(a).execute("SELECT set_config(%s, %s, false)", ["role", "none"])


def test_begin_carries_nothing_but_a_begin(site, pair):
    a, b = pair
    location = site.location("a")
    session = sessions_of(location.endpoint).acquire(5.0)
    request = pb.SessionRequest(statement=b"SELECT 1", begin="RESET ROLE")
    session.send(request, location.context(()))
    assert session.receive().error.reason == pb.REASON_INVALID_REQUEST
    session.close()
    assert_apart(a, b)


def test_what_a_tenant_leaves_in_its_session_does_not_meet_the_next(pair):
    a, b = pair
    a.execute("SET TIME ZONE 'Asia/Tokyo'")
    a.execute("CREATE TEMP TABLE t_temp (id int)")
    assert a.busy
    a.close()
    assert b.execute("SHOW TimeZone").fetchone() != ("Asia/Tokyo",)
    assert b.execute("SELECT to_regclass('pg_temp.t_temp')").fetchone() == (None,)
    assert words(b) == ["b"]


def test_each_connection_has_its_own_time_zone_whatever_ran_before(pair, connect):
    given = {"Asia/Tokyo": "a", "UTC": "b", "Pacific/Apia": "a"}
    connections = {
        zone: connect(tenant, settings={"TimeZone": zone}) for zone, tenant in given.items()
    }
    default = pair[1].execute("SHOW TimeZone").fetchone()
    choice = random.Random(7)
    for _ in range(60):
        zone = choice.choice(list(connections))
        connection = connections[zone]
        match choice.randrange(6):
            case 0:
                # It takes the switch in front of it back.
                with pytest.raises(pg_errors.DivisionByZero):
                    connection.execute("SELECT 1 / 0")
            case 1:
                connection.execute("BEGIN")
                connection.execute("SET LOCAL TimeZone = 'America/Lima'")
                connection.execute("ROLLBACK")
            case 2:
                connection.execute("BEGIN")
                connection.execute("SET LOCAL TimeZone = 'America/Lima'")
                connection.execute("COMMIT")
            case 3:
                connection.execute("CREATE TABLE IF NOT EXISTS zones (at timestamptz)")
            case 4:
                assert pair[1].execute("SHOW TimeZone").fetchone() == default
        assert connection.execute("SELECT current_setting('TimeZone')").fetchone() == (zone,)
    assert_apart(*pair)


def test_an_unknown_tenant_and_one_of_another_epoch_are_refused(site, connect):
    site.create("a")
    with pytest.raises(errors.StaleRoute, match="'nobody'"):
        connect("nobody").execute("SELECT 1")
    with pytest.raises(errors.StaleRoute, match="'a'"):
        connect("a", epoch=7).execute("SELECT 1")
    site.admin.update_placement("a", expected_epoch=1, epoch=2)
    with pytest.raises(errors.StaleRoute, match="epoch 2"):
        connect("a", epoch=1).execute("SELECT 1")


@pytest.mark.parametrize("isolation", Isolation)
def test_a_tenant_made_again_under_the_same_names_is_another_one(site, connect, isolation):
    connection = connect("again")
    for life in ("first", "second"):
        site.admin.create_namespace(
            Placement("again", isolation, "t_again", "t_again", 1, TenantState.ACTIVE)
        )
        connection.execute("CREATE TABLE lives (life text)")
        connection.execute("INSERT INTO lives VALUES (%s)", [life])
        # The backend connection is still set to a role of that name, which is gone.
        assert connection.execute("SELECT life FROM lives").fetchall() == [(life,)]
        site.admin.drop_namespace("again")


def test_a_stale_route_is_followed_without_anybody_noticing(site, connect, pair):
    a, _ = pair
    site.admin.update_placement("a", expected_epoch=1, epoch=2)
    locator = Fixed(site.location("a", 1), newer=site.location("a", 2))
    moved = connect("a", locator=locator)
    assert words(moved) == ["a"]
    with pytest.raises(errors.StaleRoute):
        words(a)


@pytest.mark.parametrize("state", [state for state in TenantState if state != TenantState.ACTIVE])
def test_a_tenant_that_is_not_active_answers_to_maintenance_only(site, connect, state):
    site.create("a", TenantState.CREATING)
    connect("a", maintenance=True).execute("CREATE TABLE t (id int)")
    if state is not TenantState.CREATING:
        site.admin.update_placement("a", expected_epoch=1, state=TenantState.ACTIVE)
        assert connect("a").execute("SELECT count(*) FROM t").fetchone() == (0,)
    site.admin.update_placement("a", expected_epoch=1, state=state, epoch=2)
    with pytest.raises(errors.TenantUnavailable, match=f"'a' is {state}"):
        connect("a", epoch=2).execute("SELECT 1")
    maintenance = connect("a", epoch=2, maintenance=True)
    assert maintenance.execute("SELECT count(*) FROM t").fetchone() == (0,)
    maintenance.execute("DO $$ BEGIN NULL; END $$")


def test_a_tenant_can_have_a_database_of_its_own(site, connect, pair):
    a, b = pair
    site.create("c", isolation=Isolation.DATABASE)
    c = connect("c")
    assert (
        c.execute("SELECT current_database()").fetchone()
        != a.execute("SELECT current_database()").fetchone()
    )
    c.execute("CREATE TABLE t (id serial PRIMARY KEY, word text)")
    c.execute("INSERT INTO t (word) VALUES ('c')")
    for _ in range(3):
        assert words(c) == ["c"]
        assert_apart(a, b)


def test_a_full_queue_is_told_with_shard_and_tenant(pair):
    a, b = pair
    impatient = b
    impatient._exchange._timeout_ms = 300
    with (
        a.transaction(),
        pytest.raises(errors.ShardOverloaded, match=r"tenant 'b'.*only"),
    ):
        a.execute("SELECT 1")
        words(impatient)
    impatient._exchange._timeout_ms = 0
    assert_apart(a, b)


def test_a_statement_past_its_deadline_is_cancelled_in_postgresql(site, connect, pair):
    a, b = pair
    hurried = connect("b", statement_timeout=0.4)
    with pytest.raises(pg_errors.QueryCanceled):
        hurried.execute("SELECT pg_sleep(20)")
    started = time.monotonic()
    assert_apart(a, b)
    assert time.monotonic() - started < 5
    # The backend connection that was cancelled is not handed on.
    assert hurried.execute("SELECT 1").fetchone() == (1,)


def test_a_held_cursor_keeps_the_session_only_until_it_is_closed(pair):
    a, b = pair
    with a.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        assert cursor.fetchone() == (1,)
        assert a.busy
    assert not a.busy
    assert_apart(a, b)


def test_tenants_take_turns_in_a_storm(site, connect, pair):
    failures: list[str] = []

    def hammer(name: str) -> None:
        connection = connect(name)
        try:
            for number in range(60):
                if number % 3 == 0:
                    with contextlib.suppress(psycopg.DatabaseError):
                        connection.execute("SELECT 1/0")
                if number % 5 == 0:
                    with connection.transaction(force_rollback=True):
                        connection.execute("INSERT INTO t (word) VALUES ('x')")
                if words(connection) != [name]:
                    failures.append(name)
        except Exception as exc:
            failures.append(repr(exc))

    threads = [threading.Thread(target=hammer, args=("ab"[n % 2],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        (b"INSERT INTO t (word) VALUES ('new')", service_pb.OUTCOME_SUCCEEDED),
        (b"INSERT INTO t (word) VALUES ('a')", service_pb.OUTCOME_FAILED),
        # Half of it took effect: sent again, that half would be made twice.
        (
            b"BEGIN; INSERT INTO t (word) VALUES ('kept'); COMMIT; SELECT 1/0",
            service_pb.OUTCOME_UNSPECIFIED,
        ),
        (b"BEGIN; INSERT INTO t (word) VALUES ('open')", service_pb.OUTCOME_FAILED),
    ],
)
def test_what_became_of_a_statement_is_told_without_guessing(site, pair, statement, outcome):
    location = site.location("a")
    session = sessions_of(location.endpoint).acquire(5.0)
    session.send(pb.SessionRequest(statement=statement), location.context(()))
    while not session.receive().complete:
        pass
    assert session.outcome(session.serial) == outcome
    assert session.outcome(session.serial + 1) == service_pb.OUTCOME_NOT_RECEIVED
    session.close()
    assert_apart(*pair)


@pytest.mark.parametrize(
    "statement",
    [
        "EXECUTE mtdd_switch('{role}', '{role}', NULL)",
        "EXPLAIN ANALYZE EXECUTE mtdd_switch('{role}', '{role}', NULL)",
        "CREATE TABLE u AS EXECUTE mtdd_switch('{role}', '{role}', NULL)",
        "EXECUTE U&\"mtdd\\005fswitch\"('none', NULL, NULL)",
        "DEALLOCATE mtdd_switch",
        "PREPARE mtdd_switch (text, text, text) AS SELECT 1",
    ],
)
def test_the_servers_own_prepared_statement_is_not_the_tenants(pair, site, statement):
    a, b = pair
    theirs = site.admin.placements().placements["b"]
    with pytest.raises(errors.StatementRefused, match="mtdd_switch"):
        a.execute(statement.format(role=theirs.role))
    assert_apart(a, b)


def test_a_long_statement_is_examined_while_others_go_on(pair):
    a, b = pair
    # Constants are passed over, so what takes long is code.
    text = f"SELECT 1 WHERE {' OR '.join(['set_config($$x.y$$, $$z$$, true) IS NULL'] * 12_000)}"
    answered: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        examined = pool.submit(a.execute, text)
        begun = time.monotonic()
        while not examined.done():
            words(b)
            answered.append(time.monotonic() - begun)
        with contextlib.suppress(psycopg.Error):
            examined.result()
    seconds = time.monotonic() - begun
    assert seconds > 0.2, "it did not take long"
    # Whatever PostgreSQL takes for it afterwards is on the one connection.
    assert len([moment for moment in answered if moment < seconds / 2]) >= 3
    assert_apart(a, b)


def test_a_search_path_that_pg_dump_has_emptied_does_not_meet_the_next(pair, connect):
    a, b = pair
    for setting in ("search_path', ''", "TimeZone', 'Pacific/Apia'", "row_security', 'off'"):
        dumping = connect("a", maintenance=True)
        dumping.execute(f"SELECT pg_catalog.set_config('{setting}, false)")
        dumping.close()
        assert_apart(a, b)
    assert b.execute("SHOW row_security").fetchone() == ("on",)


def test_a_connection_on_which_a_statement_was_cancelled_is_not_handed_on(pair):
    a, b = pair
    pid = backend_pid(a)
    timer = threading.Timer(0.1, a.cancel)
    timer.start()
    with pytest.raises(pg_errors.QueryCanceled):
        a.execute("SELECT pg_sleep(20)")
    timer.join()
    assert backend_pid(b) != pid
    assert_apart(a, b)


@pytest.mark.parametrize("begins", [False, True])
def test_a_cancel_that_hits_the_switch_is_told_as_the_statements(
    small_stack, site, pair, connect, begins
):
    role = site.create("c").role
    c = connect("c")
    if begins:
        c.autocommit = False
    (postgres,) = (server for server in small_stack.postgres if server.name == "shard1")
    with psycopg.connect(postgres.superuser_dsn) as other, ThreadPoolExecutor(1) as pool:
        # What PostgreSQL knows of a role that is changed has to be read again.
        other.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT 7')
        other.commit()
        other.execute("LOCK TABLE pg_catalog.pg_authid")
        running = pool.submit(c.execute, "SELECT 1")
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while other.execute(waiting).fetchone() == (0,):
            assert not running.done(), running.result()
            time.sleep(0.01)
        c.cancel()
        with pytest.raises(pg_errors.QueryCanceled):
            running.result(10)
        other.rollback()
    c.rollback()
    assert c.execute("SELECT 1").fetchone() == (1,)
    c.rollback()
    assert_apart(*pair)


def change_membership(stack: Stack, statement: str) -> None:
    """Run *statement* on the shard's PostgreSQL as its login role."""
    (postgres,) = (server for server in stack.postgres if server.name == "shard1")
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute("SET SESSION AUTHORIZATION mtdd_shard")
        connection.execute(statement)


@pytest.mark.parametrize("begins", [False, True])
def test_a_statement_goes_on_where_the_tenants_role_may_be_taken(
    small_stack, site, pair, connect, begins
):
    role = site.create("c").role
    c = connect("c")
    c.execute("CREATE TABLE t (id int)")
    words(pair[0])
    change_membership(small_stack, f'REVOKE "{role}" FROM mtdd_shard')
    option = " WITH INHERIT FALSE, SET TRUE" if c.info.server_version >= 160000 else ""
    granting = threading.Timer(
        0.1,
        change_membership,
        [small_stack, f'GRANT "{role}" TO mtdd_shard{option}'],
    )
    granting.start()
    c.autocommit = not begins
    # As if each connection but the last remembered what has changed since.
    c.execute("INSERT INTO t VALUES (1)")
    granting.join()
    c.commit()
    assert c.execute("SELECT id FROM t").fetchall() == [(1,)]
    c.commit()
    assert_apart(*pair)


def test_a_role_that_may_not_be_taken_at_all_is_told_and_nothing_has_run(
    small_stack, site, pair, connect
):
    role = site.create("c").role
    c = connect("c")
    c.execute("CREATE TABLE t (id int)")
    words(pair[0])
    change_membership(small_stack, f'REVOKE "{role}" FROM mtdd_shard')
    for _ in range(2):
        with pytest.raises(psycopg.DatabaseError, match=r"Cannot switch to tenant 'c': .*denied"):
            c.execute("INSERT INTO t VALUES (1)")
        assert_apart(*pair)
    option = " WITH INHERIT FALSE, SET TRUE" if c.info.server_version >= 160000 else ""
    change_membership(small_stack, f'GRANT "{role}" TO mtdd_shard{option}')
    assert c.execute("SELECT id FROM t").fetchall() == []


def test_a_cancel_that_comes_late_hits_nobody_else(pair):
    a, b = pair
    outcomes = set()
    for number in range(40):
        timer = threading.Timer(0.0002 * number, a.cancel)
        timer.start()
        try:
            a.execute("SELECT pg_sleep(0.003)")
            outcomes.add("in time")
        except pg_errors.QueryCanceled:
            outcomes.add("cancelled")
        # It gets the connection that a has left, unless that is closed.
        b.execute("SELECT pg_sleep(0.01)")
        timer.join()
    assert outcomes == {"in time", "cancelled"}
    assert_apart(a, b)
