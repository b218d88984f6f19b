"""System checks of how a request's tenant is found, beyond that MTDD_RESOLVERS can be loaded.

mtdd.E050  HeaderResolver is used, and no proxy is trusted
mtdd.E051  MTDD_TRUSTED_PROXIES cannot be used
mtdd.W050  MTDD_TRUSTED_PROXIES trusts everybody
mtdd.E052  DomainResolver is used, and the registry knows no domains
mtdd.W051  DomainResolver is used, and any host is allowed
mtdd.E053  UserResolver is used, and the project's users are not there in time
mtdd.E054  MTDD_RESOLVERS_MUST_AGREE is no bool
mtdd.W053  a name is given away before each process has forgotten its last tenant
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - as Django names it

from mtdd_router.conf import mtdd_settings
from mtdd_router.domains import load_domain_registry
from mtdd_router.errors import ConfigurationError
from mtdd_router.middleware import TenantMiddleware
from mtdd_router.resolvers import (
    DomainResolver,
    HeaderResolver,
    Resolver,
    UserResolver,
    load_resolvers,
)
from mtdd_router.resolvers.header import proxy_networks
from mtdd_router.settings_entries import position_in

__all__ = ["run_checks"]

_AUTHENTICATION: Final = "django.contrib.auth.middleware.AuthenticationMiddleware"


def run_checks(**options: Any) -> Iterator[CheckMessage]:
    """Run every check of this module."""
    for check in (check_proxies, check_domains, check_users, check_agreement, check_rest):
        yield from check(**options)


def check_proxies(**_: Any) -> Iterator[CheckMessage]:
    """A header is heard from proxies that are named."""
    hint = (
        'List the networks of the proxies that set the header, as in ["10.0.0.0/8"], or "unix" '
        "for a unix socket. They must remove what clients send under that name."
    )
    try:
        networks = proxy_networks(mtdd_settings.trusted_proxies)
    except ConfigurationError as exc:
        yield Error(str(exc), hint=hint, id="mtdd.E051")
        return
    if not _used(HeaderResolver):
        return
    if not networks:
        yield Error(
            "HeaderResolver is used, but MTDD_TRUSTED_PROXIES is empty: whatever a client writes "
            "into a header would be its tenant, so all such requests are refused.",
            hint=hint,
            id="mtdd.E050",
        )
    elif any(network is not None and network.prefixlen == 0 for network in networks):
        yield Warning(
            "MTDD_TRUSTED_PROXIES trusts every address, so any client may name any tenant.",
            hint=hint,
            id="mtdd.W050",
        )


def check_domains(**_: Any) -> Iterator[CheckMessage]:
    """Domains can be asked for, and hosts are refused by somebody."""
    used = _used(DomainResolver)
    if not used:
        return
    try:
        load_domain_registry()
    except ConfigurationError as exc:
        yield Error(
            str(exc),
            hint="Use the default registry, or give yours the method.",
            id="mtdd.E052",
        )
    if "*" in settings.ALLOWED_HOSTS and all(
        resolver.others is None for resolver in used if isinstance(resolver, DomainResolver)
    ):
        yield Warning(
            'ALLOWED_HOSTS = ["*"] lets every host in, also those that are no tenant\'s domain.',
            hint='Give DomainResolver the hosts that are the project\'s own, as {"others": '
            '[".example.com"]}; it then refuses all that are neither.',
            id="mtdd.W051",
        )


def check_users(**_: Any) -> Iterator[CheckMessage]:
    """Who is logged in is known before the tenant is."""
    if not _used(UserResolver):
        return
    place, users = position_in("MIDDLEWARE", TenantMiddleware), None
    if _AUTHENTICATION in settings.MIDDLEWARE:
        users = list(settings.MIDDLEWARE).index(_AUTHENTICATION)
    if place is not None and (users is None or users > place):
        yield Error(
            "UserResolver needs the user, and AuthenticationMiddleware does not come first.",
            hint="In MIDDLEWARE, put SessionMiddleware and AuthenticationMiddleware before "
            "TenantMiddleware.",
            id="mtdd.E053",
        )
    label = settings.AUTH_USER_MODEL.partition(".")[0]
    if mtdd_settings.is_tenant_app(label):
        yield Error(
            f"UserResolver finds the tenant by the user, and users ({label!r}) are in the tenants.",
            hint=f"Take {label!r} out of TENANT_APPS, or use another resolver.",
            id="mtdd.E053",
        )


def check_agreement(**_: Any) -> Iterator[CheckMessage]:
    """MTDD_RESOLVERS_MUST_AGREE is a bool."""
    value: object = mtdd_settings.resolvers_must_agree
    if not isinstance(value, bool):
        yield Error(
            f"MTDD_RESOLVERS_MUST_AGREE = {value!r} is wrong.",
            hint="True asks all resolvers, and refuses two that differ; False takes the first.",
            id="mtdd.E054",
        )


def check_rest(**_: Any) -> Iterator[CheckMessage]:
    """A name rests for as long as caches may hold its last tenant."""
    rest, ttl = mtdd_settings.name_rest, mtdd_settings.route_ttl
    numbers = all(isinstance(value, (int, float)) for value in (rest, ttl))
    if numbers and 0 < rest < ttl:
        yield Warning(
            f"MTDD_NAME_REST = {rest} is less than MTDD_ROUTE_TTL = {ttl}: a tenant could be given "
            "a name that some process still takes for another tenant's.",
            hint="Make it at least twice MTDD_ROUTE_TTL.",
            id="mtdd.W053",
        )


def _used(kind: Callable[..., Any]) -> list[Resolver]:
    """Return those of MTDD_RESOLVERS that are of a kind; none if they cannot be loaded."""
    try:
        resolvers = load_resolvers(mtdd_settings.resolvers)
    except ConfigurationError:
        return []
    return [resolver for resolver in resolvers if isinstance(resolver, kind)]  # type: ignore[arg-type]
