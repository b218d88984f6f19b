"""The process-wide cache of tenants' own domains: which tenant a host is.

Invariants: what is known is one dict lookup. A domain is read anew after MTDD_ROUTE_TTL;
while the registry cannot be reached, it stays good for MTDD_NAME_REST and no longer, for
from then on its tenant's name may be another's. A host that is no tenant's is remembered
for `NEGATIVE_TTL` only.
"""

import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol, cast

from django.core.signals import setting_changed

from mtdd_router.conf import mtdd_settings
from mtdd_router.directory import (
    NEGATIVE_TTL,
    RETRY_AFTER,
    Directory,
    directory,
    load_registry,
)
from mtdd_router.errors import (
    ConfigurationError,
    RegistryUnavailable,
    TenantDoesNotExist,
    TenantUnavailable,
)

__all__ = ["DomainDirectory", "DomainRegistry", "domains", "load_domain_registry", "normal_host"]

_MAX_UNKNOWN: Final = 10_000


class DomainRegistry(Protocol):
    """A registry that knows tenants' domains, as the setting MTDD_REGISTRY names it."""

    def tenant_of_domain(self, domain: str) -> str | None:
        """Return the present name of the tenant that has *domain*, or None.

        Raises:
            RegistryUnavailable: if the registry's database cannot be asked.
        """


def normal_host(host: str) -> str:
    """Return *host*, without a port, as domains are kept: lower case, no dot at the end."""
    return host.lower().removesuffix(".")


def load_domain_registry() -> DomainRegistry:
    """Return a new instance of the registry that MTDD_REGISTRY names.

    Raises:
        ConfigurationError: if it cannot be used, or knows no domains.
    """
    registry: object = load_registry()
    if not callable(getattr(registry, "tenant_of_domain", None)):
        raise ConfigurationError(
            f"MTDD_REGISTRY = {mtdd_settings.registry!r} has no tenant_of_domain(), which "
            "DomainResolver needs."
        )
    return cast(DomainRegistry, registry)


class _Entry:
    """The tenant of a domain, when that was read, and until when it is fresh (monotonic)."""

    __slots__ = ("fresh_until", "read_at", "tenant")

    def __init__(self, tenant: str, read_at: float, fresh_until: float) -> None:
        self.tenant = tenant
        self.read_at = read_at
        self.fresh_until = fresh_until


class DomainDirectory:
    """Which tenant each domain is, as far as this process knows."""

    def __init__(
        self,
        make_registry: Callable[[], DomainRegistry] = load_domain_registry,
        routes: Directory = directory,
    ) -> None:
        self._make_registry = make_registry
        self._routes = routes
        self._registry: DomainRegistry | None = None
        self._entries: dict[str, _Entry] = {}
        self._unknown: dict[str, float] = {}
        self._lock = threading.Lock()
        # Rises with forget(): what was read before must not be stored after.
        self._generation = 0

    def tenant(self, domain: str) -> str | None:
        """Return the name of the tenant that has *domain*, as `normal_host` writes it, or None.

        Raises:
            RegistryUnavailable: if it is not known well enough, and the registry is down.
        """
        now = monotonic()
        entry = self._entries.get(domain)
        if entry is None:
            if self._unknown.get(domain, 0.0) > now:
                return None
            return self._read(domain)
        if entry.fresh_until > now and self._is_there(entry.tenant):
            return entry.tenant
        ends = entry.read_at + mtdd_settings.name_rest
        if now < ends:
            # The others go on meanwhile; nor does each wait for a registry that is down.
            entry.fresh_until = min(now + RETRY_AFTER, ends)
        try:
            return self._read(domain)
        except RegistryUnavailable:
            if now >= ends:
                raise
            return entry.tenant

    def forget(self) -> None:
        """Drop all that is known: each domain is read anew."""
        with self._lock:
            self._generation += 1
            self._entries.clear()
            self._unknown.clear()
            self._registry = None

    def after_fork(self) -> None:
        """Make the lock anew in a child process; what is known stays known."""
        self._lock = threading.Lock()

    def _is_there(self, tenant: str) -> bool:
        """Whether there is a tenant of that name still, as far as this process knows.

        If it was renamed, its domains are read anew at once.
        """
        try:
            self._routes.route(tenant)
        except TenantDoesNotExist:
            return False
        except (TenantUnavailable, RegistryUnavailable):
            pass
        return True

    def _read(self, domain: str) -> str | None:
        generation = self._generation
        registry = self._registry
        if registry is None:
            registry = self._registry = self._make_registry()
        # Of the time before: what it says may be outdated when it arrives.
        now = monotonic()
        tenant = registry.tenant_of_domain(domain)
        with self._lock:
            if generation != self._generation:
                return tenant
            if tenant is None:
                self._entries.pop(domain, None)
                if len(self._unknown) >= _MAX_UNKNOWN:
                    self._unknown.clear()
                self._unknown[domain] = now + NEGATIVE_TTL
                return None
            self._unknown.pop(domain, None)
            ttl = min(mtdd_settings.route_ttl, mtdd_settings.name_rest)
            self._entries[domain] = _Entry(tenant, now, now + ttl)
        return tenant


domains: Final = DomainDirectory()
"""The domains that this process knows."""

os.register_at_fork(after_in_child=domains.after_fork)


def _forget_on_change(*, setting: str, **_: object) -> None:
    if setting in {"MTDD_REGISTRY", "MTDD_ROUTE_TTL", "MTDD_NAME_REST"}:
        domains.forget()


setting_changed.connect(_forget_on_change, dispatch_uid="mtdd_router.domains")
