"""The fixtures of the pytest plugin."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connections, transaction
from django.test.testcases import DatabaseOperationForbidden

from mtdd_router import current_tenant
from mtdd_router.testing import assert_no_tenant_leak
from tenants.models import Tenant


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_writes_is_rolled_back(turn: int, tenant: str, other_tenant: str) -> None:
    assert current_tenant() == tenant != other_tenant
    for name in (tenant, other_tenant):
        assert not Group.objects.using(name).exists()
        Group.objects.using(name).create(name="staff")
        assert connections[name].in_atomic_block
    assert Group.objects.get()._state.db == tenant


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.django_db(transaction=True)
def test_a_test_with_transactions_finds_empty_tables(
    turn: int, tenant: str, django_assert_num_rpcs: Callable[..., Any]
) -> None:
    assert not Group.objects.exists()
    with django_assert_num_rpcs(2), transaction.atomic(durable=True, using=tenant):
        Group.objects.create(name="committed")
    assert Tenant.objects.filter(name=tenant).exists()


def test_a_tenant_can_be_named_in_the_middle_of_a_test(
    tenant_named: Callable[[str], str],
) -> None:
    shop = tenant_named("shop")
    assert tenant_named("shop") == shop
    Group.objects.mtdd(shop).create(name="staff")
    assert current_tenant() is None


def test_a_tenant_that_no_fixture_gave_is_refused(tenant: str) -> None:
    with pytest.raises(DatabaseOperationForbidden, match="to 'abc' are not allowed"):
        Group.objects.mtdd("abc").count()


def test_a_test_of_the_plugin_leaks_nothing(tenant: str) -> None:
    with assert_no_tenant_leak(), transaction.atomic(using=tenant):
        Group.objects.create(name="staff")


def test_deferred_constraints_are_checked_at_the_end(tenant: str) -> None:
    from django.contrib.auth.models import User

    membership = User.groups.through.objects.create
    with pytest.raises(Exception, match="violates foreign key") as failure:
        with transaction.atomic(using=tenant):
            membership(user_id=4711, group_id=4711)
            connections[tenant].check_constraints()
    assert "4711" in str(failure.value)
