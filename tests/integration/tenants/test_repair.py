"""What a comparison of registry and shards finds, and what repair makes of it."""

import psycopg
import pytest
from django.contrib.auth.models import User
from psycopg import sql

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import ShardRefused, TenantUnavailable
from mtdd_router.types import Isolation, Placement, TenantState
from tenants import services
from tenants.errors import ShardNotRegistered
from tenants.models import Shard, Tenant
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import kill, names, repair_everything, works


@pytest.fixture
def admin(spare_shard):
    return ShardAdmin(spare_shard.address, shard="spare")


@pytest.fixture
def abc(spare_shard):
    tenant = services.create_tenant("abc")
    User.objects.using("abc").create(username="somebody")
    return tenant


def _found():
    return [
        (finding.kind.value, finding.subject)
        for report in services.check_shards()
        for finding in report.findings
    ]


def _intact(name="abc"):
    return User.objects.using(name).get().username == "somebody"


def test_nothing_is_found_where_all_agrees(abc):
    (report,) = services.check_shards()
    assert (report.shard, report.tenants, report.findings) == ("spare", 1, ())


def test_an_unknown_shard_is_an_error_at_once(transactional_db):
    with pytest.raises(ShardNotRegistered, match=r"'nowhere'"):
        services.check_shards(["nowhere"])


def test_a_dead_shard_is_found_and_nothing_is_mended(abc, spare_server):
    Tenant.objects.update(state="deleting")
    kill(spare_server)
    (report,) = services.check_shards(repair=True)
    assert [finding.kind for finding in report.findings] == ["shard unreachable"]
    assert not report.agrees
    assert names() == {"abc"}


def test_another_shard_at_the_address_is_found_and_nothing_is_mended(abc, shard_addresses):
    Tenant.objects.update(state="deleting")
    Shard.objects.update(address=shard_addresses["shard1"])
    (report,) = services.check_shards(repair=True)
    assert "instead of shard 'spare'" in report.findings[0].detail
    assert names() == {"abc"}


def test_a_tenant_with_an_operation_under_way_is_left_alone(abc):
    Tenant.objects.update(state="deleting")
    with tenant_lock("abc"):
        (report,) = services.check_shards(repair=True)
    assert (report.findings, report.busy) == ((), ("abc",))
    assert names() == {"abc"}


def test_a_checks_only_run_changes_nothing(abc):
    Tenant.objects.update(state="deleting")
    (report,) = services.check_shards()
    (finding,) = report.findings
    assert (finding.action, finding.repaired) == ("complete the deletion", False)
    assert names() == {"abc"}


def test_a_row_that_is_behind_takes_over_what_the_shard_has(abc, admin):
    admin.update_placement("abc", expected_epoch=2, name="xyz", state=TenantState.FROZEN, epoch=3)
    assert _found() == [("disagreement", "abc")]
    repair_everything()
    tenant = Tenant.objects.get()
    assert (tenant.name, tenant.state, tenant.epoch) == ("xyz", "frozen", 3)
    services.unfreeze_tenant("xyz")
    assert _intact("xyz")


def test_an_interrupted_renaming_whose_new_name_was_taken_is_undone(abc, admin, shard_addresses):
    services.register_shard("other", shard_addresses["shard1"])
    admin.update_placement("abc", expected_epoch=2, name="xyz", epoch=3)
    services.create_tenant("xyz", shard="other")
    repair_everything()
    assert names() == {"abc", "xyz"}
    assert _intact("abc")
    assert not User.objects.using("xyz").exists()
    services.purge_tenant("xyz")


def test_a_shard_that_is_behind_takes_over_what_the_row_has(abc):
    Tenant.objects.update(state="frozen", epoch=7)
    repair_everything()
    assert services.unfreeze_tenant("abc").epoch == 8
    assert _intact()


def test_of_two_states_at_the_same_epoch_the_safer_one_wins(abc):
    Tenant.objects.update(state="frozen")
    repair_everything()
    with pytest.raises(TenantUnavailable):
        works("abc")
    assert services.get_tenant("abc").epoch == 3
    services.unfreeze_tenant("abc")
    assert _intact()


def test_a_tenant_in_use_here_that_the_shard_was_deleting_is_frozen_not_dropped(abc, admin):
    admin.update_placement("abc", expected_epoch=2, state=TenantState.DELETING, epoch=3)
    repair_everything()
    assert services.get_tenant("abc").state == "frozen"
    services.unfreeze_tenant("abc")
    assert _intact()


def test_a_tenant_the_registry_lost_is_registered_again(abc):
    Tenant.objects.all().delete()
    assert _found() == [("placement without tenant", "abc")]
    repair_everything()
    assert Tenant.objects.get().placement() == abc.placement()
    assert _intact()


@pytest.mark.parametrize("state", [TenantState.CREATING, TenantState.DELETING])
def test_an_unfinished_placement_without_a_tenant_is_removed(spare_shard, admin, state):
    admin.create_namespace(
        Placement("abc", Isolation.SCHEMA, "t_abc_1", "t_abc_1", 1, TenantState.CREATING)
    )
    if state is TenantState.DELETING:
        admin.update_placement("abc", expected_epoch=1, state=state, epoch=2)
    repair_everything()
    assert admin.placements(orphans=True).placements == {}


def test_a_second_copy_of_a_tenant_is_left_for_a_person(abc, admin, shard_addresses):
    services.register_shard("other", shard_addresses["shard1"])
    copy = Placement("abc", Isolation.SCHEMA, "t_abc_1", "t_abc_1", 9, TenantState.ACTIVE)
    other = ShardAdmin(shard_addresses["shard1"])
    other.create_namespace(copy)
    try:
        findings = [f for r in services.check_shards(repair=True) for f in r.findings]
        assert [(f.kind, f.repaired, f.action) for f in findings] == [
            ("placement without tenant", False, "")
        ]
        assert "shard 'spare'" in findings[0].detail
        assert other.placements().placements == {"abc": copy}
    finally:
        other.drop_namespace("abc")
    assert _intact()


def test_a_tenant_whose_namespace_is_gone_is_reported_and_not_made_anew(abc, spare_server, admin):
    with psycopg.connect(spare_server.dsn) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(abc.role)))
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(abc.namespace)))
    (report,) = services.check_shards(repair=True)
    (finding,) = report.findings
    assert (finding.kind, finding.repaired) == ("tenant without namespace", False)
    assert "backup" in finding.detail
    assert "delete_tenant" in finding.detail
    services.purge_tenant("abc")
    repair_everything()


def test_a_tenant_whose_placement_is_gone_is_reported_and_its_data_is_not_touched(
    abc, spare_server
):
    with psycopg.connect(spare_server.dsn) as connection:
        connection.execute("DELETE FROM mtdd.placement")
    (report,) = services.check_shards(repair=True)
    (finding,) = report.findings
    assert (finding.kind, finding.repaired) == ("tenant without placement", False)
    with psycopg.connect(spare_server.dsn) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(abc.role)))
        table = sql.Identifier(abc.namespace, "auth_user")
        count = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        assert count == (1,)
    services.purge_tenant("abc")
    repair_everything()


def test_an_orphan_is_dropped(abc, admin, spare_server):
    admin.create_namespace(
        Placement("xyz", Isolation.SCHEMA, "t_xyz_1", "t_xyz_1", 1, TenantState.CREATING)
    )
    with psycopg.connect(spare_server.dsn) as connection:
        connection.execute("DELETE FROM mtdd.placement WHERE tenant = 'xyz'")
    assert _found() == [("namespace without placement", "t_xyz_1")]
    repair_everything()
    assert admin.placements(orphans=True).orphans == ()
    assert _intact()


def test_a_repair_that_the_shard_refuses_says_why(abc, admin, monkeypatch):
    Tenant.objects.update(state="frozen", epoch=7)

    def refuse(*_, **__):
        raise ShardRefused("not today")

    monkeypatch.setattr(ShardAdmin, "update_placement", refuse)
    (report,) = services.check_shards(repair=True)
    assert report.findings[0].error == "not today"
    assert not report.agrees
