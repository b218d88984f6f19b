"""Names that rest: free again, and not given to another tenant yet.

A process may know for a while, from its caches, a domain or a route of the tenant that had
the name last. Invariant: by the time that another tenant has the name, no process does
that reads them anew at least every MTDD_NAME_REST seconds (decision 0321).
"""

from datetime import timedelta

from django.utils import timezone

from mtdd_router.conf import mtdd_settings
from tenants.errors import TenantAlreadyExists
from tenants.models import RestingName, Tenant

__all__ = ["let_rest", "require_rested"]


def let_rest(*tenants: Tenant) -> None:
    """Keep the names of *tenants*, in the transaction that takes them, from any other tenant."""
    if not mtdd_settings.name_rest:
        return
    now = timezone.now()
    RestingName.objects.filter(until__lte=now).delete()
    until = now + timedelta(seconds=mtdd_settings.name_rest)
    RestingName.objects.bulk_create(
        [RestingName(name=each.name, tenant_key=each.pk, until=until) for each in tenants],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["tenant_key", "until"],
    )


def require_rested(name: str, tenant: Tenant | None = None) -> None:
    """Refuse a name that rests, unless it was last that of *tenant*.

    Raises:
        TenantAlreadyExists: saying how long it still rests.
    """
    resting = RestingName.objects.filter(name=name, until__gt=timezone.now()).first()
    if resting is None or (tenant is not None and tenant.pk == resting.tenant_key):
        return
    raise TenantAlreadyExists(
        f"Another tenant was called {name!r} until a moment ago, and some process may still take "
        f"it for that one: the name is free at {timezone.localtime(resting.until):%H:%M:%S} "
        "(see MTDD_NAME_REST)."
    )
