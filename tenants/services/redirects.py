"""Former names of tenants, which requests may use for a while after a renaming.

Invariants: a redirect is written before its renaming, and counts only once no tenant has
the name; while it counts, nobody else is given the name.
"""

from datetime import timedelta
from typing import Final

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils import timezone

from mtdd_router.errors import TenantDoesNotExist
from mtdd_router.types import TenantState
from tenants.errors import TenantAlreadyExists
from tenants.models import RestingName, Tenant, TenantRedirect
from tenants.services.audit import note
from tenants.services.changing import for_people, get_tenant, until
from tenants.services.locks import tenant_lock
from tenants.services.resting import require_rested

__all__ = ["drop_redirect", "keep_name", "require_free_name"]

# Each new tenant asks this; three querysets take three times as long to become SQL.
_KNOWN: Final = "SELECT " + " OR ".join(
    f'EXISTS (SELECT FROM "{model._meta.db_table}" WHERE name = %(name)s)'
    for model in (Tenant, RestingName, TenantRedirect)
)


def require_free_name(name: str, tenant: Tenant | None = None) -> None:
    """Refuse a name that is another tenant's, or leads to another than *tenant*.

    Raises:
        TenantAlreadyExists: saying what can be done.
    """
    if not _is_known(name):
        return
    other = Tenant.objects.filter(name=name).first()
    if other is not None:
        raise TenantAlreadyExists(_taken(other))
    require_rested(name, tenant)
    redirect = TenantRedirect.objects.select_related("tenant").filter(name=name).first()
    if redirect is None or (tenant is not None and redirect.tenant_id == tenant.pk):
        return
    if redirect.expires_at > timezone.now():
        raise TenantAlreadyExists(
            f"Tenant {redirect.tenant.name!r} was called {name!r}, and requests for that are "
            f"still its own until {for_people(redirect.expires_at)}; to give the name away, run "
            f"`manage.py drop_redirect {name}`."
        )
    redirect.delete()


def _is_known(name: str) -> bool:
    """Whether the name is, or was, some tenant's."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(_KNOWN, {"name": name})
        return bool(cursor.fetchone()[0])


def keep_name(tenant: Tenant, seconds: float) -> None:
    """Let the name that *tenant* has now lead to it once it is renamed; zero lets it not."""
    with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
        if seconds:
            ends = timezone.now() + timedelta(seconds=seconds)
            TenantRedirect.objects.update_or_create(
                name=tenant.name, defaults={"tenant": tenant, "expires_at": ends}
            )
            note("keep name", tenant=tenant.name, until=ends)
        else:
            TenantRedirect.objects.filter(name=tenant.name).delete()


def drop_redirect(name: str) -> Tenant:
    """Let the former *name* lead nowhere, at once, and return the tenant that had it.

    Raises:
        TenantDoesNotExist: if it leads nowhere.
        TenantBusy: if an operation on it is under way.
    """
    with tenant_lock(name):
        redirect = TenantRedirect.objects.select_related("tenant").filter(name=name).first()
        if redirect is None or redirect.tenant.name == name:
            raise TenantDoesNotExist(f"The name {name!r} leads to no tenant that had it before.")
        with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
            note("drop redirect", tenant=redirect.tenant.name, former=name)
            redirect.delete()
    return get_tenant(redirect.tenant.name)


def _taken(other: Tenant) -> str:
    name = other.name
    if other.state == TenantState.DELETED:
        return (
            f"Tenant {name!r} is deleted, and its name taken until it is purged, after "
            f"{until(other)}: bring it back with `manage.py undelete_tenant {name}`, or purge it "
            f"with `manage.py delete_tenant {name} --now`."
        )
    if other.state == TenantState.CREATING:
        return (
            f"A tenant {name!r} already exists, in state 'creating'; if nobody is creating it "
            "now, run `manage.py check_shards --repair`."
        )
    return f"A tenant {name!r} already exists; choose another name."
