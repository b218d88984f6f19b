"""One side of `benchmarks.migrating`: ``ours`` or ``peer``, as a process."""

import io
import json
import resource
import sys
from statistics import median
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

from benchmarks.migrating import APPS, timed


def main(side: str, folder: str, port: str, tenants: str, addresses: str) -> None:
    default = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": side,
        "USER": "postgres",
        "HOST": folder,
        "PORT": port,
    }
    names = [f"t{number:05}" for number in range(int(tenants))]
    measure = _ours if side == "ours" else _peer
    found = measure(default, names, json.loads(addresses))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**found, "peak_mb": peak / 1024}))


def _ours(default: Any, names: list[str], addresses: dict[str, str]) -> dict[str, float]:
    from mtdd_router import databases

    settings.configure(
        DATABASES=databases({"default": default}),
        DATABASE_ROUTERS=["mtdd_router.TenantRouter"],
        INSTALLED_APPS=["mtdd_router", "tenants", *APPS],
        TENANT_APPS=APPS,
        SHARED_APPS=["mtdd_router", "tenants", *APPS],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    from django.utils import timezone

    from tenants import services
    from tenants.models import MigrationRun, Tenant

    call_command("migrate", verbosity=0)
    for name, address in addresses.items():
        services.register_shard(name, address)

    def migrate(*arguments: str) -> None:
        call_command("migrate_tenants", *arguments, stdout=io.StringIO(), verbosity=0)

    half = len(names) // 2
    alone, listed = names[:half], [services.NewTenant(0, name) for name in names[half:]]
    first_created = timed(lambda: services.create_tenant(alone[0]))
    created = timed(lambda: [services.create_tenant(name) for name in alone[1:]])
    listed_created = timed(lambda: services.create_tenants(listed))
    migrate("shop", "0001")
    found = {
        "create_first": first_created,
        "create": created / (half - 1),
        "create_list": listed_created / len(listed),
        "add_field": timed(migrate) / len(names),
        "nothing": timed(migrate) / len(names),
    }
    replayed = MigrationRun.objects.exclude(items=None)[0].items.values_list("seconds", flat=True)
    found["replay_median"] = median(replayed)
    found["delete"] = timed(lambda: [services.purge_tenant(name) for name in alone]) / half

    def delete(*some: services.NewTenant) -> float:
        return timed(lambda: [services.delete_tenant(new.name) for new in some]) / len(some)

    found["delete_softly"] = delete(*listed)
    rows = list(Tenant.objects.select_related("shard"))
    Tenant.objects.update(purge_at=timezone.now())
    found["delete_list"] = timed(lambda: services.purge_tenants(rows)) / len(rows)
    return found


def _peer(default: Any, names: list[str], _: object) -> dict[str, float]:
    settings.configure(
        DATABASES={"default": {**default, "ENGINE": "django_tenants.postgresql_backend"}},
        DATABASE_ROUTERS=["django_tenants.routers.TenantSyncRouter"],
        INSTALLED_APPS=["django_tenants", "benchmarks.schemas", *APPS],
        SHARED_APPS=["django_tenants", "benchmarks.schemas", *APPS],
        TENANT_APPS=APPS,
        TENANT_MODEL="schemas.Client",
        TENANT_DOMAIN_MODEL="schemas.Domain",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    from benchmarks.schemas.models import Client

    call_command("migrate", run_syncdb=True, verbosity=0)

    def migrate(*arguments: str, executor: str = "standard") -> None:
        call_command("migrate_schemas", *arguments, tenant=True, executor=executor, verbosity=0)

    Client.auto_create_schema = False
    rows = Client.objects.bulk_create(Client(schema_name=name) for name in names)
    create = [timed(lambda row=row: row.create_schema(verbosity=0)) for row in rows]
    found = {}
    for executor in ("standard", "multiprocessing"):
        migrate("shop", "0001")
        found[f"add_field_{executor}"] = timed(lambda e=executor: migrate(executor=e))
    found["nothing"] = timed(migrate)
    found["delete"] = timed(lambda: [row.delete(force_drop=True) for row in rows])
    each = {what: seconds / len(names) for what, seconds in found.items()}
    return {**each, "create_first": create[0], "create": sum(create[1:]) / len(create[1:])}


if __name__ == "__main__":
    main(*sys.argv[1:])
