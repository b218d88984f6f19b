"""One stage of `benchmarks.scale`, as a process."""

import io
import json
import resource
import sys
from collections.abc import Mapping
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

from benchmarks.migrating import APPS, timed

DEPOT = [*APPS[:-1], "benchmarks.depot"]


def main(what: str) -> None:
    options = json.loads(what)
    before = {"depot": "benchmarks.depot.before.migrations"}
    configure(
        options["folder"],
        options["port"],
        migration_modules=before if options["stage"] == "create" else {},
    )
    from tenants import services

    if options["stage"] == "create":
        call_command("migrate", verbosity=0)
        for name, address in options["addresses"].items():
            services.register_shard(name, address)
    seconds = timed(lambda: STAGES[options["stage"]](options))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def configure(
    folder: str, port: int, *, migration_modules: Mapping[str, str] | None = None
) -> None:
    """Set Django up, with its registry on the PostgreSQL whose sockets are in *folder*."""
    from mtdd_router import databases

    default = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "registry",
        "USER": "postgres",
        "HOST": folder,
        "PORT": port,
    }
    settings.configure(
        DATABASES=databases({"default": default}),
        DATABASE_ROUTERS=["mtdd_router.TenantRouter"],
        INSTALLED_APPS=["mtdd_router", "tenants", *DEPOT],
        TENANT_APPS=DEPOT,
        SHARED_APPS=["mtdd_router", "tenants", *APPS[:-1]],
        MIGRATION_MODULES=dict(migration_modules or {}),
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


def _create(options: dict[str, Any]) -> None:
    from tenants import services

    wanted = [services.NewTenant(n, f"t{n:05}") for n in range(options["tenants"])]
    results = services.create_tenants(wanted, parallel=options["parallel"])
    assert {result.outcome for result in results} == {services.CreationOutcome.CREATED}


def _migrate(options: dict[str, Any]) -> None:
    _command("migrate_tenants", "--parallel", str(max(1, options["parallel"] // 2)))


def _check(_: dict[str, Any]) -> None:
    _command("check_tenants")


def _delete(_: dict[str, Any]) -> None:
    from tenants import services
    from tenants.models import Tenant

    for name in Tenant.objects.values_list("name", flat=True):
        services.delete_tenant(name)


def _purge(options: dict[str, Any]) -> None:
    from django.utils import timezone

    from tenants import services
    from tenants.models import Tenant

    Tenant.objects.update(purge_at=timezone.now())
    services.purge_tenants(services.due_tenants(), parallel=options["parallel"])
    assert not Tenant.objects.exists()


def _command(*arguments: str) -> None:
    call_command(*arguments, stdout=io.StringIO(), verbosity=0)


STAGES = {
    "create": _create,
    "migrate": _migrate,
    "nothing": _migrate,
    "check": _check,
    "delete": _delete,
    "purge": _purge,
}

if __name__ == "__main__":
    main(sys.argv[1])
