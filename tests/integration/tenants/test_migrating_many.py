"""Migrating many tenants: Django migrates one of each schema state, the others follow."""

import threading
from collections import Counter

import psycopg
import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError
from django.core.management.sql import emit_post_migrate_signal
from django.db import connections

from mtdd_router.context import maintenance
from mtdd_router.types import Isolation, SchemaDetail
from tenants import services
from tenants.errors import MigrationRunError
from tenants.models import MigrationItem, MigrationRun, Tenant
from tenants.services import Limits, MigrationTarget, NewTenant
from tenants.services.locks import migration_run_lock
from tenants.services.migrating import runs, single
from tenants.services.migrating.survey import survey
from tests.integration.tenants.conftest import run

ZERO = MigrationTarget("stock", "zero")
NEWEST = MigrationTarget("stock")
IMPATIENT = Limits(lock_timeout=0.1, lock_retries=1, lock_pause=0.1)


def upto(number):
    return MigrationTarget("stock", number)


@pytest.fixture(autouse=True)
def stock(settings):
    """The app `stock`, installed; nobody has its tables yet."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.apps.stock"]
    settings.TENANT_APPS = [*settings.TENANT_APPS, "tests.apps.stock"]


@pytest.fixture
def tenants(settings, tenant_factory):
    """Five tenants on two shards, one of them in a database of its own, without `stock`."""
    for number in range(4):
        tenant_factory(f"t{number}", shard=f"shard{number % 2 + 1}")
    tenant_factory("t4", shard="shard1", isolation=Isolation.DATABASE)
    rows = Tenant.objects.select_related("shard").order_by("name")
    migrate(rows, ZERO)
    return rows


def migrate(tenants, target=NEWEST, **options):
    return services.migrate_tenants(tenants, target=target, **options)


def outcomes(results):
    return {result.tenant: result.outcome.value for result in results}


def all_are(results, outcome):
    return set(outcomes(results).values()) == {outcome}


def execute(tenant, statement, *parameters):
    with maintenance(), connections[tenant].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def add_item(tenant, price):
    """Add a row, to the table of stock.0001 or a later one."""
    coloured = "0002_colour" in applied(tenant)
    columns, values = "name, price", "'x', %s"
    if coloured:
        columns, values = f"{columns}, colour", f"{values}, 'red'"
    execute(tenant, f"INSERT INTO stock_item ({columns}) VALUES ({values})", price)


def applied(tenant):
    rows = execute(tenant, "SELECT name FROM django_migrations WHERE app = 'stock' ORDER BY id")
    return [name for (name,) in rows]


def facts(tenants):
    return {
        state.facts for state in survey(tenants, SchemaDetail.FACTS).states.values() if state.facts
    }


@pytest.fixture
def recorded(monkeypatch):
    """The tenants that Django itself migrated."""
    names = []
    record = single.record_migrations

    def note(connection, *arguments, **options):
        names.append(connection.alias)
        return record(connection, *arguments, **options)

    monkeypatch.setattr(single, "record_migrations", note)
    return names


def test_django_migrates_one_tenant_and_all_have_the_same_schema(tenants, recorded):
    assert all_are(migrate(tenants), "migrated")
    assert recorded == ["t0"]
    assert len(facts(tenants)) == 1
    assert {len(applied(tenant.name)) for tenant in tenants} == {7}
    assert all_are(migrate(tenants), "unchanged")


def test_content_types_and_permissions_are_those_that_django_makes(tenants):
    migrate(tenants)
    assert Permission.objects.using("t1").filter(codename="audit_supplier").exists()
    for tenant in ("t1", "t2", "t4"):
        before = (ContentType.objects.using(tenant).count(), permissions(tenant))
        with maintenance():
            emit_post_migrate_signal(0, False, tenant, apps=apps, plan=[])
        assert (ContentType.objects.using(tenant).count(), permissions(tenant)) == before
        assert permissions(tenant) == permissions("t0")


def test_content_types_and_permissions_that_a_tenant_lacks_are_made(tenants):
    migrate(tenants, upto("0004"))
    whole = permissions("t0")
    assert permissions("t1") == whole
    Permission.objects.using("t1").get(codename="add_item").delete()
    ContentType.objects.using("t2").get(app_label="stock", model="item").delete()
    # One too many for one that is missing, so that their numbers tell nothing.
    item = ContentType.objects.using("t3").get(app_label="stock", model="item")
    Permission.objects.using("t3").get(codename="change_item").delete()
    Permission.objects.using("t3").create(codename="own", name="Own", content_type=item)
    # It changes the schema alone, and no model.
    results = migrate(tenants, upto("0005"))
    assert all_are(results, "migrated")
    assert [permissions(tenant.name) - whole for tenant in tenants][:3] == [set()] * 3
    for tenant in tenants:
        assert permissions(tenant.name) >= whole
    assert ("stock", "item", "own", "Own") in permissions("t3")


def test_content_types_may_be_new_to_tenants(tenants):
    assert all_are(migrate(tenants, MigrationTarget("contenttypes", "zero")), "migrated")
    assert all_are(migrate(tenants, MigrationTarget("contenttypes")), "migrated")
    assert len({ContentType.objects.using(tenant.name).count() for tenant in tenants}) == 1
    assert all_are(migrate(tenants, MigrationTarget("auth")), "migrated")
    assert permissions("t1") == permissions("t0") != set()


def permissions(tenant):
    rows = Permission.objects.using(tenant).order_by("pk")
    of = "content_type__"
    return set(rows.values_list(f"{of}app_label", f"{of}model", "codename", "name"))


def test_code_runs_on_each_tenants_own_rows_and_sql_does_too(tenants):
    migrate(tenants, upto("0001"))
    for number, tenant in enumerate(tenants):
        add_item(tenant.name, number + 99)
    migrate(tenants)
    for number, tenant in enumerate(tenants):
        ((price, colour, _),) = execute(tenant.name, "SELECT price, colour, token FROM stock_item")
        assert price == 2 * (number + 99)
        assert colour == ("100%" if number + 99 > 100 else "red")
    # Django asks for the default on each tenant; so do we.
    tokens = {execute(t.name, "SELECT token FROM stock_item")[0] for t in tenants}
    assert len(tokens) == len(tenants)


def test_what_is_applied_is_undone_for_all(tenants):
    before = facts(tenants)
    migrate(tenants)
    results = migrate(tenants, ZERO)
    assert all_are(results, "migrated")
    assert {len(result.changed) for result in results} == {7}
    assert facts(tenants) == before
    assert not any(applied(tenant.name) for tenant in tenants)


def test_faked_migrations_are_recorded_and_not_run(tenants):
    before = facts(tenants)
    assert all_are(migrate(tenants, MigrationTarget("stock", "0002", fake=True)), "migrated")
    assert facts(tenants) == before
    assert {len(applied(tenant.name)) for tenant in tenants} == {2}


@pytest.mark.parametrize("bad", ["t0", "t3"])
def test_bad_data_fails_its_tenant_alone_in_code_and_in_sql(tenants, bad):
    migrate(tenants, upto("0002"))
    add_item(bad, 13)
    add_item("t2", -1)
    results = migrate(tenants)
    failed = {bad: "13 brings bad luck", "t2": "stock_item_price_positive"}
    for result in results:
        assert result.outcome.value == ("failed" if result.tenant in failed else "migrated")
        assert failed.get(result.tenant, "") in result.error
        assert result.tenant not in failed or repr(result.tenant) in result.error
    run = MigrationRun.objects.first()
    assert run.state == "failed"
    assert run.counts() == {
        "pending": 0, "migrated": 3, "unchanged": 0, "failed": 2, "skipped": 0
    }  # fmt: skip
    assert applied("t2")[-1] == "0004_name_index"
    for tenant in failed:
        execute(tenant, "UPDATE stock_item SET price = 1")
    assert outcomes(services.resume_migrations()) == {bad: "migrated", "t2": "migrated"}
    run.refresh_from_db()
    assert run.state == "finished"
    assert len(facts(tenants)) == 1


def test_three_of_many_fail_with_their_errors_and_the_next_run_finishes(registered_shards, request):
    """``pytest --tenants=200`` makes them as many."""
    many = request.config.getoption("--tenants")
    services.create_tenants([NewTenant(number, f"t{number:03}") for number in range(many)])
    tenants = Tenant.objects.select_related("shard").order_by("name")
    migrate(tenants, upto("0002"))
    bad = ("t007", "t020", f"t{many - 1:03}")
    for tenant in bad:
        add_item(tenant, 13)
    results = migrate(tenants)
    found = Counter(result.outcome.value for result in results)
    assert found == {"migrated": many - 3, "failed": 3}
    errors = {result.tenant: result.error for result in results if result.error}
    assert sorted(errors) == sorted(bad)
    assert all("13 brings bad luck" in error for error in errors.values())
    assert {len(applied(tenant)) for tenant in bad} == {2}
    for tenant in bad:
        execute(tenant, "UPDATE stock_item SET price = 1")
    again = migrate(tenants)
    assert {result.tenant for result in again if result.outcome.value == "migrated"} == set(bad)
    assert len(facts(tenants)) == 1


def test_a_tenant_with_another_catalog_is_migrated_by_django_itself(tenants, recorded):
    migrate(tenants, upto("0003"))
    execute("t3", "CREATE INDEX stray ON stock_item (price)")
    recorded.clear()
    assert all_are(migrate(tenants), "migrated")
    assert recorded == ["t0", "t3"]
    assert len(facts(tenants)) == 2


def test_a_tenant_whose_catalog_does_not_allow_it_fails_naming_the_object(tenants):
    migrate(tenants, upto("0004"))
    execute("t1", "ALTER TABLE stock_item ADD COLUMN token uuid")
    results = outcomes(migrate(tenants))
    assert results.pop("t1") == "failed"
    assert set(results.values()) == {"migrated"}
    assert "token" in MigrationItem.objects.get(tenant="t1", state="failed").error


def test_an_index_that_failed_half_way_is_made_anew(tenants):
    """CREATE INDEX CONCURRENTLY leaves an invalid index when it is interrupted."""
    migrate(tenants, upto("0003"))
    for price in (1, 1):
        add_item("t1", price)
    with pytest.raises(Exception, match="could not create unique index"):
        execute("t1", "CREATE UNIQUE INDEX CONCURRENTLY stock_item_name ON stock_item (name)")
    assert all_are(migrate(tenants), "migrated")
    assert len(facts(tenants)) == 1


def test_a_table_in_use_delays_its_tenant_alone_and_for_a_bounded_time(
    tenants, shard_postgres_dsns
):
    migrate(tenants, upto("0001"))
    t2 = Tenant.objects.get(name="t2")
    with psycopg.connect(shard_postgres_dsns["shard1"]) as reader:
        reader.execute(f"SET ROLE {t2.role}")
        reader.execute(f"SELECT * FROM {t2.namespace}.stock_item")
        results = migrate(tenants, upto("0002"), limits=IMPATIENT)
        failed = [result for result in results if result.outcome.value == "failed"]
        assert [result.tenant for result in failed] == ["t2"]
        assert "2 times its tables were in use for longer than 0.1 s" in failed[0].error
        rollback = threading.Timer(0.5, reader.rollback)
        rollback.start()
        patient = Limits(lock_timeout=0.2, lock_retries=9, lock_pause=0.1)
        assert outcomes(services.resume_migrations(limits=patient)) == {"t2": "migrated"}
        rollback.join()


def test_a_canary_that_fails_keeps_the_others_from_harm(tenants):
    migrate(tenants, upto("0002"))
    add_item("t1", 13)
    assert outcomes(migrate(tenants, canary=2)) == {"t0": "migrated", "t1": "failed"}
    assert {len(applied(name)) for name in ("t2", "t3", "t4")} == {2}
    execute("t1", "DELETE FROM stock_item")
    assert outcomes(migrate(tenants, canary=2)) == {
        "t0": "unchanged", "t1": "migrated", "t2": "migrated", "t3": "migrated", "t4": "migrated"
    }  # fmt: skip


def test_a_second_run_is_told_of_the_first(tenants):
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with migration_run_lock():
            entered.set()
            leave.wait(30)
        connections["default"].close()

    first = threading.Thread(target=hold)
    first.start()
    try:
        entered.wait(30)
        with pytest.raises(MigrationRunError, match="migrated already"):
            migrate(tenants)
    finally:
        leave.set()
        first.join()


def die_after_the_first(tenants, monkeypatch):
    """Migrate *tenants* in a process that ends when Django has migrated the first."""

    def die(*_):
        raise SystemExit("as if killed")

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(runs, "apply_to_batch", die)
        migrate(tenants)


def test_a_run_that_died_is_known_as_such_and_finished_by_the_next(tenants, monkeypatch):
    die_after_the_first(tenants, monkeypatch)
    # A process that is killed writes no end.
    MigrationRun.objects.filter(state="interrupted").update(state="running", finished_at=None)
    results = services.resume_migrations()
    assert outcomes(results) == dict.fromkeys(("t1", "t2", "t3", "t4"), "migrated")
    run = MigrationRun.objects.first()
    assert (run.state, run.counts()["migrated"]) == ("finished", 5)
    with pytest.raises(MigrationRunError, match="nothing to resume"):
        services.resume_migrations()


def test_an_earlier_run_that_has_tenants_left_is_named_and_not_resumed(tenants, monkeypatch):
    die_after_the_first(tenants, monkeypatch)
    earlier = MigrationRun.objects.first()
    # By hand, for whom it could not wait.
    migrate([tenants[1]])
    with pytest.raises(MigrationRunError, match=f"Run #{earlier.pk} .*had 4 left when a later"):
        services.resume_migrations()
    assert outcomes(migrate(tenants))["t4"] == "migrated"


def test_what_died_between_the_shard_and_the_ledger_counts_as_migrated(tenants, monkeypatch):
    record = runs.Ledger.record

    def die(ledger, results):
        if len(results) > 1:
            raise SystemExit("as if killed")
        record(ledger, results)

    monkeypatch.setattr(runs.Ledger, "record", die)
    with pytest.raises(SystemExit):
        migrate(tenants, upto("0002"), parallel=1)
    monkeypatch.undo()
    assert MigrationRun.objects.first().counts()["pending"]
    services.resume_migrations()
    assert MigrationRun.objects.first().counts()["migrated"] == len(tenants)
    assert len(facts(tenants)) == 1


def test_a_plan_tells_what_would_run_where_and_what_it_locks(tenants):
    migrate(tenants, upto("0001"))
    before = facts(tenants)
    (group,) = services.plan_migrations(tenants, NEWEST)
    assert group.tenants == {"shard1": 3, "shard2": 2}
    planned = {migration.name: migration for migration in group.migrations}
    assert [name.partition("_")[0] for name in planned] == [f"stock.000{n}" for n in range(2, 8)]
    assert planned["stock.0002_colour"].locks == {
        "stock_item": ("ACCESS EXCLUSIVE", "ROW EXCLUSIVE", "SHARE")
    }
    assert planned["stock.0004_name_index"].locks == {"stock_item": ("SHARE UPDATE EXCLUSIVE",)}
    by_django = [name for name, migration in planned.items() if not migration.replayed]
    assert by_django == ["stock.0003_double_prices", "stock.0006_token"]
    assert facts(tenants) == before
    said = run("migrate_tenants", "stock", "--plan")
    assert "5 tenants (shard1 3, shard2 2)" in said
    assert "stock.0003_double_prices, by Django, on each tenant" in said
    assert "stock_item: SHARE UPDATE EXCLUSIVE" in said
    with pytest.raises(CommandError, match="5 tenants to migrate"):
        run("migrate_tenants", "stock", "--check")
    migrate(tenants)
    assert "No tenant has anything to migrate" in run("migrate_tenants", "stock", "--check")
