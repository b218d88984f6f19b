"""Freezing, renaming and deleting tenants, and what each leaves and loses."""

import threading

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections, transaction

from mtdd_router.errors import (
    InvalidTenantName,
    ShardUnavailable,
    TenantDoesNotExist,
    TenantUnavailable,
)
from mtdd_router.types import Isolation
from tenants import services
from tenants.errors import (
    OperationInterrupted,
    TenantAlreadyExists,
    TenantBusy,
    WrongTenantState,
)
from tenants.models import Tenant
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import kill, names, repair_everything, works


def test_a_frozen_tenant_answers_again_once_it_is_unfrozen(tenant_factory, placements):
    tenant_factory("abc")
    User.objects.using("abc").create(username="somebody")
    frozen = services.freeze_tenant("abc")
    assert (frozen.state, frozen.epoch) == ("frozen", 3)
    assert placements() == {"abc": frozen.placement()}
    with pytest.raises(TenantUnavailable, match=r"abc"):
        works("abc")
    assert services.freeze_tenant("abc").epoch == 3
    active = services.unfreeze_tenant("abc")
    assert placements() == {"abc": active.placement()}
    assert User.objects.using("abc").get().username == "somebody"


def test_a_renamed_tenant_keeps_its_data_and_gives_up_its_old_name(tenant_factory, placements):
    before = tenant_factory("abc")
    User.objects.using("abc").create(username="somebody")
    after = services.rename_tenant("abc", "xyz")
    assert (after.name, after.namespace, after.epoch) == ("xyz", before.namespace, 3)
    assert placements() == {"xyz": after.placement()}
    assert User.objects.using("xyz").get().username == "somebody"
    with pytest.raises(TenantDoesNotExist, match=r"abc"):
        works("abc")
    # The old name is free for somebody else, who sees nothing of it.
    services.create_tenant("abc")
    assert not User.objects.using("abc").exists()


def test_a_rename_to_a_taken_invalid_or_static_name_changes_nothing(tenant_factory, placements):
    one, two = tenant_factory("one"), tenant_factory("two")
    with pytest.raises(TenantAlreadyExists, match=r"'two'"):
        services.rename_tenant("one", "two")
    for name in ("Two", "default", "one"):
        with pytest.raises((InvalidTenantName, TenantAlreadyExists)):
            services.rename_tenant("one", name)
    with pytest.raises(TenantDoesNotExist, match=r"'nobody'"):
        services.rename_tenant("nobody", "three")
    assert placements() == {"one": one.placement(), "two": two.placement()}


@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_deleted_tenant_leaves_nothing(registered_shards, placements, isolation):
    services.create_tenant("abc", isolation=isolation)
    assert works("abc")
    services.purge_tenant("abc")
    assert placements() == {}
    assert names() == set()
    with pytest.raises(TenantDoesNotExist, match=r"abc"):
        works("abc")
    repair_everything()


def test_a_frozen_tenant_can_be_deleted(tenant_factory, placements):
    tenant_factory("abc")
    services.freeze_tenant("abc")
    services.purge_tenant("abc")
    assert placements() == {}


def test_a_tenant_with_an_operation_under_way_is_busy(tenant_factory):
    tenant_factory("abc")
    with tenant_lock("abc"):
        for operation in (
            lambda: services.freeze_tenant("abc"),
            lambda: services.rename_tenant("abc", "xyz"),
            lambda: services.rename_tenant("other", "abc"),
            lambda: services.purge_tenant("abc"),
            lambda: services.create_tenant("abc"),
        ):
            with pytest.raises(TenantBusy, match=r"'abc' is under way"):
                operation()
    services.freeze_tenant("abc")


def test_a_lock_ends_with_the_connection_that_holds_it(transactional_db):
    with tenant_lock("abc"):
        with connections["default"].cursor() as cursor:
            cursor.execute("""
                SELECT pg_terminate_backend(pid, 10000) FROM pg_locks
                WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
            """)
            assert cursor.fetchall() == [(True,)]
        with tenant_lock("abc"):
            pass


def test_a_tenant_that_is_being_created_or_deleted_is_not_changed(tenant_factory):
    tenant_factory("abc")
    for state in ("creating", "deleting"):
        Tenant.objects.update(state=state)
        for operation in (services.freeze_tenant, services.unfreeze_tenant):
            with pytest.raises(WrongTenantState, match=rf"'abc' is {state}.*check_shards"):
                operation("abc")


def test_a_dead_shard_changes_nothing_and_is_named(spare_shard, spare_server):
    before = services.create_tenant("abc")
    kill(spare_server)
    for operation in (
        lambda: services.freeze_tenant("abc"),
        lambda: services.rename_tenant("abc", "xyz"),
        lambda: services.purge_tenant("abc"),
    ):
        with pytest.raises(ShardUnavailable, match=rf"'spare' at {spare_server.address}"):
            operation()
    assert Tenant.objects.get().placement() == before.placement()


def test_a_deletion_that_meets_an_open_transaction_is_completed_by_repeating_it(
    tenant_factory, placements
):
    tenant_factory("abc")
    started, end = threading.Event(), threading.Event()

    def stay():
        try:
            with transaction.atomic(using="abc"):
                User.objects.using("abc").create(username="somebody")
                started.set()
                end.wait(60)
        except OperationalError:
            pass
        finally:
            connections.close_all()

    thread = threading.Thread(target=stay)
    thread.start()
    started.wait(10)
    try:
        with pytest.raises(OperationInterrupted, match=r"'abc'.*transaction.*repeat"):
            services.purge_tenant("abc")
        assert services.get_tenant("abc").state == "deleting"
        with pytest.raises(TenantUnavailable):
            works("abc")
    finally:
        end.set()
        thread.join()
    services.purge_tenant("abc")
    assert placements() == {}


def test_inside_a_transaction_of_the_registry_an_operation_is_refused_at_once(
    tenant_factory, placements
):
    tenant_factory("abc")
    for operation in (
        lambda: services.freeze_tenant("abc"),
        lambda: services.purge_tenant("abc"),
        lambda: services.create_tenant("xyz"),
    ):
        with pytest.raises(RuntimeError, match="inside a transaction"), transaction.atomic():
            operation()
    assert placements() == {"abc": Tenant.objects.get().placement()}
