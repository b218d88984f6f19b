"""Roles made ahead, on a shard that believes to have many tenants."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from mtdd_router import dbapi
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.client.location import Location
from mtdd_router.errors import ShardRefused
from mtdd_router.types import Isolation, Placement
from tests.integration.server.running import RunningServer, wait_until
from tests.integration.server.test_tenant_sessions import Fixed

NewPlacement = Callable[..., Placement]

# For these 64 roles are made ahead, and a 32nd of them is kept behind.
TENANTS = 1280


@pytest.fixture
def postgres(shared_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(shared_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def admin(shared_admin: ShardAdmin, postgres: psycopg.Connection[Any]) -> Iterator[ShardAdmin]:
    postgres.execute(
        "INSERT INTO mtdd.placement (tenant, isolation, namespace, role, epoch, state)"
        " SELECT 'many' || i, 'schema', 'many_' || i, 'many_' || i, 1, 'active'"
        f" FROM generate_series(1, {TENANTS}) AS i"
    )
    yield shared_admin
    for tenant in shared_admin.placements().placements:
        if not tenant.startswith("many"):
            shared_admin.drop_namespace(tenant)
    postgres.execute(
        "DELETE FROM mtdd.spare_role; DELETE FROM mtdd.role_maker; DELETE FROM mtdd.retired_role"
    )


@pytest.fixture
def create(
    admin: ShardAdmin, new_placement: NewPlacement, postgres: psycopg.Connection[Any]
) -> Callable[..., Placement]:
    def create(isolation: Isolation, *, until: int = 0) -> Placement:
        """Make tenants until there are at least so many spare roles; return the last one."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            tenant = f"t{secrets.token_hex(4)}"
            placement = new_placement(tenant, isolation=isolation)
            made = admin.create_namespace(placement)
            if made.role.startswith("mtdd_role_") and len(spares(postgres)) >= until:
                return made
            # The server looks after every few tenants, and nobody waits for it.
            time.sleep(0.05)
        raise AssertionError("no spare roles were made")

    return create


def spares(postgres: psycopg.Connection[Any]) -> set[str]:
    """The roles that a new tenant may be given."""
    return {role for (role,) in postgres.execute("SELECT role FROM mtdd.spare_role WHERE usable")}


def retired(postgres: psycopg.Connection[Any]) -> set[str]:
    """The roles of tenants that are gone."""
    return {role for (role,) in postgres.execute("SELECT role FROM mtdd.retired_role")}


def there(postgres: psycopg.Connection[Any], roles: Iterable[str]) -> set[str]:
    """Those of *roles* that there are."""
    wanted = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY(%s)"
    return {role for (role,) in postgres.execute(wanted, [[*roles]])}


def kind_of(isolation: Isolation) -> Isolation:
    """Return an isolation whose tenants have the same kind of roles, and are made quickly."""
    return Isolation.STRICT if isolation is Isolation.STRICT else Isolation.SCHEMA


def changes_of_roles(postgres: psycopg.Connection[Any]) -> Any:
    return postgres.execute(
        "SELECT (SELECT array_agg(r::text ORDER BY r::text) FROM pg_roles r),"
        " (SELECT array_agg((m.xmin, m)::text ORDER BY (m.xmin, m)::text) FROM pg_auth_members m)"
    ).fetchone()


def connect(server: RunningServer, tenant: str) -> Any:
    location = Location(Endpoint(server.address, "only"), tenant, 1)
    return dbapi.connect(Fixed(location), database=tenant, autocommit=True)


@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_tenant_is_made_without_changing_any_role(
    create, admin, postgres, new_placement, isolation
):
    create(kind_of(isolation), until=TENANTS // 64 // 4)
    before, there = changes_of_roles(postgres), spares(postgres)
    wanted = new_placement("abc", isolation=isolation)
    made = admin.create_namespace(wanted)
    assert changes_of_roles(postgres) == before
    assert {made.role} == there - spares(postgres)
    assert made.namespace == wanted.namespace
    # Asked for again, as after a lost answer, it is the same.
    assert admin.create_namespace(wanted) == made
    assert admin.placements("abc").placements["abc"] == made
    assert admin.drop_namespace("abc")


@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_tenant_with_a_spare_role_works(create, shared_server, isolation):
    create(kind_of(isolation), until=TENANTS // 64 // 4)
    made = create(isolation)
    with contextlib.closing(connect(shared_server, made.tenant)) as connection:
        connection.execute("CREATE TABLE t (id int)")
        assert connection.execute("SELECT current_user::text").fetchone() == (made.role,)


def test_a_batch_is_used_once_all_have_read_its_memberships(create, admin, postgres, new_placement):
    create(Isolation.SCHEMA, until=12)
    # As a worker leaves it that is ended between making and releasing.
    postgres.execute("UPDATE mtdd.spare_role SET usable = false, made_at = clock_timestamp()")
    made = admin.create_namespace(new_placement("abc"))
    assert made.role == made.namespace
    admin.drop_namespace("abc")
    assert not spares(postgres)
    # Whoever looks next lets it go.
    create(Isolation.SCHEMA, until=12)


def test_a_role_of_a_batch_is_changed_before_it_is_used(create, postgres):
    create(Isolation.SCHEMA, until=12)
    batch = list(spares(postgres))
    for role in batch:
        postgres.execute(f"ALTER ROLE {role} CONNECTION LIMIT 7")
    postgres.execute("UPDATE mtdd.spare_role SET usable = false")
    create(Isolation.SCHEMA, until=12)
    limits = postgres.execute(
        "SELECT DISTINCT rolconnlimit FROM pg_roles WHERE rolname = ANY(%s) ORDER BY 1", [batch]
    ).fetchall()
    assert limits == [(-1,), (7,)]


def test_calls_at_once_are_given_a_spare_role_each_and_repetitions_none(
    create, admin, postgres, new_placement
):
    create(Isolation.SCHEMA, until=12)
    before = spares(postgres)
    # Of each tenant twice: whoever comes second finds it there.
    wanted = [new_placement(f"t{secrets.token_hex(4)}") for _ in range(6)] * 2
    with ThreadPoolExecutor(len(wanted)) as pool:
        made = list(pool.map(admin.create_namespace, wanted))
    made += map(admin.create_namespace, wanted)
    roles = {placement.tenant: placement.role for placement in made}
    assert {placement.role for placement in made} == set(roles.values())
    assert len(set(roles.values())) == 6
    assert set(roles.values()) == before - spares(postgres)


def test_spare_roles_are_no_orphans_and_cannot_be_dropped(create, admin, postgres):
    create(Isolation.SCHEMA, until=TENANTS // 64 // 4)
    there = spares(postgres)
    assert not set(admin.placements(orphans=True).orphans) & there
    with pytest.raises(ShardRefused, match="belongs to a tenant of this shard, or will"):
        admin.drop_orphan(min(there))


def test_who_made_roles_goes_with_the_last_of_them(create, admin, postgres):
    create(Isolation.SCHEMA, until=TENANTS // 64 // 4)
    makers = postgres.execute("SELECT role FROM mtdd.role_maker").fetchall()
    if postgres.info.server_version < 160000:
        assert not makers
        return
    (maker,) = makers[0]
    for tenant in admin.placements().placements:
        if not tenant.startswith("many"):
            admin.drop_namespace(tenant)
    for role in there(postgres, spares(postgres) | retired(postgres)):
        postgres.execute(f'DROP ROLE "{role}"')
    postgres.execute("DELETE FROM mtdd.spare_role; DELETE FROM mtdd.retired_role")
    wait_until(lambda: bool(create(Isolation.SCHEMA, until=1)))
    assert not postgres.execute("SELECT FROM pg_roles WHERE rolname = %s", [maker]).rowcount


def test_a_shard_with_few_tenants_makes_none(shared_admin, postgres, new_placement):
    for number in range(10):
        placement = new_placement(f"t{number}")
        assert shared_admin.create_namespace(placement) == placement
    assert not spares(postgres)


@pytest.mark.parametrize("isolation", [Isolation.SCHEMA, Isolation.DATABASE])
def test_a_tenant_goes_without_changing_any_role(admin, postgres, new_placement, isolation):
    made = admin.create_namespace(new_placement("abc", isolation=isolation))
    time.sleep(0.5)  # Until roles have been seen to after that.
    before = changes_of_roles(postgres)
    assert admin.drop_namespace("abc")
    assert changes_of_roles(postgres) == before
    assert retired(postgres) == {made.role}
    # It is nobody's, and known.
    assert not admin.placements(orphans=True).orphans
    # Who asks again, as after a lost answer, is told the same as ever.
    assert not admin.drop_namespace("abc")
    assert admin.drop_orphan(made.role)
    assert not there(postgres, [made.role])


def test_the_role_of_a_strict_tenant_goes_with_it(admin, postgres, new_placement):
    made = admin.create_namespace(new_placement("abc", isolation=Isolation.STRICT))
    assert admin.drop_namespace("abc")
    assert not there(postgres, [made.role])


def test_retired_roles_go_when_they_are_many(admin, postgres, new_placement):
    made = [admin.create_namespace(new_placement(f"t{number}")).role for number in range(60)]
    for number in range(60):
        assert admin.drop_namespace(f"t{number}")
    wait_until(lambda: len(there(postgres, made)) < TENANTS // 32)
    assert there(postgres, made) == retired(postgres)


def test_retired_roles_go_when_tenants_are_few(admin, postgres, new_placement):
    role = admin.create_namespace(new_placement("abc")).role
    assert admin.drop_namespace("abc")
    postgres.execute("DELETE FROM mtdd.placement WHERE tenant LIKE 'many1%'")

    def gone() -> bool:
        admin.create_namespace(new_placement("xyz"))
        admin.drop_namespace("xyz")
        return not there(postgres, [role])

    wait_until(gone)
    assert not retired(postgres)


def test_a_retired_role_with_rights_elsewhere_is_an_orphan_and_keeps_none_of_the_others(
    admin, postgres, new_placement, shared_dsn
):
    made = [admin.create_namespace(new_placement(f"t{number}")).role for number in range(60)]
    elsewhere = f"elsewhere_{secrets.token_hex(4)}"
    postgres.execute(f"CREATE DATABASE {elsewhere}")
    with psycopg.connect(shared_dsn, dbname=elsewhere) as other:
        other.execute("CREATE SCHEMA s")
        other.execute(f'GRANT USAGE ON SCHEMA s TO "{made[7]}"')
    try:
        for number in range(60):
            assert admin.drop_namespace(f"t{number}")
        wait_until(lambda: made[7] not in retired(postgres))
        assert there(postgres, made) - retired(postgres) == {made[7]}
        assert admin.placements(orphans=True).orphans == (made[7],)
    finally:
        postgres.execute(f"DROP DATABASE {elsewhere}")
    assert admin.drop_orphan(made[7])


def test_a_tenant_under_the_names_of_one_that_is_gone_gets_a_role_of_its_own(
    admin, postgres, new_placement, shared_server
):
    placement = new_placement("abc")
    admin.create_namespace(placement)
    (before,) = postgres.execute("SELECT to_regrole(%s)::oid", [placement.role]).fetchone()
    assert admin.drop_namespace("abc")
    assert admin.create_namespace(placement) == placement
    (after,) = postgres.execute("SELECT to_regrole(%s)::oid", [placement.role]).fetchone()
    assert after != before
    assert not retired(postgres)
    with contextlib.closing(connect(shared_server, "abc")) as connection:
        connection.execute("CREATE TABLE t (id int)")
