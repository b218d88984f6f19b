"""The signals of a tenant's life: when they are sent, and what their receivers can do."""

import contextlib
import io
import logging
import os
import signal as os_signal
import subprocess
import sys
import threading

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connections

from mtdd_router import current_tenant
from mtdd_router.errors import TenantUnavailable
from mtdd_router.types import Isolation, TenantState
from tenants import services
from tenants import signals as tenant_signals
from tenants.errors import OperationRefused, ProvisioningFailed, TenantBusy
from tenants.models import Job, Tenant
from tenants.services import MigrationTarget
from tenants.services.locks import tenant_lock
from tenants.services.notifying import collected_failures
from tests.integration.tenants.conftest import names, page_of, repair_everything, works
from tests.integration.tenants.test_migrating_faults import ROOT

BACK = MigrationTarget("auth", "0011_update_proxy_permissions")
LAST = "auth.0012_alter_user_first_name_max_length"
TENANTS = ("t0", "t1", "t2", "t3")
OF_LIFE = [name for name in tenant_signals.__all__ if name != "TenantSignal"]


@pytest.fixture
def connect():
    """Connect receivers for the time of a test."""
    with contextlib.ExitStack() as cleanup:

        def connect(name, receiver):
            signal = getattr(tenant_signals, name)
            signal.connect(receiver, weak=False)
            cleanup.callback(signal.disconnect, receiver)

        yield connect


@pytest.fixture
def heard(connect):
    """What was sent, in order: the signal, the tenant's name and state, and other details."""
    sent = []

    def listen(name):
        def receive(sender, signal, **details):
            assert sender is Tenant
            tenant = details.pop("tenant", None)
            sent.append((signal.name, details.pop("name"), tenant and tenant.state, details))

        connect(name, receive)

    for name in OF_LIFE:
        listen(name)
    return sent


def test_every_operation_sends_its_signals(heard, registered_shards):
    services.create_tenant("abc", shard="shard1")
    assert heard == [
        ("pre_create", "abc", None, {"shard": "shard1", "isolation": Isolation.SCHEMA}),
        ("initial_data", "abc", "creating", {}),
        ("post_create", "abc", "active", {}),
    ]
    heard.clear()
    services.rename_tenant("abc", "xyz")
    assert heard == [
        ("pre_rename", "abc", "active", {"new_name": "xyz"}),
        ("post_rename", "xyz", "active", {"old_name": "abc"}),
    ]
    heard.clear()
    for operation in ("freeze", "unfreeze", "delete", "undelete", "delete"):
        getattr(services, f"{operation}_tenant")("xyz")
    services.purge_tenant("xyz")
    assert [entry[:3] for entry in heard] == [
        ("pre_freeze", "xyz", "active"),
        ("post_freeze", "xyz", "frozen"),
        ("pre_unfreeze", "xyz", "frozen"),
        ("post_unfreeze", "xyz", "active"),
        ("pre_delete", "xyz", "active"),
        ("post_delete", "xyz", "deleted"),
        ("pre_undelete", "xyz", "deleted"),
        ("post_undelete", "xyz", "active"),
        ("pre_delete", "xyz", "active"),
        ("post_delete", "xyz", "deleted"),
        ("pre_purge", "xyz", "deleted"),
        ("post_purge", "xyz", "deleting"),
    ]


def test_what_changes_nothing_sends_nothing(heard, tenant_factory):
    tenant_factory("abc")
    heard.clear()
    services.unfreeze_tenant("abc")
    services.undelete_tenant("abc")
    with pytest.raises(TenantBusy), tenant_lock("abc"):
        services.freeze_tenant("abc")
    assert heard == []


OPERATIONS = {
    "pre_create": lambda: services.create_tenant("new"),
    "pre_rename": lambda: services.rename_tenant("abc", "new"),
    "pre_freeze": lambda: services.freeze_tenant("abc"),
    "pre_unfreeze": lambda: services.unfreeze_tenant("frozen"),
    "pre_delete": lambda: services.delete_tenant("abc"),
    "pre_undelete": lambda: services.undelete_tenant("deleted"),
    "pre_purge": lambda: services.purge_tenant("abc"),
}


def test_a_receiver_that_raises_stops_the_operation_before_it_begins(
    connect, tenant_factory, placements
):
    for name in ("abc", "frozen", "deleted"):
        tenant_factory(name)
    services.freeze_tenant("frozen")
    services.delete_tenant("deleted")
    before = placements()

    def refuse(**_):
        raise ValueError("not on a Friday")

    for name, operation in OPERATIONS.items():
        connect(name, refuse)
        with pytest.raises(OperationRefused, match=rf"{name} refused, with ValueError: not on a"):
            operation()
    assert placements() == before == {t.name: t.placement() for t in Tenant.objects.all()}


@pytest.fixture
def behind(tenant_factory):
    """Tenants with one migration to apply, of one schema state."""
    for number in range(4):
        tenant_factory(f"t{number}", shard=f"shard{number % 2 + 1}")
    tenants = Tenant.objects.select_related("shard").order_by("name")
    services.migrate_tenants(tenants, target=BACK)
    return tenants


def test_each_migrated_tenant_is_told_once_and_one_with_nothing_to_do_never(heard, behind):
    heard.clear()
    services.migrate_tenants(behind)
    told = {"shard": "shard1", "changed": (LAST,)}
    assert sorted(entry[1] for entry in heard if entry[0] == "pre_migrate") == [*TENANTS]
    assert sorted(entry[1] for entry in heard if entry[0] == "post_migrate") == [*TENANTS]
    assert ("post_migrate", "t0", None, told) in heard
    heard.clear()
    services.migrate_tenants(behind)
    services.migrate_tenant(behind[0])
    assert heard == []
    services.migrate_tenant(behind[0], BACK)
    assert [entry[0] for entry in heard] == ["pre_migrate", "post_migrate"]


@pytest.mark.parametrize("refused", TENANTS)
def test_a_refused_tenant_is_not_migrated_and_the_others_are(connect, behind, refused):
    def refuse(name, **_):
        if name == refused:
            raise ValueError("not on a Friday")

    connect("pre_migrate", refuse)
    results = services.migrate_tenants(behind)
    outcomes = {result.tenant: result.outcome.value for result in results}
    assert outcomes == {name: "failed" if name == refused else "migrated" for name in TENANTS}
    (error,) = [result.error for result in results if result.error]
    assert "not on a Friday" in error
    with pytest.raises(OperationRefused):
        services.migrate_tenant(services.get_tenant(refused))
    left = services.plan_migrations(behind)
    assert [group.tenants for group in left] == [{services.get_tenant(refused).shard.name: 1}]


def test_a_receiver_that_fails_afterwards_undoes_nothing_and_is_told(
    connect, tenant_factory, caplog
):
    tenant_factory("abc")
    called = []

    def fail(**_):
        raise ValueError("no mail today")

    connect("post_freeze", fail)
    connect("post_freeze", lambda **_: called.append(current_tenant()))
    with collected_failures() as failures, caplog.at_level(logging.ERROR, "django.dispatch"):
        assert services.freeze_tenant("abc").state == "frozen"
    (failure,) = failures
    assert all(word in failure for word in ("fail", "post_freeze", "'abc'", "no mail today"))
    assert "no mail today" in caplog.text
    assert called == [None]


def test_a_command_tells_what_failed_afterwards_and_succeeds(connect, tenant_factory):
    tenant_factory("abc")

    def fail(**_):
        raise ValueError("no mail today")

    connect("post_freeze", fail)
    out, err = io.StringIO(), io.StringIO()
    call_command("freeze_tenant", "abc", stdout=out, stderr=err)
    assert "is frozen" in out.getvalue()
    assert "no mail today" in err.getvalue()


def test_the_admin_tells_what_failed_afterwards(connect, staff, tenant_factory):
    tenant = tenant_factory("abc")

    def fail(**_):
        raise ValueError("no mail today")

    for name in ("post_freeze", "post_delete", "post_rename", "post_create"):
        connect(name, fail)
    change = ("admin:tenants_tenant_change", tenant.pk)
    page = page_of(staff, *change, post={"_freeze": "1"})
    assert "is frozen" in page
    assert "no mail today" in page
    assert "no mail today" in page_of(staff, *change, post={"name": "xyz"})
    new = {"name": "new", "shard": "", "isolation": "schema"}
    page_of(staff, "admin:tenants_tenant_add", post=new)
    call_command("run_jobs", "--once", stdout=io.StringIO())
    assert "no mail today" in page_of(staff, "admin:tenants_job_change", Job.objects.get().pk)
    delete = ("admin:tenants_tenant_delete", tenant.pk)
    assert "no mail today" in page_of(staff, *delete, post={"typed_name": "xyz"})
    assert names() == {"xyz", "new"}


def test_the_admin_shows_a_refusal(connect, staff, tenant_factory):
    tenant = tenant_factory("abc")

    def refuse(**_):
        raise ValueError("not on a Friday")

    connect("pre_freeze", refuse)
    page = page_of(staff, "admin:tenants_tenant_change", tenant.pk, post={"_freeze": "1"})
    assert "not on a Friday" in page
    assert works("abc")


@pytest.mark.parametrize("isolation", list(Isolation))
def test_initial_data_is_written_in_the_tenant_while_nobody_else_reaches_it(
    connect, registered_shards, isolation
):
    seen = []

    def elsewhere():
        try:
            User.objects.using("abc").count()
        except TenantUnavailable as exc:
            seen.append(str(exc))
        finally:
            connections.close_all()

    def write(tenant, **_):
        seen.append((current_tenant(), tenant.state))
        User.objects.create_user("chief")
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    connect("initial_data", write)
    services.create_tenant("abc", isolation=isolation)
    assert seen[0] == ("abc", TenantState.CREATING)
    assert "is creating" in seen[1]
    assert User.objects.using("abc").get().username == "chief"
    assert current_tenant() is None
    assert not User.objects.exists()


def test_what_one_tenant_starts_with_is_written_after_what_all_do(connect, registered_shards):
    def write_for_all(tenant, **_):
        Group.objects.create(name="all")

    def write_for_one(tenant):
        assert tenant.state == TenantState.CREATING
        assert [group.name for group in Group.objects.all()] == ["all"]
        Group.objects.create(name=f"{tenant.name} only")

    connect("initial_data", write_for_all)
    services.create_tenant("abc", initial_data=write_for_one)
    services.create_tenant("xyz")
    groups = {name: {g.name for g in Group.objects.mtdd(name)} for name in ("abc", "xyz")}
    assert groups == {"abc": {"all", "abc only"}, "xyz": {"all"}}


def test_a_creation_is_undone_if_what_its_tenant_starts_with_fails(
    heard, registered_shards, placements
):
    def write(tenant):
        Group.objects.create(name="half")
        raise ValueError("no more")

    with pytest.raises(ProvisioningFailed, match="no more"):
        services.create_tenant("abc", initial_data=write)
    assert not placements()
    services.create_tenant("abc")
    assert not Group.objects.mtdd("abc").exists()


def test_initial_data_that_fails_undoes_the_creation(connect, heard, registered_shards, placements):
    def write(**_):
        User.objects.create_user("chief")
        raise ValueError("no such plan")

    connect("initial_data", write)
    with pytest.raises(ProvisioningFailed, match=r"'abc'.*no such plan.*Nothing of it is left"):
        services.create_tenant("abc")
    assert (names(), placements()) == (set(), {})
    assert [entry[0] for entry in heard] == ["pre_create", "initial_data"]


DYING = """
import os, signal, sys
import django
django.setup()
from django.contrib.auth.models import User
from tenants import services
from tenants.signals import initial_data

def write(**_):
    User.objects.create_user("chief")
    os.kill(os.getpid(), signal.SIGKILL)

initial_data.connect(write)
services.create_tenant("abc")
"""


def test_a_creation_that_is_killed_among_its_initial_data_is_removed(registered_shards, placements):
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "MTDD_TEST_REGISTRY_NAME": str(connections["default"].settings_dict["NAME"]),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "programs"))),
    }
    died = subprocess.run([sys.executable, "-c", DYING], env=environment, cwd=ROOT, check=False)
    assert died.returncode == -os_signal.SIGKILL
    assert services.get_tenant("abc").state == "creating"
    (finding,) = repair_everything()
    assert (finding.kind, finding.subject) == ("interrupted creation", "abc")
    assert (names(), placements()) == (set(), {})


def test_a_receiver_may_go_on_with_the_tenant(connect, registered_shards):
    connect("post_create", lambda tenant, **_: services.freeze_tenant(tenant.name))
    services.create_tenant("abc")
    assert services.get_tenant("abc").state == "frozen"
