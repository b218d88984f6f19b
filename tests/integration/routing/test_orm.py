"""Tenants through the ORM, on real shards."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from django.contrib.auth.models import Group, User
from django.db import connections, transaction

from mtdd_router import (
    CrossTenantError,
    TenantDoesNotExist,
    TenantUnavailable,
    current_tenant,
    tenant_context,
)
from mtdd_router.backend import routes
from mtdd_router.conf import mtdd_settings
from mtdd_router.context import maintenance_active
from mtdd_router.directory import Directory, directory
from mtdd_router.testing import allow_tenants
from mtdd_router.types import Route
from tenants.services.tenants import freeze_tenant


@pytest.fixture
def two_tenants(tenant_factory: Callable[..., Any]) -> None:
    tenant_factory("abc", shard="shard1")
    tenant_factory("xyz", shard="shard2")
    for name in ("abc", "xyz"):
        with tenant_context(name):
            User.objects.create_user(f"of-{name}", id=1)


@pytest.mark.usefixtures("two_tenants")
class TestTwoTenants:
    def test_every_way_to_name_a_tenant_gives_its_own_row(self) -> None:
        for name in ("abc", "xyz"):
            expected = f"of-{name}"
            assert User.objects.mtdd(name).get(id=1).username == expected
            assert User.objects.filter(id=1).mtdd(name).get().username == expected
            assert User.objects.using(name).get(id=1).username == expected
            with tenant_context(name):
                assert User.objects.get(id=1).username == expected
        assert current_tenant() is None

    def test_a_lazy_queryset_is_evaluated_where_it_was_made(self) -> None:
        with tenant_context("abc"):
            queryset = User.objects.filter(id=1)
        with tenant_context("xyz"):
            assert [user.username for user in queryset] == ["of-abc"]

    def test_rows_and_relations_stay_in_their_tenant(self) -> None:
        user = User.objects.mtdd("abc").get(id=1)
        with tenant_context("xyz"):
            group = user.groups.create(name="staff")
            user.first_name = "Ann"
            user.save()
        assert group._state.db == "abc"
        assert Group.objects.mtdd("abc").get().user_set.get() == user
        assert Group.objects.mtdd("xyz").count() == 0
        assert User.objects.mtdd("abc").get(id=1).first_name == "Ann"
        assert User.objects.mtdd("xyz").get(id=1).first_name == ""

    def test_two_tenants_have_a_transaction_each(self) -> None:
        with transaction.atomic(using="abc"):
            User.objects.using("abc").create(id=2, username="kept")
            with pytest.raises(ZeroDivisionError), transaction.atomic(using="xyz"):
                User.objects.using("xyz").create(id=2, username="lost")
                raise ZeroDivisionError
        assert User.objects.using("abc").filter(username="kept").exists()
        assert not User.objects.using("xyz").filter(username="lost").exists()

    def test_prefetch_follows_the_rows_not_the_context(self) -> None:
        User.objects.mtdd("abc").get(id=1).groups.create(name="staff")
        with tenant_context("xyz"):
            users = list(User.objects.mtdd("abc").prefetch_related("groups"))
        assert [group.name for group in users[0].groups.all()] == ["staff"]

    def test_a_row_cannot_refer_to_another_tenants(self) -> None:
        stranger = Group.objects.mtdd("xyz").create(name="others")
        with pytest.raises(CrossTenantError, match="'abc'.*'xyz'"):
            User.objects.mtdd("abc").get(id=1).groups.add(stranger)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("registered_shards")
def test_an_unknown_tenant_is_named() -> None:
    with pytest.raises(TenantDoesNotExist, match="'nobody'"):
        User.objects.mtdd("nobody").count()


def test_a_frozen_tenant_is_named(tenant_factory: Callable[..., Any]) -> None:
    tenant_factory("abc")
    freeze_tenant("abc")
    directory.forget("abc")
    with pytest.raises(TenantUnavailable, match=r"'abc'.*frozen"):
        User.objects.mtdd("abc").count()


@pytest.mark.django_db(transaction=True)
def test_a_process_that_opens_ten_thousand_tenants_stays_small(
    shard_addresses: dict[str, str],
) -> None:
    class OneShard:
        def route(self, tenant: str) -> Route | None:
            return Route(tenant, "shard1", shard_addresses["shard1"], 1)

        def routes(self) -> list[Route]:
            return []

        def routes_of(self, tenants: Collection[str]) -> list[Route]:
            return [route for tenant in tenants if (route := self.route(tenant))]

    def resident_bytes() -> int:
        return int(psutil.Process().memory_info().rss)

    def descriptors() -> int:
        return int(psutil.Process().num_fds())

    def open_them() -> None:
        for number in range(200):
            connections[f"warm{number}"].ensure_connection()
        bytes_before, descriptors_before = resident_bytes(), descriptors()
        try:
            for number in range(10_000):
                connections[f"t{number}"].ensure_connection()
                if descriptors() > descriptors_before + 4 * mtdd_settings.kept_connections:
                    raise OSError(f"{number + 1} tenants: {descriptors()} descriptors")
            assert len(routes.thread_aliases()) <= mtdd_settings.kept_connections
            assert resident_bytes() - bytes_before < 50_000_000
        finally:
            connections.close_all()

    routes.set_route_source(Directory(OneShard), maintenance=maintenance_active)
    try:
        with allow_tenants(), ThreadPoolExecutor(1) as pool:
            pool.submit(open_them).result()
    finally:
        routes.set_route_source(directory, maintenance=maintenance_active)
