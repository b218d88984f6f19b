"""Makes the tenants that are measured, inside a candidate's process."""

from typing import Any

__all__ = ["provision"]


def provision(sites: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Migrate the registry, and fill each of *sites*; return tenants' namespaces by site."""
    from django.core.management import call_command

    from mtdd_router.types import Isolation
    from tenants import services
    from tenants.models import Tenant

    call_command("migrate", verbosity=0)
    for name, site in sites.items():
        services.register_shard(name, site["address"])
        wanted = [
            services.NewTenant(number, f"{name}-{number:05}", name, Isolation(site["isolation"]))
            for number in range(1, site["tenants"] + 1)
        ]
        results = services.create_tenants(wanted, parallel=2)
        assert {result.outcome for result in results} == {services.CreationOutcome.CREATED}, results
        for new in wanted:
            _fill(new.name, site)
    return {
        name: dict(Tenant.objects.filter(shard__name=name).values_list("name", "namespace"))
        for name in sites
    }


def _fill(tenant: str, site: dict[str, Any]) -> None:
    from django.contrib.auth.models import User
    from django.db import connections

    users: Any = User.objects
    users.using(tenant).bulk_create(
        [
            User(username=f"user{number}", email=f"user{number}@example.org")
            for number in range(1, site["users"] + 1)
        ],
        batch_size=1000,
    )
    if site["planes"]:
        with connections[tenant].cursor() as cursor:
            cursor.execute(
                "INSERT INTO flights_plane (tail_number, built, manufacturer, model, seats)"
                " SELECT lpad(to_hex(n), 6, '0'), 1999, 'BOEING', '737-824', 149"
                " FROM generate_series(1, %s) n",
                [site["planes"]],
            )
