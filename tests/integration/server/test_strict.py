"""Tenants with strict isolation: PostgreSQL knows each of them by a login of its own.

The shard server has two connections for statements, so tenants must take turns.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtdd_router import dbapi, errors
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.client.location import Location
from mtdd_router.errors import ShardRefused
from mtdd_router.types import Isolation, Placement, SchemaDetail, ScriptPart, TenantState
from tests.databases import drop_database
from tests.integration.server.conftest import _empty_database, _start
from tests.integration.server.logins import login_dsn
from tests.integration.server.running import RunningServer, wait_until
from tests.integration.server.test_tenant_sessions import Fixed

Connect = Callable[..., dbapi.Connection[Any]]
NewPlacement = Callable[..., Placement]


@pytest.fixture(scope="module")
def dsn(postgres_dsn: str) -> Iterator[str]:
    with _empty_database(postgres_dsn) as made:
        yield made


@pytest.fixture(scope="module")
def server(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with contextlib.ExitStack() as cleanup:
        yield _start(cleanup, tmp_path_factory.mktemp("strict"), dsn, pool_size=5)


@pytest.fixture
def admin(server: RunningServer) -> Iterator[ShardAdmin]:
    admin = server.admin()
    yield admin
    for tenant in admin.placements().placements:
        admin.drop_namespace(tenant)


@pytest.fixture
def postgres(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """PostgreSQL itself, as the shard server's role."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def create(admin: ShardAdmin, new_placement: NewPlacement) -> Callable[..., Placement]:
    def create(tenant: str, **changes: Any) -> Placement:
        values = {"isolation": Isolation.STRICT, **changes}
        return admin.create_namespace(new_placement(tenant, **values))

    return create


@pytest.fixture
def connect(server: RunningServer) -> Iterator[Connect]:
    with contextlib.ExitStack() as opened:

        def connect(
            tenant: str, epoch: int = 1, *, maintenance: bool = False
        ) -> dbapi.Connection[Any]:
            location = Location(Endpoint(server.address, "only"), tenant, epoch, maintenance)
            connection = dbapi.connect(Fixed(location), database=tenant, autocommit=True)
            opened.callback(connection.close)
            return connection

        yield connect


def ask(connection: Any, query: str) -> Any:
    """Return the only value of the only row."""
    ((value,),) = connection.execute(query).fetchall()
    return value


def backend_pid(connection: Any) -> int:
    return int(ask(connection, "SELECT pg_backend_pid()"))


def sessions_of(postgres: psycopg.Connection[Any], *roles: str) -> list[int]:
    """Return the backends of *roles* at one moment."""
    query = "SELECT pid FROM pg_stat_activity WHERE usename = ANY(%s)"
    rows = postgres.execute(query, [list(roles)])
    return [pid for (pid,) in rows]


def test_a_tenant_is_logged_in_as_its_own_role_and_has_no_other(create, connect):
    placement = create("abc")
    abc = connect("abc")
    who = abc.execute("SELECT session_user::text, current_user::text").fetchone()
    assert who == (placement.role, placement.role)
    assert ask(abc, "SHOW search_path") == f"{placement.namespace}, extensions"
    abc.execute("CREATE TABLE t (id int)")
    assert ask(abc, "SELECT tableowner FROM pg_tables WHERE tablename = 't'") == placement.role


def test_an_operator_reaches_the_tenant_as_the_server(create, connect, postgres):
    placement = create("abc")
    who = connect("abc", maintenance=True).execute("SELECT session_user, current_user").fetchone()
    assert who == (ask(postgres, "SELECT current_user"), placement.role)


def test_a_connection_serves_the_tenant_that_it_has_logged_in_as_and_no_other(create, connect):
    create("a")
    create("b")
    create("c", isolation=Isolation.SCHEMA)
    a, b, c = connect("a"), connect("b"), connect("c")
    first, second = backend_pid(a), backend_pid(b)
    assert first != second
    # The pool is full: each gets its own again, and what was idle longest is closed.
    assert (backend_pid(a), backend_pid(b)) == (first, second)
    third = backend_pid(c)
    assert third not in (first, second)
    assert backend_pid(b) == second
    assert backend_pid(a) not in (first, second, third)


def test_the_bound_of_the_pool_counts_the_logins_of_all_tenants(create, connect, postgres):
    roles = [create(f"t{number}").role for number in range(6)]
    most = 0

    def work(tenant: str) -> None:
        connection = connect(tenant)
        for _ in range(10):
            assert ask(connection, "SELECT session_user::text").startswith(f"t_{tenant}_")

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(work, f"t{number}") for number in range(6)]
        while not all(future.done() for future in running):
            most = max(most, len(sessions_of(postgres, *roles)))
        for future in running:
            future.result()
    assert 0 < most <= 2


def test_what_a_tenant_leaves_behind_does_not_meet_its_next_session(create, connect):
    create("abc")
    first = connect("abc")
    first.execute("SET statement_timeout = '7s'")
    first.execute("CREATE TEMP TABLE t (id int)")
    pid = backend_pid(first)
    first.close()
    second, third = connect("abc"), connect("abc")
    # One of the two gets the connection that was left, as soon as it is clean.
    with second.transaction():
        assert pid in (backend_pid(second), backend_pid(third))
        for connection in (second, third):
            assert ask(connection, "SHOW statement_timeout") == "0"
            assert ask(connection, "SELECT to_regclass('pg_temp.t')") is None


def test_a_password_that_somebody_changed_is_set_again(create, connect, postgres):
    placement = create("abc")
    abc = connect("abc")
    pid = backend_pid(abc)
    role = sql.Identifier(placement.role)
    for change in ("PASSWORD 'own'", "PASSWORD NULL", "NOLOGIN"):
        postgres.execute(sql.SQL("ALTER ROLE {} " + change).format(role))
        end_sessions(postgres, placement.role)
        wait_until(lambda: not sessions_of(postgres, placement.role))
        # The server may not have noticed yet that its connection was ended.
        with contextlib.suppress(psycopg.OperationalError):
            backend_pid(connect("abc"))
        assert backend_pid(connect("abc")) != pid


def end_sessions(postgres: psycopg.Connection[Any], role: str) -> None:
    postgres.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role]
    )
    postgres.execute("RESET ROLE")


def test_nobody_else_knows_the_password(create, connect, dsn):
    placement = create("abc")
    abc = connect("abc")
    for query in ("SELECT login_secret FROM mtdd.shard", "SELECT rolpassword FROM pg_authid"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            abc.execute(query)
    # The shard server does, and so does who reads its schema.
    with psycopg.connect(login_dsn(dsn, placement.role)) as connection:
        assert ask(connection, "SELECT session_user::text") == placement.role
    own = make_conninfo(dsn, user=placement.role, password="guessed")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(own)


def test_a_tenants_login_reaches_no_other_database(create, dsn, postgres):
    placement = create("abc")
    theirs = create("xyz", isolation=Isolation.DATABASE)
    databases = [
        name
        for (name,) in postgres.execute("SELECT datname::text FROM pg_database WHERE datallowconn")
    ]
    own = conninfo_to_dict(dsn)["dbname"]
    assert {theirs.namespace, own, "postgres"} <= {*databases}
    for database in {*databases} - {own}:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(make_conninfo(login_dsn(dsn, placement.role), dbname=database))


def test_no_tenant_is_made_strict_while_others_databases_are_open_to_all(create, admin, postgres):
    name = f"open_{secrets.token_hex(4)}"
    postgres.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        with pytest.raises(ShardRefused, match=f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC'):
            create("abc")
    finally:
        drop_database(postgres, name)
    assert not admin.placements(orphans=True).orphans
    assert "abc" not in admin.placements().placements
    create("abc")


def test_nothing_is_left_of_a_tenant_that_postgresql_does_not_let_in(
    create, admin, postgres, connect
):
    # The server's own connection for administration is there, and no other comes in.
    admin.placements()
    database = sql.Identifier(str(ask(postgres, "SELECT current_database()::text")))
    postgres.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(database))
    try:
        with pytest.raises(ShardRefused, match=r"does not let role .* in: too many connections"):
            create("abc")
    finally:
        postgres.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(database))
    assert not admin.placements(orphans=True).orphans
    assert "abc" not in admin.placements().placements
    create("abc")
    assert backend_pid(connect("abc"))


def test_a_role_is_let_into_a_database_that_is_open_to_all_and_goes_without_a_trace(
    create, admin, postgres
):
    database = sql.Identifier(str(ask(postgres, "SELECT current_database()::text")))
    closed = create("abc")
    postgres.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(database))
    try:
        opened = create("xyz")
        assert admin.drop_namespace("abc")
        assert admin.drop_namespace("xyz")
    finally:
        postgres.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))
    for placement in (closed, opened):
        left = postgres.execute("SELECT FROM pg_roles WHERE rolname = %s", [placement.role])
        assert not left.rowcount


def test_creating_again_what_is_there_changes_nothing(create, admin, connect):
    placement = create("abc")
    connect("abc").execute("CREATE TABLE t (id int)")
    assert admin.create_namespace(placement) == placement
    assert ask(connect("abc"), "SELECT count(*) FROM t") == 0


def test_a_dropped_tenants_sessions_end_with_it(create, admin, connect, postgres):
    placement = create("abc")
    backend_pid(connect("abc"))
    assert sessions_of(postgres, placement.role)
    assert admin.drop_namespace("abc")
    assert not sessions_of(postgres, placement.role)
    assert not postgres.execute(
        "SELECT FROM pg_roles WHERE rolname = %s", [placement.role]
    ).rowcount


def test_a_tenant_at_work_is_not_dropped_and_goes_on_when_it_is_settled(create, admin, connect):
    create("abc")
    abc = connect("abc")
    abc.execute("CREATE TABLE t (id int)")
    with abc.transaction(), pytest.raises(ShardRefused, match="still runs"):
        abc.execute("INSERT INTO t VALUES (1)")
        admin.drop_namespace("abc")
    # As repair does: it was in use, and nothing is dropped.
    admin.update_placement("abc", expected_epoch=1, state=TenantState.FROZEN, epoch=2)
    admin.update_placement("abc", expected_epoch=2, state=TenantState.ACTIVE, epoch=3)
    abc.close()
    assert ask(connect("abc", 3), "SELECT count(*) FROM t") == 1


def test_an_orphan_that_can_log_in_is_found_and_dropped(create, admin, connect, postgres):
    placement = create("abc")
    backend_pid(connect("abc"))
    postgres.execute("DELETE FROM mtdd.placement WHERE tenant = 'abc'")
    assert admin.placements(orphans=True).orphans == (placement.role,)
    assert admin.drop_orphan(placement.role)
    assert not admin.placements(orphans=True).orphans
    assert not sessions_of(postgres, placement.role)


def test_a_role_that_is_gone_is_told(create, admin, postgres):
    placement = create("abc")
    assert not admin.placements().missing
    role = sql.Identifier(placement.role)
    end_sessions(postgres, placement.role)
    postgres.execute(sql.SQL("ALTER ROLE {} RENAME TO away").format(role))
    assert admin.placements().missing == ("abc",)
    postgres.execute(sql.SQL("ALTER ROLE away RENAME TO {}").format(role))


def test_a_renamed_tenant_keeps_its_login(create, admin, connect):
    placement = create("abc")
    connect("abc").execute("CREATE TABLE t (id int)")
    admin.update_placement("abc", expected_epoch=1, name="xyz", epoch=2)
    xyz = connect("xyz", 2)
    assert ask(xyz, "SELECT session_user::text") == placement.role
    assert ask(xyz, "SELECT count(*) FROM t") == 0
    with pytest.raises(errors.StaleRoute):
        connect("abc").execute("SELECT 1")


def test_nobody_hears_what_others_of_the_database_notify(create, connect, postgres):
    create("abc")
    abc = connect("abc")
    with pytest.raises(psycopg.Error, match="LISTEN hears what other tenants"):
        abc.execute("LISTEN news")
    heard = connect("abc", maintenance=True)
    heard.execute("LISTEN news")
    postgres.execute("NOTIFY news, 'said'")
    assert [each.payload for each in heard.notifies(timeout=5, stop_after=1)] == ["said"]


def test_a_migration_as_a_script_runs_in_the_tenants_schema(create, admin):
    create("abc")
    part = ScriptPart(
        (
            "CREATE TABLE django_migrations (app text, name text)",
            "INSERT INTO django_migrations VALUES ('shop', '0001')",
        )
    )
    (outcome,) = admin.run_script(["abc"], [part])
    assert not outcome.failure
    state = admin.inspect_schemas(["abc"], SchemaDetail.FACTS)["abc"]
    assert state.applied == ("shop.0001",)
    assert state.facts
