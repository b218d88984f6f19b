"""Migrating tenants: several at a time, each by itself."""

import threading
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Group
from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate

from mtdd_router import current_tenant
from mtdd_router.context import maintenance
from mtdd_router.embedded.processes import wait_until
from mtdd_router.types import TenantState
from tenants import services
from tenants.errors import MigrationFailed, TenantBusy, WrongTenantState
from tenants.models import Tenant
from tenants.services import MigrationOutcome, MigrationTarget
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import run

# Undone and applied again, it leaves a tenant as it was.
BACK = MigrationTarget("auth", "0011_update_proxy_permissions")
UNDONE = "auth.0012_alter_user_first_name_max_length"


@contextmanager
def failing(*names):
    """Let the migration of these tenants fail."""

    def fail(using, **_):
        if using in names:
            raise RuntimeError("no such luck")

    pre_migrate.connect(fail)
    try:
        yield
    finally:
        pre_migrate.disconnect(fail)


@pytest.fixture
def tenants(tenant_factory):
    for number in range(4):
        tenant_factory(f"t{number}", shard=f"shard{number % 2 + 1}")
    return Tenant.objects.select_related("shard").order_by("name")


def _outcomes(results):
    return {result.tenant: result.outcome.value for result in results}


def _applied(name):
    with maintenance(), connections[name].cursor() as cursor:
        cursor.execute("SELECT app || '.' || name FROM django_migrations")
        return {row[0] for row in cursor.fetchall()}


def test_what_is_undone_for_all_tenants_is_applied_to_all_again(tenants):
    undone = services.migrate_tenants(tenants, target=BACK)
    assert [result.changed for result in undone] == [(UNDONE,)] * 4
    assert all(UNDONE not in _applied(tenant.name) for tenant in tenants)
    results = services.migrate_tenants(tenants)
    assert set(_outcomes(results).values()) == {"migrated"}
    assert all(UNDONE in _applied(tenant.name) for tenant in tenants)
    assert set(_outcomes(services.migrate_tenants(tenants)).values()) == {"unchanged"}


def test_what_others_run_while_a_tenant_is_migrated_is_meant_for_it(tenants):
    def write(using, **_):
        # An app that is the project's, too, has rows elsewhere.
        Group.objects.get_or_create(name=f"{using} {current_tenant()}")

    for signal in (pre_migrate, post_migrate):
        signal.connect(write)
    try:
        services.migrate_tenants(tenants, target=BACK)
    finally:
        for signal in (pre_migrate, post_migrate):
            signal.disconnect(write)
    for tenant in tenants:
        names = set(Group.objects.mtdd(tenant.name).values_list("name", flat=True))
        assert names == {f"{tenant.name} {tenant.name}"}
    assert not Group.objects.using("default").exists()
    assert current_tenant() is None


def test_the_time_of_the_last_migration_is_that_of_the_last_change(tenants):
    before = tenants[0].migrated_at
    services.migrate_tenants(tenants)
    assert tenants.all()[0].migrated_at == before
    services.migrate_tenants(tenants, target=BACK)
    assert tenants.all()[0].migrated_at > before


def test_a_tenant_that_fails_does_not_stop_the_others_and_says_why(tenants):
    services.migrate_tenants(tenants, target=BACK)
    with failing("t1"):
        results = services.migrate_tenants(tenants)
    assert _outcomes(results) == {
        "t0": "migrated",
        "t1": "failed",
        "t2": "migrated",
        "t3": "migrated",
    }
    (failed,) = [r for r in results if r.outcome is MigrationOutcome.FAILED]
    assert "'t1'" in failed.error
    assert "no such luck" in failed.error
    assert _outcomes(services.migrate_tenants(tenants))["t1"] == "migrated"


def test_after_a_failure_no_more_are_begun_if_that_is_asked_for(tenants):
    services.migrate_tenants(tenants, target=BACK)
    with failing("t1"):
        results = services.migrate_tenants(tenants, limits=services.Limits(fail_fast=True))
    outcomes = _outcomes(results)
    # Another shard's, begun at the same time, is finished.
    outcomes.pop("t2", None)
    assert outcomes == {"t0": "migrated", "t1": "failed"}


def test_an_interrupted_run_finishes_the_tenants_at_hand_and_is_completed_by_another(tenants):
    services.migrate_tenants(tenants, target=BACK)
    came = []

    def interrupt(result):
        came.append(result)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        services.migrate_tenants(tenants, parallel=1, on_result=interrupt)
    assert _outcomes(came) == {"t0": "migrated"}
    again = services.migrate_tenants(tenants)
    assert _outcomes(again) == {
        "t0": "unchanged",
        "t1": "migrated",
        "t2": "migrated",
        "t3": "migrated",
    }


def test_tenants_that_are_not_whole_or_are_gone_are_skipped(tenants):
    chosen = list(tenants)
    Tenant.objects.filter(name="t0").update(state=TenantState.CREATING)
    Tenant.objects.filter(name="t1").update(state=TenantState.DELETING)
    services.freeze_tenant("t2")
    services.purge_tenant("t3")
    results = services.migrate_tenants(chosen)
    assert _outcomes(results) == {
        "t0": "skipped",
        "t1": "skipped",
        "t2": "unchanged",
        "t3": "skipped",
    }
    assert "is creating" in results[0].error or len(results) == 4


def test_a_tenant_with_an_operation_under_way_fails_as_busy(tenants):
    services.migrate_tenants(tenants, target=BACK)
    with tenant_lock("t0"):
        results = services.migrate_tenants(tenants)
        with pytest.raises(TenantBusy):
            services.migrate_tenant(tenants[0])
    assert _outcomes(results)["t0"] == "failed"


def test_one_tenant_is_migrated_or_the_reason_raised(tenants):
    tenant = tenants[0]
    services.migrate_tenants([tenant], target=BACK)
    assert services.migrate_tenant(tenant) == (UNDONE,)
    assert services.migrate_tenant(tenant) == ()
    services.migrate_tenants([tenant], target=BACK)
    with failing("t0"), pytest.raises(MigrationFailed, match=r"'t0'.*RuntimeError"):
        services.migrate_tenant(tenant)
    Tenant.objects.filter(name="t0").update(state=TenantState.DELETING)
    with pytest.raises(WrongTenantState, match=r"'t0' is deleting"):
        services.migrate_tenant(tenant)


def test_a_run_leaves_no_connection_open(tenants):
    services.migrate_tenants(tenants, target=BACK, parallel=3)
    assert not [t for t in threading.enumerate() if t.name.startswith(("migrate", "survey"))]
    with connections["default"].cursor() as cursor:

        def others():
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return cursor.fetchone()[0]

        # PostgreSQL ends a process a little after its client has closed the connection.
        assert wait_until(lambda: others() == 0, timeout=5.0)


def test_an_app_that_becomes_a_tenants_later_gets_its_tables(tenant_factory, settings):
    later, shown = "django.contrib.sessions", "django_session"
    everything = settings.TENANT_APPS
    settings.TENANT_APPS = [app for app in everything if app != later]
    tenant = tenant_factory("abc", shard="shard1")
    settings.TENANT_APPS = everything
    # Django has recorded its migrations all the same, as the README says.
    assert _outcomes(services.migrate_tenants([tenant])) == {"abc": "unchanged"}
    assert shown not in connections["abc"].introspection.table_names()
    services.migrate_tenants([tenant], target=MigrationTarget("sessions", "zero", fake=True))
    services.migrate_tenants([tenant], target=MigrationTarget("sessions"))
    assert shown in connections["abc"].introspection.table_names()


def test_migrating_default_touches_no_tenant_and_says_what_does(tenants):
    said = run("migrate", BACK.app_label, BACK.migration)
    try:
        assert "The tenants (4) were not touched; `manage.py migrate_tenants`" in said
        assert all(UNDONE in _applied(tenant.name) for tenant in tenants)
        assert _outcomes(services.migrate_tenants(tenants)) == dict.fromkeys(
            ("t0", "t1", "t2", "t3"), "unchanged"
        )
    finally:
        run("migrate", BACK.app_label, verbosity=0)


def test_migrate_says_nothing_of_tenants_where_there_are_none(registered_shards):
    assert "tenants" not in run("migrate", "auth")


def test_each_app_has_its_tables_where_its_rows_are(tenants):
    tables = set(connections["default"].introspection.table_names())
    with maintenance():
        of_tenant = set(connections["t0"].introspection.table_names())
    assert {"tenants_tenant", "tenants_shard"} <= tables - of_tenant
    assert {"flights_flight"} <= of_tenant - tables
    assert {"auth_user", "django_content_type"} <= of_tenant & tables
