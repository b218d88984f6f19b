"""Creating tenants on a shard that has run their script ahead."""

import contextlib
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test.utils import CaptureQueriesContext

from mtdd_router.server.spare_schemas import KEPT
from mtdd_router.types import Isolation
from tenants import services, signals
from tenants.models import Tenant
from tests.integration.tenants.conftest import repair_everything, run, works

# From so many tenants on a shard makes roles ahead, and with them schemas.
_ENOUGH = 50


@pytest.fixture
def postgres(spare_server: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(spare_server.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def ahead(spare_shard: Any, postgres: psycopg.Connection[Any]) -> Iterator[set[str]]:
    """The roles of schemas that wait for tenants, on a shard that believes to have many."""
    postgres.execute(
        "INSERT INTO mtdd.placement (tenant, isolation, namespace, role, epoch, state)"
        " SELECT 'many' || i, 'schema', 'many_' || i, 'many_' || i, 1, 'active'"
        f" FROM generate_series(1, {_ENOUGH}) AS i"
    )
    deadline = monotonic() + 60
    number = 0
    while number < 2 or not waiting(postgres):
        assert monotonic() < deadline
        services.create_tenant(f"before{number}")
        number += 1
    until_full(postgres)
    postgres.execute("DELETE FROM mtdd.placement WHERE tenant LIKE 'many%'")
    yield waiting(postgres)
    # Whoever fills now would go on after the next test has begun.
    until_full(postgres)
    roles_of_schemas = waiting(postgres)
    for (name,) in postgres.execute("DELETE FROM mtdd.spare_schema RETURNING name").fetchall():
        postgres.execute(f'DROP SCHEMA "{name}" CASCADE')
    for role in roles_of_schemas | spare_roles(postgres):
        postgres.execute(f'DROP ROLE "{role}"')
    postgres.execute("DELETE FROM mtdd.spare_role")


def spare_roles(postgres: psycopg.Connection[Any]) -> set[str]:
    return {role for (role,) in postgres.execute("SELECT role FROM mtdd.spare_role")}


def waiting(postgres: psycopg.Connection[Any]) -> set[str]:
    return {role for (role,) in postgres.execute("SELECT role FROM mtdd.spare_schema")}


def until_full(postgres: psycopg.Connection[Any]) -> None:
    """Wait until as many schemas wait as the shard makes ahead."""
    deadline = monotonic() + 20
    while len(waiting(postgres)) < KEPT:
        assert monotonic() < deadline
        sleep(0.02)


def test_a_tenant_made_ahead_is_as_any_other(ahead, postgres):
    with CaptureQueriesContext(connections["default"]) as queries:
        tenant = services.create_tenant("abc")
    # The role that the shard gave is written with the state.
    assert [query["sql"].split()[0] for query in queries][-2:] == ["COMMIT", "UPDATE"]
    assert tenant.role in ahead - waiting(postgres)
    assert Tenant.objects.get(name="abc").placement() == tenant.placement()
    User.objects.using("abc").create(username="somebody")
    assert User.objects.using("abc").get().username == "somebody"
    # All of them are as Django would have made them, with the rows of their migrations.
    count = Tenant.objects.count()
    last = run("check_tenants").splitlines()[-1]
    assert last.startswith(f"{count} tenants: {count} as their migrations")
    permissions = {
        name: set(Permission.objects.using(name).values_list("codename", flat=True))
        for name in ("before0", "abc")
    }
    assert permissions["abc"] == permissions["before0"] != set()


def test_one_that_starts_with_rows_has_the_role_of_its_schema(ahead, postgres):
    def write(sender: Any, tenant: Tenant, **_: Any) -> None:
        User.objects.using(tenant.name).create(username="first")

    with contextlib.ExitStack() as stack:
        signals.initial_data.connect(write)
        stack.callback(signals.initial_data.disconnect, write)
        tenant = services.create_tenant("abc")
    assert tenant.role in ahead
    assert tenant.state == "active"
    assert User.objects.using("abc").get().username == "first"


def test_a_strict_one_is_made_for_itself(ahead):
    assert services.create_tenant("abc", isolation=Isolation.STRICT).role not in ahead
    assert works("abc")


def test_it_goes_with_all_it_has(ahead, postgres):
    tenant = services.create_tenant("abc")
    services.rename_tenant("abc", "def")
    services.purge_tenant("def")
    left = "SELECT to_regnamespace(%s), to_regrole(%s)"
    assert postgres.execute(left, [tenant.namespace, tenant.role]).fetchone() == (None, None)


def test_a_creation_that_dies_anywhere_leaves_it_whole_or_absent(ahead, postgres, dying):
    outcomes = set()
    for step in range(1, 40):
        name, there = f"t{step}", waiting(postgres)
        with dying.at(step):
            services.create_tenant(name)
        repair_everything()
        tenant = Tenant.objects.filter(name=name).first()
        outcomes.add(tenant is not None)
        if tenant is not None:
            assert (tenant.state, tenant.role in there) == ("active", True)
            assert works(name)
        if not dying.died:
            break
        until_full(postgres)
    assert not dying.died
    assert outcomes == {True, False}
