"""ShardAdminService on a real shard, with a login role that is no superuser."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.errors import ShardRefused
from mtdd_router.pb import shard_admin_service_pb2 as admin_pb
from mtdd_router.types import Isolation, Placement, ScriptPart, TenantState
from tests.databases import drop_database
from tests.integration.server.running import RunningServer

NewPlacement = Callable[..., Placement]


@pytest.fixture
def admin(shared_admin: ShardAdmin) -> ShardAdmin:
    return shared_admin


@pytest.fixture
def shard_dsn(shared_dsn: str) -> str:
    return shared_dsn


@pytest.fixture
def postgres(shard_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(shard_dsn, autocommit=True) as connection:
        yield connection


def exists(postgres: psycopg.Connection[Any], placement: Placement) -> tuple[bool, bool, bool]:
    """Return whether the schema, the database and the role are there."""
    row = postgres.execute(
        "SELECT to_regnamespace(%(n)s) IS NOT NULL,"
        " EXISTS (SELECT FROM pg_database WHERE datname = %(n)s),"
        " EXISTS (SELECT FROM pg_roles WHERE rolname = %(r)s)",
        {"n": placement.namespace, "r": placement.role},
    ).fetchone()
    assert row is not None
    return row


def as_tenant(postgres: psycopg.Connection[Any], placement: Placement, statement: str) -> None:
    postgres.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(placement.role)))
    try:
        postgres.execute(
            sql.SQL("SET search_path = {}").format(sql.Identifier(placement.namespace))
        )
        postgres.execute(statement.encode())
    finally:
        postgres.execute("RESET ROLE")


# Create


def test_a_namespace_is_made_with_its_role_and_placement(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    placement = new_placement("abc")
    assert admin.create_namespace(placement) == placement
    assert exists(postgres, placement) == (True, False, True)
    assert admin.placements().placements == {"abc": placement}
    as_tenant(postgres, placement, "CREATE TABLE things (id int)")


def test_nothing_is_made_on_another_shard_than_the_one_that_is_meant(
    admin: ShardAdmin, shared_server: RunningServer, new_placement: NewPlacement
) -> None:
    shard_id = admin.info().shard_id
    there = ShardAdmin(endpoint=Endpoint(shared_server.address, shard_id=str(uuid4())))
    part = ScriptPart(("CREATE TABLE things (id int)",))
    for make in (there.create_namespace, lambda placement: there.create_filled(placement, part)):
        with pytest.raises(ShardRefused, match=f"Another shard is meant.* this one is {shard_id}"):
            make(new_placement("abc"))
        assert not admin.placements(orphans=True).placements
    meant = ShardAdmin(endpoint=Endpoint(shared_server.address, shard_id=shard_id))
    assert meant.create_namespace(new_placement("abc")).tenant == "abc"


def test_making_it_again_is_harmless(admin: ShardAdmin, new_placement: NewPlacement) -> None:
    placement = new_placement("abc", state=TenantState.CREATING)
    admin.create_namespace(placement)
    assert admin.create_namespace(placement) == placement
    active = admin.update_placement("abc", expected_epoch=1, state=TenantState.ACTIVE, epoch=2)
    # A caller that was interrupted asks from the beginning.
    assert admin.create_namespace(placement) == active


@pytest.mark.parametrize("isolation", list(Isolation))
def test_the_same_made_twice_at_once_is_made_once(
    admin: ShardAdmin,
    postgres: psycopg.Connection[Any],
    new_placement: NewPlacement,
    isolation: Isolation,
) -> None:
    placement = new_placement("abc", isolation=isolation)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: admin.create_namespace(placement), range(4)))
    assert made == [placement] * 4
    assert exists(postgres, placement)[2]


def test_a_tenant_that_lives_here_in_another_namespace_is_refused(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    admin.create_namespace(new_placement("abc"))
    other = new_placement("abc")
    with pytest.raises(ShardRefused, match=r"'abc' lives on this shard already.*ALREADY_EXISTS"):
        admin.create_namespace(other)
    assert exists(postgres, other) == (False, False, False)


def test_a_namespace_of_another_tenant_is_refused(
    admin: ShardAdmin, new_placement: NewPlacement
) -> None:
    first = admin.create_namespace(new_placement("abc"))
    with pytest.raises(ShardRefused, match="Another tenant of this shard uses the namespace"):
        admin.create_namespace(dataclasses.replace(first, tenant="xyz"))
    assert set(admin.placements().placements) == {"abc"}


def test_a_schema_that_somebody_else_made_is_refused_and_nothing_is_left_behind(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    placement = new_placement("abc")
    postgres.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(placement.namespace)))
    with pytest.raises(ShardRefused, match="exists and belongs to role"):
        admin.create_namespace(placement)
    assert exists(postgres, placement) == (True, False, False)
    assert admin.placements(orphans=True).placements == {}


def test_a_role_that_somebody_else_made_is_refused(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    placement = new_placement("abc")
    name = sql.Identifier(placement.role)
    postgres.execute(sql.SQL("CREATE ROLE {}").format(name))
    try:
        with pytest.raises(ShardRefused, match="was not made by this shard server"):
            admin.create_namespace(placement)
        assert exists(postgres, placement) == (False, False, True)
    finally:
        postgres.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.mark.parametrize("name", ["public", "mtdd", "extensions", "pg_x", "A", 'x"y', "x;y", "é"])
@pytest.mark.parametrize("field", ["namespace", "role"])
def test_a_name_that_is_reserved_or_would_need_quoting_is_refused(
    admin: ShardAdmin, new_placement: NewPlacement, field: str, name: str
) -> None:
    with pytest.raises(ShardRefused, match=r"reserved|not a valid name|used by the shard itself"):
        admin.create_namespace(dataclasses.replace(new_placement("abc"), **{field: name}))
    assert admin.placements().placements == {}


@pytest.mark.parametrize("tenant", ["", "Abc", "a b", 'a"b', "a" * 64, "ä", "a'; DROP TABLE x; --"])
def test_a_tenant_name_that_is_none_is_refused(
    admin: ShardAdmin, new_placement: NewPlacement, tenant: str
) -> None:
    placement = dataclasses.replace(new_placement("abc"), tenant=tenant)
    with pytest.raises(ShardRefused, match="INVALID_ARGUMENT"):
        admin.create_namespace(placement)


def test_a_new_tenant_is_neither_frozen_nor_deleting_and_has_an_epoch(
    admin: ShardAdmin, new_placement: NewPlacement
) -> None:
    with pytest.raises(ShardRefused, match="creating or active"):
        admin.create_namespace(new_placement("abc", state=TenantState.FROZEN))
    with pytest.raises(ShardRefused, match="epoch is 0"):
        admin.create_namespace(new_placement("abc", epoch=0))


def test_the_tenants_role_can_do_nothing_outside_its_schema(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    abc = admin.create_namespace(new_placement("abc"))
    xyz = admin.create_namespace(new_placement("xyz"))
    as_tenant(postgres, xyz, "CREATE TABLE secret (id int)")
    for statement in (
        f"SELECT * FROM {xyz.namespace}.secret",
        "SELECT * FROM mtdd.placement",
        "SELECT mtdd.placement_changed()",
        "CREATE TABLE public.x (id int)",
        "CREATE SCHEMA other",
        "CREATE ROLE other",
        f"SET SESSION AUTHORIZATION {xyz.role}",
        "CREATE TABLE extensions.x (id int)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_tenant(postgres, abc, statement)


def test_a_database_is_made_for_database_isolation(
    admin: ShardAdmin,
    postgres: psycopg.Connection[Any],
    shard_dsn: str,
    new_placement: NewPlacement,
) -> None:
    placement = new_placement("abc", isolation=Isolation.DATABASE)
    assert admin.create_namespace(placement) == placement
    assert admin.create_namespace(placement) == placement
    assert exists(postgres, placement) == (False, True, True)
    row = postgres.execute(
        "SELECT a.datcollate = b.datcollate AND a.encoding = b.encoding"
        " AND a.datlocprovider = b.datlocprovider,"
        " has_database_privilege('public', a.oid, 'CONNECT')"
        " FROM pg_database a, pg_database b"
        " WHERE a.datname = %s AND b.datname = current_database()",
        [placement.namespace],
    ).fetchone()
    assert row == (True, False)
    inside = make_conninfo(**{**conninfo_to_dict(shard_dsn), "dbname": placement.namespace})
    with psycopg.connect(inside) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(placement.role)))
        connection.execute("CREATE TABLE public.things (id int)")


def test_nobody_can_enter_a_database_that_is_being_made(
    admin: ShardAdmin,
    postgres: psycopg.Connection[Any],
    new_placement: NewPlacement,
) -> None:
    seen = set()
    with ThreadPoolExecutor(1) as pool:
        for number in range(8):
            placement = new_placement(f"t{number}", isolation=Isolation.DATABASE)
            making = pool.submit(admin.create_namespace, placement)
            while not making.done():
                seen |= set(
                    postgres.execute(
                        # Both from one row: has_database_privilege() reads a cache, which may
                        # be older than the row that this statement sees.
                        "SELECT datallowconn, EXISTS ("
                        " SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))"
                        " WHERE grantee = 0 AND privilege_type = 'CONNECT')"
                        " FROM pg_database WHERE datname = %s",
                        [placement.namespace],
                    )
                )
            assert making.result() == placement
    assert (True, True) not in seen
    assert (False, True) in seen


def test_a_creation_that_ended_with_a_closed_database_goes_on_or_is_undone(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    for finish in (True, False):
        placement = new_placement("abc", isolation=Isolation.DATABASE)
        admin.create_namespace(placement)
        postgres.execute("UPDATE mtdd.placement SET state = 'creating'")
        postgres.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(placement.role)))
        name = sql.Identifier(placement.namespace)
        postgres.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(name))
        postgres.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        postgres.execute("RESET ROLE")
        # It keeps no other from being strict: nobody gets in.
        admin.create_namespace(new_placement("xyz", isolation=Isolation.STRICT))
        if finish:
            assert admin.create_namespace(placement) == placement
            row = postgres.execute(
                "SELECT datallowconn, has_database_privilege('public', oid, 'CONNECT')"
                " FROM pg_database WHERE datname = %s",
                [placement.namespace],
            ).fetchone()
            assert row == (True, False)
        assert admin.drop_namespace("abc")
        assert admin.drop_namespace("xyz")
        assert exists(postgres, placement) == (False, False, False)


def test_an_interrupted_creation_of_a_database_is_finished_by_asking_again(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    placement = new_placement("abc", isolation=Isolation.DATABASE)
    admin.create_namespace(placement)
    # As it is after the first step.
    postgres.execute("UPDATE mtdd.placement SET state = 'creating'")
    postgres.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(placement.role)))
    postgres.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(placement.namespace)))
    postgres.execute("RESET ROLE")
    assert admin.placements().missing == ("abc",)
    assert admin.create_namespace(placement) == placement
    assert exists(postgres, placement) == (False, True, True)
    assert admin.placements().missing == ()


def test_an_active_tenant_whose_schema_was_lost_is_not_given_an_empty_one_unasked(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    placement = admin.create_namespace(new_placement("abc", state=TenantState.CREATING))
    admin.update_placement("abc", expected_epoch=1, state=TenantState.ACTIVE, epoch=2)
    as_tenant(postgres, placement, f"DROP SCHEMA {placement.namespace}")
    admin.create_namespace(placement)
    assert admin.placements().missing == ("abc",)
    assert not exists(postgres, placement)[0]


# Drop


@pytest.mark.parametrize("isolation", list(Isolation))
def test_dropping_a_tenant_leaves_nothing_and_may_be_repeated(
    admin: ShardAdmin,
    postgres: psycopg.Connection[Any],
    new_placement: NewPlacement,
    isolation: Isolation,
) -> None:
    placement = admin.create_namespace(new_placement("abc", isolation=isolation))
    assert admin.drop_namespace("abc")
    assert not admin.drop_namespace("abc")
    assert exists(postgres, placement) == (False, False, False)
    found = admin.placements(orphans=True)
    assert (found.placements, found.orphans, found.missing) == ({}, (), ())


def test_dropping_removes_tables_large_objects_and_others_objects_in_the_schema(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    placement = admin.create_namespace(new_placement("abc"))
    as_tenant(postgres, placement, "CREATE TABLE a (id int PRIMARY KEY); CREATE VIEW v AS TABLE a")
    as_tenant(postgres, placement, "SELECT lo_create(0)")
    as_tenant(
        postgres, placement, f"GRANT ALL ON SCHEMA {placement.namespace} TO {postgres.info.user}"
    )
    postgres.execute(f"CREATE TABLE {placement.namespace}.foreign_owned (id int)".encode())
    assert admin.drop_namespace("abc")
    assert exists(postgres, placement) == (False, False, False)


def test_an_unknown_tenant_was_not_there(admin: ShardAdmin) -> None:
    assert not admin.drop_namespace("nobody")
    assert not admin.drop_orphan("t_nobody_1")


def test_a_schema_in_use_is_refused_in_seconds_and_stays_whole(
    admin: ShardAdmin,
    postgres: psycopg.Connection[Any],
    shard_dsn: str,
    new_placement: NewPlacement,
) -> None:
    placement = admin.create_namespace(new_placement("abc"))
    as_tenant(postgres, placement, "CREATE TABLE a (id int)")
    with psycopg.connect(shard_dsn) as other:
        other.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(placement.role)))
        other.execute(f"SELECT * FROM {placement.namespace}.a".encode())
        started = time.monotonic()
        with pytest.raises(ShardRefused, match=r"'abc' is in use.*FAILED_PRECONDITION"):
            admin.drop_namespace("abc")
        assert 4 < time.monotonic() - started < 8
        # It serves nothing more, so that asking again will find it unused.
        deleting = dataclasses.replace(placement, state=TenantState.DELETING)
        assert admin.placements().placements == {"abc": deleting}
    assert admin.drop_namespace("abc")


def test_a_database_in_use_is_refused_and_dropped_once_idle(
    admin: ShardAdmin,
    postgres: psycopg.Connection[Any],
    shard_dsn: str,
    new_placement: NewPlacement,
) -> None:
    placement = admin.create_namespace(new_placement("abc", isolation=Isolation.DATABASE))
    inside = make_conninfo(**{**conninfo_to_dict(shard_dsn), "dbname": placement.namespace})
    with psycopg.connect(inside) as other:
        other.execute("SELECT 1")
        with pytest.raises(ShardRefused, match="a transaction still runs"):
            admin.drop_namespace("abc")
        # New statements are refused meanwhile.
        assert admin.placements().placements["abc"].state is TenantState.DELETING
        with pytest.raises(ShardRefused, match="is being deleted"):
            admin.create_namespace(placement)
        other.rollback()
        # An idle connection, as a pool keeps it, is ended.
        assert admin.drop_namespace("abc")
    assert exists(postgres, placement) == (False, False, False)


def test_while_a_drop_waits_the_shard_serves_lookups_and_other_changes_follow(
    admin: ShardAdmin,
    postgres: psycopg.Connection[Any],
    shard_dsn: str,
    new_placement: NewPlacement,
) -> None:
    placement = admin.create_namespace(new_placement("abc"))
    admin.create_namespace(new_placement("xyz"))
    as_tenant(postgres, placement, "CREATE TABLE a (id int)")
    with psycopg.connect(shard_dsn) as other:
        other.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(placement.role)))
        other.execute(f"SELECT * FROM {placement.namespace}.a".encode())
        with ThreadPoolExecutor(1) as pool:
            dropping = pool.submit(admin.drop_namespace, "abc")
            time.sleep(0.3)
            other.rollback()
            admin.update_placement("xyz", expected_epoch=1, state=TenantState.FROZEN, epoch=2)
            assert dropping.result()


def test_a_missing_role_or_schema_does_not_keep_a_tenant_from_being_dropped(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    placement = admin.create_namespace(new_placement("abc"))
    as_tenant(postgres, placement, f"DROP SCHEMA {placement.namespace}")
    assert admin.placements().missing == ("abc",)
    assert admin.drop_namespace("abc")
    assert exists(postgres, placement) == (False, False, False)


# Orphans


def test_what_lost_its_placement_is_found_and_dropped_by_name(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    schema = admin.create_namespace(new_placement("abc"))
    database = admin.create_namespace(new_placement("xyz", isolation=Isolation.DATABASE))
    role_only = admin.create_namespace(new_placement("rrr"))
    as_tenant(postgres, role_only, f"DROP SCHEMA {role_only.namespace}")
    postgres.execute("DELETE FROM mtdd.placement")
    orphans = admin.placements(orphans=True).orphans
    assert set(orphans) == {schema.namespace, database.namespace, role_only.role}
    for orphan in orphans:
        assert admin.drop_orphan(orphan)
    for placement in (schema, database, role_only):
        assert exists(postgres, placement) == (False, False, False)
    assert admin.placements(orphans=True).orphans == ()


def test_a_tenant_that_changes_its_schemas_comment_does_not_hide_it(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    placement = admin.create_namespace(new_placement("abc"))
    as_tenant(postgres, placement, f"COMMENT ON SCHEMA {placement.namespace} IS NULL")
    postgres.execute("DELETE FROM mtdd.placement")
    assert admin.placements(orphans=True).orphans == (placement.namespace,)
    assert admin.drop_orphan(placement.namespace)


def test_what_belongs_to_a_tenant_is_no_orphan(
    admin: ShardAdmin, new_placement: NewPlacement
) -> None:
    placement = admin.create_namespace(new_placement("abc"))
    assert admin.placements(orphans=True).orphans == ()
    with pytest.raises(ShardRefused, match="belongs to a tenant"):
        admin.drop_orphan(placement.namespace)


def test_what_this_shard_did_not_make_is_never_dropped(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    name = new_placement("abc").namespace
    quoted = sql.Identifier(name)
    postgres.execute(sql.SQL("CREATE SCHEMA {}").format(quoted))
    with pytest.raises(ShardRefused, match=r"was not made by this shard server.*FAILED_PRECOND"):
        admin.drop_orphan(name)
    postgres.execute(sql.SQL("DROP SCHEMA {}").format(quoted))
    postgres.execute(sql.SQL("CREATE ROLE {}").format(quoted))
    with pytest.raises(ShardRefused, match="was not made by this shard server"):
        admin.drop_orphan(name)
    postgres.execute(sql.SQL("DROP ROLE {}").format(quoted))
    database = postgres.info.dbname
    with pytest.raises(ShardRefused, match="was not made by this shard server"):
        admin.drop_orphan(database)
    with pytest.raises(ShardRefused, match="reserved"):
        admin.drop_orphan("public")


def test_another_shard_in_the_same_postgresql_is_left_alone(
    admin: ShardAdmin,
    start_server: Callable[..., Any],
    postgres_dsn: str,
    new_placement: NewPlacement,
) -> None:
    name = f"second_{new_placement().namespace}"
    with psycopg.connect(postgres_dsn, autocommit=True) as outside:
        outside.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        dsn = make_conninfo(**{**conninfo_to_dict(postgres_dsn), "dbname": name})
        server = start_server(dsn=dsn)
        second = server.admin()
        assert second.info().shard_id != admin.info().shard_id
        placement = second.create_namespace(new_placement("abc", isolation=Isolation.DATABASE))
        assert admin.placements(orphans=True).orphans == ()
        with pytest.raises(ShardRefused, match="was not made by this shard server"):
            admin.drop_orphan(placement.namespace)
        with pytest.raises(ShardRefused, match="ALREADY_EXISTS"):
            admin.create_namespace(placement)
        admin.drop_namespace("abc")
        assert second.drop_namespace("abc")
        server.stop()
        drop_database(outside, name)


# Update


def test_a_placement_changes_name_state_and_epoch(
    admin: ShardAdmin, new_placement: NewPlacement
) -> None:
    placement = admin.create_namespace(new_placement("abc"))
    changed = admin.update_placement(
        "abc", expected_epoch=1, name="xyz", state=TenantState.FROZEN, epoch=5
    )
    assert changed == dataclasses.replace(
        placement, tenant="xyz", state=TenantState.FROZEN, epoch=5
    )
    assert admin.placements().placements == {"xyz": changed}


def test_asking_for_the_same_change_again_is_harmless(
    admin: ShardAdmin, new_placement: NewPlacement
) -> None:
    admin.create_namespace(new_placement("abc"))
    frozen = admin.update_placement("abc", expected_epoch=1, state=TenantState.FROZEN, epoch=2)
    again = admin.update_placement("abc", expected_epoch=1, state=TenantState.FROZEN, epoch=2)
    assert again == frozen
    renamed = admin.update_placement("abc", expected_epoch=2, name="xyz", epoch=3)
    assert admin.update_placement("abc", expected_epoch=2, name="xyz", epoch=3) == renamed


def test_a_stale_epoch_is_refused_and_nothing_changes(
    admin: ShardAdmin, new_placement: NewPlacement
) -> None:
    placement = admin.create_namespace(new_placement("abc", epoch=7))
    with pytest.raises(ShardRefused, match="is at epoch 7, not 6"):
        admin.update_placement("abc", expected_epoch=6, state=TenantState.FROZEN, epoch=8)
    with pytest.raises(ShardRefused, match="must be larger"):
        admin.update_placement("abc", expected_epoch=7, state=TenantState.FROZEN, epoch=7)
    with pytest.raises(ShardRefused, match="is active; it cannot become creating"):
        admin.update_placement("abc", expected_epoch=7, state=TenantState.CREATING, epoch=8)
    assert admin.placements().placements == {"abc": placement}


def test_a_state_that_the_server_does_not_know_is_refused_and_not_taken_for_none(
    admin: ShardAdmin, new_placement: NewPlacement
) -> None:
    placement = admin.create_namespace(new_placement("abc"))
    change = admin_pb.UpdatePlacementRequest(
        tenant="abc",
        expected_epoch=1,
        epoch=2,
        state=99,  # type: ignore[arg-type]
    )
    with pytest.raises(ShardRefused, match="state is unknown"):
        admin._call("UpdatePlacement", change, admin_pb.UpdatePlacementResponse)
    assert admin.placements().placements == {"abc": placement}


def test_of_two_changes_at_once_one_wins(admin: ShardAdmin, new_placement: NewPlacement) -> None:
    admin.create_namespace(new_placement("abc"))
    barrier = threading.Barrier(2)

    def change(state: TenantState) -> bool:
        barrier.wait()
        try:
            admin.update_placement("abc", expected_epoch=1, state=state, epoch=2)
        except ShardRefused:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(change, [TenantState.FROZEN, TenantState.DELETING]))
    assert sorted(won) == [False, True]


def test_renaming_to_a_taken_or_wrong_name_is_refused(
    admin: ShardAdmin, new_placement: NewPlacement
) -> None:
    admin.create_namespace(new_placement("abc"))
    admin.create_namespace(new_placement("xyz"))
    with pytest.raises(ShardRefused, match=r"'xyz' lives on this shard already.*ALREADY_EXISTS"):
        admin.update_placement("abc", expected_epoch=1, name="xyz", epoch=2)
    with pytest.raises(ShardRefused, match="INVALID_ARGUMENT"):
        admin.update_placement("abc", expected_epoch=1, name="X Y", epoch=2)
    with pytest.raises(ShardRefused, match=r"'nobody' does not live.*NOT_FOUND"):
        admin.update_placement("nobody", expected_epoch=1, epoch=2)


# Look


def test_the_list_comes_in_pages_in_the_order_of_bytes(
    admin: ShardAdmin, postgres: psycopg.Connection[Any]
) -> None:
    postgres.execute(
        "INSERT INTO mtdd.placement (tenant, isolation, namespace, role, epoch, state)"
        " SELECT t, 'schema', 'n' || i, 'r' || i, 1, 'active' FROM"
        " (SELECT i, 'a' || CASE i % 3 WHEN 0 THEN '-' WHEN 1 THEN '_' ELSE 'z' END || i AS t"
        " FROM generate_series(1, 25000) i) x"
    )
    found = admin.placements()
    assert len(found.placements) == 25000
    assert list(found.placements) == sorted(found.placements)
    assert len(found.missing) == 25000


def test_those_that_are_named_are_listed(admin: ShardAdmin, new_placement: NewPlacement) -> None:
    abc = admin.create_namespace(new_placement("abc"))
    klm = admin.create_namespace(new_placement("klm"))
    admin.create_namespace(new_placement("xyz"))
    assert admin.placements("abc").placements == {"abc": abc}
    assert admin.placements("klm", "nobody", "abc").placements == {"abc": abc, "klm": klm}
    assert admin.placements("nobody").placements == {}


def test_sizes_grow_with_the_data(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    abc = admin.create_namespace(new_placement("abc"))
    admin.create_namespace(new_placement("xyz"))
    admin.create_namespace(new_placement("own", isolation=Isolation.DATABASE))
    as_tenant(
        postgres, abc, "CREATE TABLE a AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)"
    )
    sizes = admin.sizes()
    assert sizes["abc"] > 1_000_000
    assert sizes["xyz"] == 0
    assert sizes["own"] > 1_000_000
    assert admin.sizes(["xyz", "nobody"]) == {"xyz": 0}


def test_sizes_are_told_while_a_migration_holds_a_lock(
    admin: ShardAdmin,
    postgres: psycopg.Connection[Any],
    shard_dsn: str,
    new_placement: NewPlacement,
) -> None:
    abc = admin.create_namespace(new_placement("abc"))
    as_tenant(
        postgres, abc, "CREATE TABLE a AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)"
    )
    as_tenant(postgres, abc, "ANALYZE a")
    with psycopg.connect(shard_dsn) as other:
        other.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(abc.role)))
        other.execute(f"LOCK TABLE {abc.namespace}.a".encode())
        assert admin.sizes()["abc"] > 1_000_000


def test_info_describes_the_shard(
    admin: ShardAdmin, postgres: psycopg.Connection[Any], new_placement: NewPlacement
) -> None:
    admin.create_namespace(new_placement("abc"))
    assert admin.info().database_bytes == 0
    info = admin.info(size=True)
    assert UUID(info.shard_id)
    assert info.database_name == postgres.info.dbname
    assert info.postgres_version == postgres.info.parameter_status("server_version")
    assert info.tenants == 1
    assert info.database_bytes > 1_000_000
    assert info.pool_size == 17
    assert (info.pool_busy, info.sessions) == (0, 0)
