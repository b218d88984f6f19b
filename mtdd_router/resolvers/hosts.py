"""The tenant in the host: a subdomain of the project's domain, or a domain of its own.

Invariant: the host is what ``request.get_host()`` says, so ALLOWED_HOSTS counts, and
X-Forwarded-Host is heard only with USE_X_FORWARDED_HOST.
"""

from collections.abc import Iterable
from typing import ClassVar

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

from mtdd_router.domains import DomainDirectory, domains, normal_host
from mtdd_router.errors import ConfigurationError

__all__ = ["DomainResolver", "SubdomainResolver"]


class SubdomainResolver:
    """Take the tenant from the host: ``abc.example.com`` for the domain ``example.com``.

    *ignore* are labels that are no tenants, such as ``www``.
    """

    blocking: ClassVar[bool] = False

    def __init__(self, domain: str | Iterable[str], ignore: Iterable[str] = ("www",)) -> None:
        names = [domain] if isinstance(domain, str) else list(domain)
        if not names or not all(isinstance(one, str) and one.strip(".") for one in names):
            raise ConfigurationError("SubdomainResolver needs a domain, such as 'example.com'.")
        self.suffixes = tuple(f".{one.strip('.').lower()}" for one in names)
        self.ignore = frozenset(ignore)

    def __call__(self, request: HttpRequest) -> str | None:
        host = _host(request)
        for suffix in self.suffixes:
            if host.endswith(suffix):
                label = host.removesuffix(suffix)
                return None if label in self.ignore else label
        return None


class DomainResolver:
    """Take the tenant from a domain of its own, as the registry knows it (``add_domain``).

    Args:
        others: the hosts that are no tenant's, written as in ALLOWED_HOSTS. Any further host
            is refused. For a project that has ``ALLOWED_HOSTS = ["*"]``, since it cannot
            list the domains of its tenants there. By default nothing is refused here.
        directory: the cache of domains, this process's by default.

    Raises:
        DisallowedHost: for a host that is neither a tenant's nor one of *others*.
        RegistryUnavailable: if the domain is not known here, and the registry is down.
    """

    def __init__(
        self, others: Iterable[str] | None = None, directory: DomainDirectory = domains
    ) -> None:
        if isinstance(others, str):
            raise ConfigurationError("DomainResolver: others must be a list of hosts.")
        self.others = None if others is None else tuple(others)
        self._directory = directory

    def __call__(self, request: HttpRequest) -> str | None:
        host = _host(request)
        tenant = self._directory.tenant(host)
        if tenant is None and self.others is not None and not validate_host(host, self.others):
            raise DisallowedHost(
                f"The host {host!r} is no tenant's domain: run add_domain for it, or add it to "
                "the option `others` of DomainResolver."
            )
        return tenant


def _host(request: HttpRequest) -> str:
    return normal_host(split_domain_port(request.get_host())[0])
