"""Whether tenants are what their migrations give: check_tenants, and migrate_tenants --check."""

import psycopg
import pytest
from django.core.management import CommandError
from django.db import connections

from mtdd_router.context import maintenance
from mtdd_router.types import Isolation, TenantState
from tenants import services
from tenants.errors import MigrationFailed
from tenants.models import Tenant
from tenants.services.migrating import references
from tests.integration.tenants.conftest import repair_everything, run, run_json


def execute(tenant, statement):
    with maintenance(), connections[tenant].cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def tenants(tenant_factory):
    """Four tenants on two shards, one in a database of its own, one of them frozen."""
    for number in range(3):
        tenant_factory(f"t{number}", shard=f"shard{number % 2 + 1}")
    tenant_factory("t3", shard="shard1", isolation=Isolation.DATABASE)
    services.freeze_tenant("t2")
    return Tenant.objects.select_related("shard").order_by("name")


def test_tenants_as_their_migrations_make_them_agree_and_nothing_is_left(tenants, placements):
    before = placements()
    assert [check.agrees for check in services.check_schemas(tenants)] == [True] * 4
    assert run("check_tenants").splitlines()[-1].startswith("4 tenants: 4 as their migrations")
    assert placements() == before
    assert Tenant.objects.count() == 4


def test_tenants_of_other_migrations_are_compared_with_what_those_give(tenants):
    services.migrate_tenants(
        [tenants[1]], target=services.MigrationTarget("auth", "0008_alter_user_username_max_length")
    )
    assert [check.agrees for check in services.check_schemas(tenants)] == [True] * 4
    execute("t1", "ALTER TABLE auth_user ALTER COLUMN username TYPE varchar(151)")
    assert [c.tenant for c in services.check_schemas(tenants) if not c.agrees] == ["t1"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "ALTER TABLE auth_group ADD COLUMN extra integer NOT NULL DEFAULT 7",
            "column auth_group.extra should not be there: #3 integer NOT NULL DEFAULT 7",
        ),
        (
            "DROP INDEX django_session_expire_date_a5c62663",
            "index django_session.django_session_expire_date_a5c62663 is missing: CREATE INDEX",
        ),
        (
            "ALTER TABLE auth_group ALTER COLUMN name TYPE varchar(99)",
            "column auth_group.name is #2 character varying(99) NOT NULL, and should be #2 char",
        ),
        ("DROP TABLE django_admin_log", "table django_admin_log is missing"),
        ("GRANT SELECT ON auth_user TO PUBLIC", "table auth_user is GRANT"),
    ],
)
@pytest.mark.parametrize("tenant", ["t1", "t3"])
def test_what_differs_is_named_with_what_it_should_be(tenants, tenant, change, told):
    execute(tenant, change)
    differing = [check for check in services.check_schemas(tenants) if not check.agrees]
    assert [check.tenant for check in differing] == [tenant]
    assert any(str(difference).startswith(told) for difference in differing[0].differences)


def test_the_commands_fail_and_name_the_tenant(tenants):
    execute("t1", "ALTER TABLE auth_group ADD COLUMN extra integer")
    with pytest.raises(CommandError, match=r"Look at t1\."):
        run("check_tenants")
    answer = run_json("check_tenants")
    assert not answer["agrees"]
    found = {each["tenant"]: each["differences"] for each in answer["tenants"]}
    assert [each["object"] for each in found["t1"]] == ["auth_group.extra"]
    assert not found["t0"]
    run("check_tenants", "--tenant", "t0", "--tenant", "t2")
    run("check_tenants", "--shard", "shard1")
    with pytest.raises(CommandError, match="1 tenant to look at; run check_tenants"):
        run("migrate_tenants", "--check")
    assert run_json("migrate_tenants", "--check") == {"behind": [], "differing": ["t1"]}


@pytest.mark.parametrize("change", ["DROP SCHEMA {} CASCADE", "DROP OWNED BY {} CASCADE"])
def test_a_tenant_whose_schema_is_gone_does_not_agree(tenants, shard_postgres_dsns, change):
    row = Tenant.objects.get(name="t1")
    with psycopg.connect(shard_postgres_dsns["shard2"], autocommit=True) as connection:
        connection.execute(f'SET ROLE "{row.role}"')
        connection.execute(change.format(f'"{row.namespace}"'))
    checks = {check.tenant: check for check in services.check_schemas(tenants)}
    assert "Tenant 't1' has nothing on shard 'shard2'" in checks["t1"].error
    assert [checks[name].agrees for name in ("t0", "t2", "t3")] == [True] * 3
    with pytest.raises(CommandError, match=r"Look at t1\."):
        run("check_tenants")


def test_a_migration_that_is_not_here_is_named(tenants):
    execute("t1", "INSERT INTO django_migrations VALUES (999, 'shop', '0001_initial', now())")
    checks = {check.tenant: check for check in services.check_schemas(tenants)}
    assert "'t1' has migrations that are not here: shop.0001_initial" in checks["t1"].error
    assert [checks[name].agrees for name in ("t0", "t2", "t3")] == [True] * 3


def test_a_check_that_dies_leaves_what_a_repair_removes(tenants, monkeypatch):
    class Died(BaseException):
        """The process is gone: nothing of it is run any more."""

    def die(*_):
        raise Died

    monkeypatch.setattr(references, "run_django", die)
    monkeypatch.setattr(references, "remove_unfinished", die)
    with pytest.raises(Died):
        list(services.check_schemas(tenants))
    monkeypatch.undo()
    assert Tenant.objects.filter(state=TenantState.DELETING).count() == 1
    (finding,) = repair_everything()
    assert finding.kind == "interrupted deletion"
    assert Tenant.objects.count() == 4


def test_migrations_that_cannot_be_applied_anew_are_told_of_each_tenant(tenants, monkeypatch):
    def fail(*_):
        raise MigrationFailed("no such luck")

    monkeypatch.setattr(references, "run_django", fail)
    assert {check.error for check in services.check_schemas(tenants)} == {"no such luck"}
    assert Tenant.objects.count() == 4
