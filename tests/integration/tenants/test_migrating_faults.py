"""Runs whose command, or whose shard, is killed; and the one that goes on with them."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from mtdd_router.context import maintenance
from mtdd_router.types import SchemaDetail
from tenants import services
from tenants.errors import MigrationFailed
from tenants.models import MigrationRun, Tenant
from tenants.services import MigrationTarget
from tenants.services.migrating.survey import survey
from tests.integration.tenants.conftest import kill

ROOT = Path(__file__).resolve().parents[3]
ZERO = MigrationTarget("flights", "zero")


def command(*arguments: str) -> "subprocess.Popen[str]":
    """Start a management command on the registry of the tests."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "MTDD_TEST_REGISTRY_NAME": str(connections["default"].settings_dict["NAME"]),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "programs"))),
    }
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def applied(tenant):
    with maintenance(), connections[tenant].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations WHERE app = 'flights'")
        return cursor.fetchone()[0]


def test_a_run_whose_shard_dies_fails_its_tenants_and_is_resumed(spare_shard, spare_server):
    names = [f"t{number}" for number in range(4)]
    for name in names:
        services.create_tenant(name)
    tenants = Tenant.objects.select_related("shard").order_by("name")
    services.migrate_tenants(tenants, target=ZERO)

    def die(result):
        if spare_server.running:
            kill(spare_server)

    results = services.migrate_tenants(tenants, on_result=die)
    outcomes = {result.tenant: result.outcome.value for result in results}
    assert outcomes == {"t0": "migrated", "t1": "failed", "t2": "failed", "t3": "failed"}
    assert all("'spare'" in result.error for result in results[1:])
    spare_server.start()
    spare_server.wait_ready()
    resumed = services.resume_migrations()
    assert {result.outcome.value for result in resumed} <= {"migrated", "unchanged"}
    run = MigrationRun.objects.first()
    assert (run.state, run.counts()["migrated"]) == ("finished", 4)
    assert {applied(name) for name in names} == {1}
    assert not [t for t in threading.enumerate() if t.name.startswith("migrate")]


@pytest.mark.parametrize("recorded", ["record_applied", "record_unapplied"])
def test_a_migration_without_its_row_is_not_kept(tenant_factory, monkeypatch, recorded):
    tenant = tenant_factory("abc", shard="shard1")
    ways = [ZERO, MigrationTarget("flights")]
    if recorded == "record_applied":
        services.migrate_tenant(tenant, ways.pop(0))
        ways.append(ZERO)
    before = survey([tenant], SchemaDetail.FACTS).states["abc"].facts
    with monkeypatch.context() as patch:
        patch.setattr(MigrationRecorder, recorded, _refuse)
        with pytest.raises(MigrationFailed, match="no row"):
            services.migrate_tenant(tenant, ways[0])
    assert survey([tenant], SchemaDetail.FACTS).states["abc"].facts == before
    for target in ways:
        assert services.migrate_tenant(tenant, target)


def _refuse(*_):
    raise RuntimeError("no row today")
