"""The resolvers that MTDD_RESOLVERS names, and what they say together.

Invariant: the first answer counts; with MTDD_RESOLVERS_MUST_AGREE, two that differ are refused.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Any, Final, TypeAlias

from asgiref.sync import async_to_sync
from django.http import HttpRequest
from django.utils.module_loading import import_string

from mtdd_router.conf import mtdd_settings
from mtdd_router.directory import directory
from mtdd_router.errors import ConfigurationError, TenantsDisagree

__all__ = ["Resolver", "is_blocking", "load_resolvers", "resolve"]

Resolver: TypeAlias = Callable[[HttpRequest], str | None]

_PAIR: Final = 2


def resolve(resolvers: Iterable[Resolver], request: HttpRequest) -> str | None:
    """Return the tenant that *resolvers* find for the request, or None.

    Raises:
        InvalidTenantName: if an answer cannot name a tenant.
        TenantsDisagree: with MTDD_RESOLVERS_MUST_AGREE, if two say different tenants.
        DisallowedHost: if a tenant is found, and ALLOWED_HOSTS lacks the request's host.
        UntrustedHeader, InvalidToken, RegistryUnavailable: by a resolver.
    """
    must_agree = mtdd_settings.resolvers_must_agree
    found: str | None = None
    for resolver in resolvers:
        tenant = resolver(request)
        if tenant is None:
            continue
        mtdd_settings.check_tenant_name(tenant)
        if found is None:
            # Whoever found it may not have looked at the host: nothing of a tenant is
            # served under one that Django would refuse later, or not at all.
            request.get_host()
            found = tenant
        # One may have the name from before a renaming.
        elif found != tenant and _present(found) != _present(tenant):
            raise TenantsDisagree
        if not must_agree:
            break
    return found


def _present(name: str) -> str:
    return directory.present_name(name)


def load_resolvers(configured: object) -> tuple[Resolver, ...]:
    """Return the resolvers that MTDD_RESOLVERS names, in order.

    Each is a dotted path, a pair of a dotted path and the options for its class, or a
    callable. A path may lead to a class or to a function.

    Raises:
        ConfigurationError: naming the entry that cannot be used.
    """
    if isinstance(configured, str) or not isinstance(configured, Iterable):
        raise ConfigurationError("MTDD_RESOLVERS must be a list.")
    return tuple(_load(entry) for entry in configured)


def is_blocking(resolver: Resolver) -> bool:
    """Return whether the resolver must be kept off an event loop."""
    return bool(getattr(resolver, "blocking", True))


def _load(entry: object) -> Resolver:
    options: Mapping[str, Any] | None = None
    target, said = entry, repr(entry)
    if isinstance(entry, (tuple, list)) and len(entry) == _PAIR:
        target, options = entry
        # Of the options only the names: a value may be a key.
        said = repr((target, sorted(options) if isinstance(options, Mapping) else type(options)))
        if not isinstance(options, Mapping):
            raise ConfigurationError(
                f"MTDD_RESOLVERS: {said} must be a pair of a path and a dict of options."
            )
    try:
        if isinstance(target, str):
            target = import_string(target)
        if isinstance(target, type):
            target = target(**(options or {}))
        elif options is not None:
            raise ConfigurationError(f"MTDD_RESOLVERS: {said} has options but is no class.")
    except (ImportError, TypeError) as exc:
        raise ConfigurationError(f"MTDD_RESOLVERS: {said} cannot be used: {exc}") from exc
    if not callable(target):
        raise ConfigurationError(f"MTDD_RESOLVERS: {said} is not callable.")
    if iscoroutinefunction(target) or iscoroutinefunction(getattr(target, "__call__", None)):  # noqa: B004
        return _in_sync(target)
    resolver: Resolver = target
    return resolver


def _in_sync(resolver: Callable[[HttpRequest], Awaitable[str | None]]) -> Resolver:
    """Return a blocking resolver that runs a coroutine function."""
    run: Resolver = async_to_sync(resolver)
    return run
