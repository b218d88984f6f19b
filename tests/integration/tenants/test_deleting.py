"""Deleting softly, bringing back, and purging when the time is over."""

import datetime
import threading

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.db import connections
from django.utils import timezone

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import TenantDoesNotExist, TenantUnavailable
from mtdd_router.types import Isolation, TenantState
from tenants import services
from tenants.errors import TenantAlreadyExists, TenantBusy, WrongTenantState
from tenants.models import Tenant
from tenants.services import MigrationTarget, PurgeOutcome
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import (
    kill,
    names,
    repair_everything,
    run,
    run_json,
    schemas,
    works,
)
from tests.integration.tenants.test_migrating_faults import command


@pytest.fixture
def abc(tenant_factory):
    tenant = tenant_factory("abc", shard="shard1")
    User.objects.using("abc").create(username="somebody")
    return tenant


def _is_over():
    """Let the time of all deleted tenants be over."""
    Tenant.objects.filter(state="deleted").update(
        purge_at=timezone.now() - datetime.timedelta(seconds=1)
    )


@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_deleted_tenant_answers_nothing_keeps_its_data_and_comes_back(
    tenant_factory, placements, isolation
):
    tenant_factory("abc", isolation=isolation)
    User.objects.using("abc").create(username="somebody")
    before = timezone.now()
    deleted = services.delete_tenant("abc")
    assert deleted.state == "deleted"
    assert datetime.timedelta(days=7) <= deleted.purge_at - before < datetime.timedelta(days=7.1)
    assert placements() == {"abc": deleted.placement()}
    with pytest.raises(TenantUnavailable, match=r"'abc' is not available: it is deleted"):
        works("abc")
    back = services.undelete_tenant("abc")
    assert (back.state, back.purge_at) == ("active", None)
    assert placements() == {"abc": back.placement()}
    assert User.objects.using("abc").get().username == "somebody"
    repair_everything()


def test_the_shard_itself_refuses_a_deleted_tenant(abc):
    works("abc")
    admin = ShardAdmin(abc.shard.address)
    admin.update_placement("abc", expected_epoch=2, state=TenantState.DELETED)
    # The route says that it is active, at the epoch that the shard has.
    with pytest.raises(TenantUnavailable, match=r"'abc' is deleted"):
        works("abc")


def test_a_tenant_that_was_frozen_comes_back_frozen(abc):
    services.freeze_tenant("abc")
    services.delete_tenant("abc")
    assert services.undelete_tenant("abc").state == "frozen"
    with pytest.raises(TenantUnavailable):
        works("abc")


def test_deleting_twice_does_not_defer_the_purge(abc, settings):
    first = services.delete_tenant("abc")
    settings.MTDD_DELETION_GRACE = 999_999_999
    second = services.delete_tenant("abc")
    assert (second.purge_at, second.epoch) == (first.purge_at, first.epoch)


def test_the_name_of_a_deleted_tenant_stays_taken_and_the_error_says_what_to_do(
    abc, tenant_factory
):
    services.delete_tenant("abc")
    said = r"'abc' is deleted.*undelete_tenant abc.*delete_tenant abc --now"
    with pytest.raises(TenantAlreadyExists, match=said):
        services.create_tenant("abc")
    tenant_factory("xyz")
    with pytest.raises(TenantAlreadyExists, match=said):
        services.rename_tenant("xyz", "abc")
    with pytest.raises(WrongTenantState, match=r"undelete_tenant abc"):
        services.rename_tenant("abc", "other")
    services.purge_tenant("abc")
    assert not User.objects.using(services.create_tenant("abc").name).exists()


def test_only_what_is_due_is_purged(abc, tenant_factory, shard_postgres_dsn):
    for name in ("kept", "waits", "back"):
        tenant_factory(name, shard="shard1")
    for name in ("abc", "back"):
        services.delete_tenant(name)
    _is_over()
    services.delete_tenant("waits")
    services.undelete_tenant("back")
    results = services.purge_tenants(services.due_tenants())
    assert [(r.tenant, r.outcome) for r in results] == [("abc", PurgeOutcome.PURGED)]
    assert names() == {"kept", "waits", "back"}
    assert abc.namespace not in schemas(shard_postgres_dsn)
    with pytest.raises(TenantDoesNotExist):
        works("abc")
    assert services.due_tenants() == []


def test_a_tenant_that_is_brought_back_after_it_was_found_due_is_not_purged(abc):
    services.delete_tenant("abc")
    _is_over()
    due = services.due_tenants()
    services.undelete_tenant("abc")
    (result,) = services.purge_tenants(due)
    assert (result.outcome, works("abc")) == (PurgeOutcome.SKIPPED, True)


def test_a_tenant_whose_undeletion_stopped_half_way_is_not_purged(abc):
    deleted = services.delete_tenant("abc")
    _is_over()
    admin = ShardAdmin(abc.shard.address)
    epoch = deleted.epoch + 1
    admin.update_placement(
        "abc", expected_epoch=deleted.epoch, state=TenantState.ACTIVE, epoch=epoch
    )
    (result,) = services.purge_tenants(services.due_tenants())
    assert result.outcome is PurgeOutcome.FAILED
    assert "check_shards --repair" in result.error
    repair_everything()
    assert User.objects.using("abc").get().username == "somebody"


def test_a_deletion_that_stopped_half_way_is_completed_with_a_date(abc):
    admin = ShardAdmin(abc.shard.address)
    admin.update_placement("abc", expected_epoch=2, state=TenantState.DELETED, epoch=3)
    # Whatever comes next completes it first, and is then refused or not by what it finds.
    with pytest.raises(WrongTenantState, match=r"undelete_tenant"):
        services.freeze_tenant("abc")
    assert services.get_tenant("abc").purge_at > timezone.now()
    assert services.undelete_tenant("abc").state == "active"


def test_a_deleted_tenant_that_the_registry_lost_is_registered_again_as_such(abc):
    services.delete_tenant("abc")
    Tenant.objects.all().delete()
    repair_everything()
    tenant = services.get_tenant("abc")
    assert (tenant.state, tenant.purge_at > timezone.now()) == ("deleted", True)
    # Whether it was frozen is not known.
    assert services.undelete_tenant("abc").state == "frozen"


def test_one_that_cannot_be_purged_does_not_stop_the_others(
    abc, spare_server, tenant_factory, shard_addresses
):
    services.register_shard("spare", spare_server.address)
    tenant_factory("dead", shard="spare")
    tenant_factory("busy", shard="shard2")
    for name in ("abc", "dead", "busy"):
        services.delete_tenant(name)
    _is_over()
    kill(spare_server)
    with tenant_lock("busy"):
        with pytest.raises(CommandError, match=r"1 of 3 tenants could not be purged"):
            run("purge_tenants")
    assert names() == {"dead", "busy"}
    spare_server.start()
    spare_server.wait_ready()
    assert run_json("purge_tenants")["counts"] == {"purged": 2, "skipped": 0, "failed": 0}
    assert names() == set()
    repair_everything()


def test_those_that_are_purged_together_stand_for_themselves(
    abc, tenant_factory, placements, settings
):
    settings.MTDD_NAME_REST = 60.0
    for name in ("back", "busy", "half", "gone"):
        tenant_factory(name, shard="shard1")
    deleted = {name: services.delete_tenant(name) for name in sorted(names())}
    _is_over()
    due = services.due_tenants()
    services.undelete_tenant("back")
    half = deleted["half"]
    ShardAdmin(half.shard.address).update_placement(
        "half", expected_epoch=half.epoch, state=TenantState.ACTIVE, epoch=half.epoch + 1
    )
    with tenant_lock("busy"):
        results = services.purge_tenants(due, parallel=1)
    assert {result.tenant: result.outcome for result in results} == {
        "abc": PurgeOutcome.PURGED,
        "back": PurgeOutcome.SKIPPED,
        "busy": PurgeOutcome.SKIPPED,
        "gone": PurgeOutcome.PURGED,
        "half": PurgeOutcome.FAILED,
    }
    assert names() == set(placements()) == {"back", "busy", "half"}
    told = [entry.tenant for entry in services.audit_entries() if entry.action == "purge tenant"]
    assert sorted(told) == ["abc", "gone"]
    with pytest.raises(TenantAlreadyExists, match=r"MTDD_NAME_REST"):
        services.create_tenant("gone")


def test_one_that_was_renamed_since_it_was_found_due_is_not_purged(abc, tenant_factory):
    tenant_factory("other", shard="shard1")
    for name in ("abc", "other"):
        services.delete_tenant(name)
    _is_over()
    due = services.due_tenants()
    services.undelete_tenant("abc")
    services.rename_tenant("abc", "new")
    services.delete_tenant("new")
    _is_over()
    results = services.purge_tenants(due, parallel=1)
    assert {result.tenant: result.outcome for result in results} == {
        "abc": PurgeOutcome.SKIPPED,
        "other": PurgeOutcome.PURGED,
    }
    assert services.undelete_tenant("new").state == "active"
    assert User.objects.using("new").get().username == "somebody"


def test_a_shard_that_is_gone_fails_its_tenants_and_changes_nothing_of_them(
    abc, spare_server, tenant_factory, shard_addresses
):
    services.register_shard("spare", spare_server.address)
    for name in ("one", "two"):
        tenant_factory(name, shard="spare")
    deleted = {name: services.delete_tenant(name) for name in ("abc", "one", "two")}
    _is_over()
    kill(spare_server)
    results = services.purge_tenants(services.due_tenants(), parallel=1)
    assert {result.tenant: result.outcome for result in results} == {
        "abc": PurgeOutcome.PURGED,
        "one": PurgeOutcome.FAILED,
        "two": PurgeOutcome.FAILED,
    }
    assert all("spare" in result.error for result in results if result.error)
    for tenant in Tenant.objects.all():
        assert (tenant.state, tenant.epoch) == ("deleted", deleted[tenant.name].epoch)


def test_what_is_written_of_many_is_told_of_each(abc, tenant_factory):
    tenant_factory("other", shard="shard1")
    for name in ("abc", "other"):
        services.delete_tenant(name)
    _is_over()
    services.purge_tenants(services.due_tenants(), parallel=1)
    told = [
        (entry.action, entry.tenant, entry.details.get("state"))
        for entry in services.audit_entries()
        if entry.action != "create tenant"
    ]
    for name in ("abc", "other"):
        # The last first.
        assert [(action, state) for action, tenant, state in told if tenant == name] == [
            ("purge tenant", None),
            ("change tenant", "deleting"),
            ("change tenant", "deleted"),
        ]


def test_two_who_purge_at_once_purge_each_once(tenant_factory, placements):
    for number in range(4):
        tenant_factory(f"t{number}")
        services.delete_tenant(f"t{number}")
    _is_over()
    due = services.due_tenants()
    barrier, outcomes = threading.Barrier(2), []

    def purge():
        try:
            barrier.wait()
            outcomes.extend(r.outcome for r in services.purge_tenants(due))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=purge) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [PurgeOutcome.PURGED] * 4 + [PurgeOutcome.SKIPPED] * 4
    assert placements() == {}
    assert not [t for t in threading.enumerate() if t.name.startswith("tenants")]


def test_of_a_deletion_and_a_freezing_at_once_one_is_told_to_wait_or_both_happen(abc, placements):
    barrier, failures = threading.Barrier(2), []

    def do(operation):
        try:
            barrier.wait()
            operation("abc")
        except (TenantBusy, WrongTenantState) as exc:
            failures.append(exc)
        finally:
            connections.close_all()

    operations = (services.delete_tenant, services.freeze_tenant)
    for _ in range(3):
        failures.clear()
        threads = [threading.Thread(target=do, args=(operation,)) for operation in operations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tenant = Tenant.objects.get()
        assert placements() == {"abc": tenant.placement()}
        assert len(failures) <= 1
        services.undelete_tenant("abc")
        services.unfreeze_tenant("abc")
        assert User.objects.using("abc").get().username == "somebody"


@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_killed_purge_is_finished_by_the_next(
    tenant_factory, shard_postgres_dsn, placements, isolation
):
    for number in range(6):
        tenant_factory(f"t{number}", shard="shard1", isolation=isolation)
        services.delete_tenant(f"t{number}")
    _is_over()
    process = command("purge_tenants", "--json")
    while Tenant.objects.count() > 4 and process.poll() is None:
        threading.Event().wait(0.002)
    process.kill()
    process.communicate()
    repair_everything()
    for tenant in Tenant.objects.all():
        assert tenant.state == "deleted"
    run("purge_tenants")
    assert (names(), placements()) == (set(), {})
    assert schemas(shard_postgres_dsn) == set()


def test_the_commands_say_until_when_and_how(abc):
    said = run("delete_tenant", "abc", "--noinput")
    assert all(word in said for word in ("Deleted tenant abc", "undelete_tenant", "purge_tenants"))
    assert run_json("list_tenants", "--state=deleted")[0]["name"] == "abc"
    shown = run_json("show_tenant", "abc")
    assert shown["purge_at"]
    assert shown["contents"]["rows"] > 0
    assert "purged after" in run("show_tenant", "abc")
    assert "No tenant is due" in run("purge_tenants", "--plan")
    assert "0 tenants due" in run("purge_tenants", "--shard=shard1")
    assert "Tenant abc is active" in run("undelete_tenant", "abc")
    run("delete_tenant", "abc", "--noinput")
    _is_over()
    assert [t["name"] for t in run_json("purge_tenants", "--plan")] == ["abc"]
    assert run_json("purge_tenants", "--shard=shard2")["results"] == []
    assert "1 purged" in run("purge_tenants", "--shard=shard1")


def test_what_others_were_given_meanwhile_is_missing_and_told(abc):
    back = MigrationTarget("auth", "0011_update_proxy_permissions")
    services.migrate_tenants([abc], target=back)
    services.delete_tenant("abc")
    (result,) = services.migrate_tenants([abc])
    assert "is deleted; it is not migrated" in result.error
    assert "migrate_tenants --tenant abc" in run("undelete_tenant", "abc")
    assert services.migrate_tenant(services.get_tenant("abc"))
