"""How the tenant of a request is found.

A resolver is a callable: it takes the request and returns a tenant's name, or None if
it has nothing to say. It need not check the name, nor whether the tenant exists; the
middleware does. A resolver that may block (a query, a file) is run in a thread when
the request is served asynchronously; one with ``blocking = False`` is not.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Final, TypeAlias

from asgiref.sync import async_to_sync
from django.http import HttpRequest
from django.http.request import split_domain_port
from django.urls import get_script_prefix, set_script_prefix
from django.utils.module_loading import import_string

from mtdd_router.errors import ConfigurationError

__all__ = [
    "HeaderResolver",
    "PathResolver",
    "Resolver",
    "SessionResolver",
    "SubdomainResolver",
    "load_resolvers",
]

Resolver: TypeAlias = Callable[[HttpRequest], str | None]

_PAIR: Final = 2


class HeaderResolver:
    """Take the tenant from a request header, which a proxy must have set or removed."""

    blocking: ClassVar[bool] = False

    def __init__(self, header: str = "X-Tenant") -> None:
        self.header = header

    def __call__(self, request: HttpRequest) -> str | None:
        return request.headers.get(self.header, "").strip() or None


class SubdomainResolver:
    """Take the tenant from the host: ``abc.example.com`` for the domain ``example.com``.

    *ignore* are labels that are no tenants, such as ``www``.
    """

    blocking: ClassVar[bool] = False

    def __init__(self, domain: str | Iterable[str], ignore: Iterable[str] = ("www",)) -> None:
        domains = [domain] if isinstance(domain, str) else list(domain)
        if not domains or not all(isinstance(one, str) and one.strip(".") for one in domains):
            raise ConfigurationError("SubdomainResolver needs a domain, such as 'example.com'.")
        self.suffixes = tuple(f".{one.strip('.').lower()}" for one in domains)
        self.ignore = frozenset(ignore)

    def __call__(self, request: HttpRequest) -> str | None:
        host = split_domain_port(request.get_host())[0].lower().rstrip(".")
        for suffix in self.suffixes:
            if host.endswith(suffix):
                label = host.removesuffix(suffix)
                return None if label in self.ignore else label
        return None


class PathResolver:
    """Take the tenant from the path: ``/t/abc/orders/`` for the prefix ``t``.

    The URLconf sees ``/orders/``, and ``reverse()`` gives ``/t/abc/orders/``, because
    the matched part becomes the script prefix. With an empty prefix the first segment
    of every path is a tenant.
    """

    blocking: ClassVar[bool] = False

    def __init__(self, prefix: str = "t") -> None:
        stripped = prefix.strip("/")
        self.start = f"/{stripped}/" if stripped else "/"

    def __call__(self, request: HttpRequest) -> str | None:
        path = request.path_info
        if not path.startswith(self.start):
            return None
        tenant, slash, rest = path.removeprefix(self.start).partition("/")
        if not tenant or not slash:
            # "/t/abc" is left to whoever appends slashes or answers with 404.
            return None
        request.path_info = f"/{rest}"
        set_script_prefix(f"{get_script_prefix().rstrip('/')}{self.start}{tenant}/")
        return tenant


class SessionResolver:
    """Take the tenant from the session; SessionMiddleware must come first."""

    def __init__(self, key: str = "tenant") -> None:
        self.key = key

    def __call__(self, request: HttpRequest) -> str | None:
        session = getattr(request, "session", None)
        if session is None:
            raise ConfigurationError(
                "SessionResolver needs a session: in MIDDLEWARE, put SessionMiddleware "
                "before TenantMiddleware."
            )
        value = session.get(self.key)
        return value if isinstance(value, str) and value else None


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
    target = entry
    if isinstance(entry, (tuple, list)) and len(entry) == _PAIR:
        target, options = entry
        if not isinstance(options, Mapping):
            raise ConfigurationError(
                f"MTDD_RESOLVERS: {entry!r} must be a pair of a path and a dict of options."
            )
    try:
        if isinstance(target, str):
            target = import_string(target)
        if isinstance(target, type):
            target = target(**(options or {}))
        elif options is not None:
            raise ConfigurationError(f"MTDD_RESOLVERS: {entry!r} has options but is no class.")
    except (ImportError, TypeError) as exc:
        raise ConfigurationError(f"MTDD_RESOLVERS: {entry!r} cannot be used: {exc}") from exc
    if not callable(target):
        raise ConfigurationError(f"MTDD_RESOLVERS: {entry!r} is not callable.")
    if iscoroutinefunction(target) or iscoroutinefunction(getattr(target, "__call__", None)):  # noqa: B004
        return _in_sync(target)
    resolver: Resolver = target
    return resolver


def _in_sync(resolver: Callable[[HttpRequest], Awaitable[str | None]]) -> Resolver:
    """Return a blocking resolver that runs a coroutine function."""
    run: Resolver = async_to_sync(resolver)
    return run
