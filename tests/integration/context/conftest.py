"""Two tenants with a row each that says whose it is, made once for a module."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections
from django.db.models import Model

from mtdd_router import current_tenant, tenant_context
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.directory import directory
from tenants.models import Shard, Tenant

TENANTS = ("abc", "xyz")


@pytest.fixture(scope="module")
def registered(shard_addresses: dict[str, str]) -> Iterator[list[Model]]:
    """The rows of the registry, once the first test has made the tenants."""
    rows: list[Model] = []
    yield rows
    for name, address in shard_addresses.items():
        admin = ShardAdmin(address, shard=name)
        for tenant in admin.placements().placements:
            admin.drop_namespace(tenant)


@pytest.fixture
def two_tenants(
    transactional_db: None, registered: list[Model], shard_addresses: dict[str, str]
) -> Iterator[tuple[str, ...]]:
    """Tenants abc and xyz, on a shard each, whose user 1 is called after them."""
    directory.forget()
    if not registered:
        make_tenants(shard_addresses)
        registered += [*Shard.objects.all(), *Tenant.objects.all()]
    else:
        # The last test's rows were flushed; the tenants are where they were.
        for row in registered:
            row.save(force_insert=True)
    # So that no thread of a test has to ask the registry, and keeps a connection to it.
    assert directory.preload() == len(TENANTS)
    yield TENANTS
    assert current_tenant() is None
    for tenant in TENANTS:
        User.objects.using(tenant).exclude(pk=1).delete()
        Group.objects.using(tenant).all().delete()
    connections.close_all()
    directory.forget()
    assert not others_on_the_registry()


def others_on_the_registry() -> list[Any]:
    """Return the connections to the registry that threads of a test have left open."""
    deadline = time.monotonic() + 5.0
    with connections["default"].cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT pid, application_name, state, query FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            others = cursor.fetchall()
            if not others or time.monotonic() > deadline:
                return others
            time.sleep(0.02)


def make_tenants(shard_addresses: dict[str, str]) -> Any:
    from tenants.services.shards import register_shard
    from tenants.services.tenants import create_tenant

    for tenant, (shard, address) in zip(TENANTS, shard_addresses.items(), strict=True):
        register_shard(shard, address)
        create_tenant(tenant, shard=shard)
        with tenant_context(tenant):
            assert User.objects.create_user(f"of-{tenant}").pk == 1
