"""Creating tenants on real shards, and what is refused."""

import threading

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.models.signals import pre_migrate
from django.test.utils import CaptureQueriesContext

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import (
    InvalidTenantName,
    MTDDError,
    ShardUnavailable,
    TenantDoesNotExist,
)
from mtdd_router.types import Isolation, Placement, TenantState
from tenants import services, signals
from tenants.errors import (
    NoShardAvailable,
    OperationInterrupted,
    ProvisioningFailed,
    ShardNotRegistered,
    TenantAlreadyExists,
    TenantBusy,
)
from tenants.models import Shard, Tenant
from tenants.services import placement
from tests.integration.tenants.conftest import (
    kill,
    names,
    repair_everything,
    schemas,
    works,
)


@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_created_tenant_is_provisioned_migrated_and_active(
    registered_shards, placements, isolation
):
    tenant = services.create_tenant("abc", isolation=isolation)
    assert (tenant.state, tenant.epoch, tenant.isolation) == ("active", 2, isolation)
    assert tenant.migrated_at is not None
    assert placements() == {"abc": tenant.placement()}
    User.objects.using("abc").create(username="somebody")
    assert User.objects.using("abc").get().username == "somebody"


def test_what_costs_users_time_takes_few_calls(registered_shards, monkeypatch):
    services.create_tenant("first", shard="shard1")
    calls = []
    call = ShardAdmin._call

    def counted(self, method, *arguments):
        calls.append(method)
        return call(self, method, *arguments)

    monkeypatch.setattr(ShardAdmin, "_call", counted)
    with CaptureQueriesContext(connections["default"]) as queries:
        services.create_tenant("second", shard="shard1")
    # All that Django's migrations do is one script.
    assert calls == ["CreateNamespace"]
    words = [query["sql"].split()[0] for query in queries]
    # That it is in no transaction already, Django finds out by beginning one, which sends nothing.
    assert words[:2] == ["BEGIN", "COMMIT"]
    # Is the name free, which shard, the row and who made it, and that it is there.
    assert words[2:] == ["SELECT", "SELECT", "BEGIN", "INSERT", "INSERT", "COMMIT", "UPDATE"]
    calls.clear()
    services.delete_tenant("second")
    assert calls == ["UpdatePlacement"]
    calls.clear()
    services.purge_tenant("second")
    assert calls == ["ListPlacements", "DropNamespace"]


def test_a_schema_that_belongs_to_the_tenant_is_really_there(
    registered_shards, shard_postgres_dsns
):
    before = schemas(shard_postgres_dsns["shard2"])
    tenant = services.create_tenant("with-dashes_and-more", shard="shard2")
    assert schemas(shard_postgres_dsns["shard2"]) - before == {tenant.namespace}
    assert tenant.namespace.startswith("t_with_dashes_and_more_")
    services.purge_tenant(tenant.name)
    assert schemas(shard_postgres_dsns["shard2"]) == before


def test_a_name_of_63_characters_is_as_good_as_any(tenant_factory):
    assert works(tenant_factory("a" * 63).name)


def test_names_that_differ_only_in_dash_and_underscore_do_not_meet(tenant_factory):
    one, two = tenant_factory("a-b", shard="shard1"), tenant_factory("a_b", shard="shard1")
    User.objects.using("a-b").create(username="somebody")
    assert not User.objects.using("a_b").exists()
    assert one.namespace != two.namespace


def test_tenants_go_to_the_least_loaded_shard_by_weight(registered_shards):
    services.edit_shard("shard1", weight=2)
    shards = [services.create_tenant(name).shard.name for name in ("a", "b", "c")]
    assert sorted(shards) == ["shard1", "shard1", "shard2"]


def test_many_tenants_are_not_counted_for_each_new_one(registered_shards, monkeypatch):
    monkeypatch.setattr(placement, "_loads", placement._Loads())
    first, second = Shard.objects.order_by("name")
    Tenant.objects.bulk_create(
        Tenant(
            name=f"{shard.name}-{number}",
            shard=shard,
            namespace=f"{shard.name}_{number}",
            role=f"{shard.name}_{number}",
            epoch=2,
            state="active",
        )
        for shard, there in ((first, 701), (second, 700))
        for number in range(there)
    )
    with CaptureQueriesContext(connections["default"]) as queries:
        placed = [services.create_tenant(name).shard for name in ("a", "b", "c", "d")]
    assert placed == [second, first, second, first]
    assert sum("COUNT(" in query["sql"] for query in queries) == 1
    # What an operator decides holds at once.
    services.edit_shard(second.name, accepts_tenants=False)
    assert services.create_tenant("e").shard == services.create_tenant("f").shard == first


def test_a_shard_that_does_not_accept_tenants_gets_none(registered_shards):
    services.edit_shard("shard1", accepts_tenants=False)
    assert services.create_tenant("abc").shard.name == "shard2"
    with pytest.raises(NoShardAvailable, match=r"'shard1' accepts no new tenants.*--accept"):
        services.create_tenant("xyz", shard="shard1")
    services.edit_shard("shard2", accepts_tenants=False)
    with pytest.raises(NoShardAvailable, match=r"No shard accepts new tenants"):
        services.create_tenant("xyz")
    assert names() == {"abc"}


def test_a_dead_shard_is_passed_over_or_named(registered_shards, spare_server):
    services.register_shard("spare", spare_server.address, weight=100)
    kill(spare_server)
    assert services.create_tenant("abc").shard.name != "spare"
    with pytest.raises(ShardUnavailable, match=rf"{spare_server.address}.*'spare'"):
        services.create_tenant("xyz", shard="spare")
    Shard.objects.exclude(name="spare").update(accepts_tenants=False)
    with pytest.raises(NoShardAvailable, match=spare_server.address):
        services.create_tenant("xyz")
    assert names() == {"abc"}


@pytest.mark.django_db
def test_without_any_shard_the_command_to_register_one_is_named():
    with pytest.raises(NoShardAvailable, match=r"register_shard"):
        services.create_tenant("abc")
    with pytest.raises(ShardNotRegistered, match=r"'nowhere'"):
        services.create_tenant("abc", shard="nowhere")


INVALID_NAMES = [
    "",
    "Abc",
    "a.b",
    "a b",
    " abc",
    "abc\n",
    'a"b',
    "a'b",
    "1abc",
    "-abc",
    "a" * 64,
    "ünïcode",
    "a\0b",
    "abc; DROP SCHEMA public CASCADE",
    '"; DROP TABLE tenants_tenant; --',
    "../etc",
    "default",
]


def test_a_name_that_is_not_valid_is_refused_and_leaves_nothing(registered_shards, placements):
    for name in INVALID_NAMES:
        with pytest.raises(InvalidTenantName):
            services.create_tenant(name)
    assert not Tenant.objects.exists()
    assert placements() == {}


def test_a_tenant_is_created_only_once(tenant_factory, placements):
    tenant = tenant_factory("abc")
    User.objects.using("abc").create(username="somebody")
    with pytest.raises(TenantAlreadyExists, match=r"'abc' already exists"):
        services.create_tenant("abc")
    assert placements() == {"abc": tenant.placement()}
    assert User.objects.using("abc").exists()


def test_of_two_who_create_a_tenant_at_once_exactly_one_wins(registered_shards, placements):
    barrier = threading.Barrier(2)
    outcomes: list[object] = []

    def create(shard):
        try:
            barrier.wait()
            outcomes.append(services.create_tenant("abc", shard=shard))
        except (TenantBusy, TenantAlreadyExists) as exc:
            outcomes.append(exc)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=create, args=(s,)) for s in ("shard1", "shard2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Tenant)]
    assert placements() == {"abc": winner.placement()}
    assert works("abc")
    repair_everything()


def test_a_tenant_whose_migrations_fail_leaves_nothing(registered_shards, placements):
    def fail(using, **_):
        if using == "abc":
            raise RuntimeError("no such luck")

    pre_migrate.connect(fail)
    try:
        with pytest.raises(ProvisioningFailed, match=r"'abc'.*'shard1'.*no such luck.*Nothing"):
            services.create_tenant("abc", shard="shard1")
    finally:
        pre_migrate.disconnect(fail)
    assert not Tenant.objects.exists()
    assert placements() == {}
    assert works(services.create_tenant("abc").name)


def test_a_shard_that_died_a_moment_ago_is_passed_over_or_named(registered_shards, spare_server):
    services.register_shard("spare", spare_server.address, weight=100)
    assert services.create_tenant("abc").shard.name == "spare"
    kill(spare_server)
    assert services.create_tenant("xyz").shard.name != "spare"
    assert works("xyz")
    with pytest.raises(ShardUnavailable, match=rf"{spare_server.address}.*'spare'"):
        services.create_tenant("other", shard="spare")
    assert names() == {"abc", "xyz"}


def test_a_tenant_created_while_its_shard_dies_is_named_and_repairable(spare_shard, spare_server):
    def kill_it(**_: object) -> None:
        kill(spare_server)
        raise ShardUnavailable

    signals.initial_data.connect(kill_it)
    try:
        with pytest.raises(OperationInterrupted, match=r"'abc'.*'spare'.*check_shards --repair"):
            services.create_tenant("abc")
    finally:
        signals.initial_data.disconnect(kill_it)
    assert services.get_tenant("abc").state == TenantState.CREATING
    (report,) = services.check_shards(repair=True)
    assert [finding.kind for finding in report.findings] == ["shard unreachable"]
    assert services.get_tenant("abc").state == TenantState.CREATING
    with pytest.raises(TenantAlreadyExists, match=r"'creating'.*check_shards --repair"):
        services.create_tenant("abc")

    spare_server.start()
    spare_server.wait_ready()
    (finding,) = repair_everything()
    assert (finding.kind, finding.subject) == ("interrupted creation", "abc")
    assert not Tenant.objects.exists()
    assert works(services.create_tenant("abc").name)


def test_a_shard_server_that_may_not_create_schemas_is_quoted_and_nothing_is_left(
    spare_shard, spare_server, stack
):
    database = spare_server.dsn.rsplit("dbname=", 1)[1].split()[0]
    superuser = next(pg for pg in stack.postgres if pg.name == "shard1").superuser_dsn
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{database}" OWNER TO CURRENT_USER')
        connection.execute(f'REVOKE ALL ON DATABASE "{database}" FROM mtdd_shard, PUBLIC')
        connection.execute(f'GRANT CONNECT, TEMP ON DATABASE "{database}" TO mtdd_shard')
        try:
            with pytest.raises(ProvisioningFailed, match=r"'abc'.*'spare'.*permission"):
                services.create_tenant("abc")
        finally:
            connection.execute(f'ALTER DATABASE "{database}" OWNER TO mtdd_shard')
            connection.execute(f'GRANT ALL ON DATABASE "{database}" TO mtdd_shard')
    assert not Tenant.objects.exists()
    repair_everything()


def test_a_name_that_the_shard_uses_for_another_namespace_stays_that_ones(spare_shard):
    stranger = Placement("abc", Isolation.SCHEMA, "t_other", "t_other", 1, TenantState.ACTIVE)
    admin = ShardAdmin(spare_shard.address)
    admin.create_namespace(stranger)
    with pytest.raises(ProvisioningFailed, match=r"'abc' lives on this shard already"):
        services.create_tenant("abc")
    assert admin.placements(orphans=True).placements == {"abc": stranger}
    assert admin.placements(orphans=True).orphans == ()
    assert not Tenant.objects.exists()


def test_a_tenant_of_a_removed_shard_does_not_exist(spare_shard):
    services.create_tenant("abc")
    assert works("abc")
    services.purge_tenant("abc")
    services.remove_shard("spare")
    with pytest.raises((TenantDoesNotExist, MTDDError), match=r"abc"):
        works("abc")
