"""Domains of tenants, as the resolver of domains finds them.

Invariants: a domain is kept in one spelling, and is one tenant's. Other processes learn of a
change when MTDD_ROUTE_TTL has passed; of a new domain, within seconds.
"""

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction

from mtdd_router.domains import domains
from tenants.errors import DomainDoesNotExist, DomainTaken
from tenants.models import TenantDomain
from tenants.services.audit import note
from tenants.services.changing import get_tenant
from tenants.services.locks import tenant_lock
from tenants.services.resting import let_rest
from tenants.validators import normalize_domain

__all__ = ["add_domain", "remove_domain"]


def add_domain(name: str, domain: str) -> TenantDomain:
    """Let requests for *domain* be those of the tenant *name*; doing so twice is harmless.

    That the domain is its customer's is the caller's to know.

    Raises:
        InvalidDomain, TenantDoesNotExist, TenantBusy: about either.
        DomainTaken: naming the tenant that has it.
    """
    normal = normalize_domain(domain)
    with tenant_lock(name):
        tenant = get_tenant(name)
        try:
            with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
                row, new = TenantDomain.objects.select_related("tenant").get_or_create(
                    domain=normal, defaults={"tenant": tenant}
                )
                if new:
                    note("add domain", tenant=name, domain=normal)
        except IntegrityError as exc:
            raise DomainTaken(f"The domain {normal!r} has just been given to a tenant.") from exc
    if row.tenant_id != tenant.pk:
        raise DomainTaken(
            f"The domain {normal!r} is tenant {row.tenant.name!r}'s; to give it to another, run "
            f"`manage.py remove_domain {normal}` first."
        )
    domains.forget()
    return row


def remove_domain(domain: str) -> TenantDomain:
    """Let requests for *domain* be nobody's, and return what was removed.

    Raises:
        InvalidDomain: if it is none.
        DomainDoesNotExist: if it is no tenant's.
    """
    normal = normalize_domain(domain)
    with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
        row = (
            TenantDomain.objects.select_related("tenant")
            .select_for_update()
            .filter(domain=normal)
            .first()
        )
        if row is None:
            raise DomainDoesNotExist(f"The domain {normal!r} is no tenant's; see list_domains.")
        # A process may go on taking it for this tenant by name.
        let_rest(row.tenant)
        note("remove domain", tenant=row.tenant.name, domain=normal)
        row.delete()
    domains.forget()
    return row
