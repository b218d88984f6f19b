"""System checks of what names a user: sessions; and of the tools for tests.

mtdd.W016  users live in tenants, but sessions do not
mtdd.E060  a session is not of the tenant in which it is used
mtdd.E061  MTDD_TEST_SHARDS cannot be used
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - as Django names it

from mtdd_router.cache import tenant_key
from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import ConfigurationError
from mtdd_router.middleware import TenantMiddleware
from mtdd_router.resolvers import SessionResolver, load_resolvers
from mtdd_router.settings_entries import position_in

__all__ = ["run_checks"]

_AUTHENTICATION: Final = "django.contrib.auth.middleware.AuthenticationMiddleware"
_DATABASE: Final = "django.contrib.sessions.backends.db"
_CACHE: Final = "django.contrib.sessions.backends.cache"
_CACHED_DATABASE: Final = "django.contrib.sessions.backends.cached_db"
_COOKIES: Final = "mtdd_router.signed_cookies"
_TENANT_KEY: Final = "mtdd_router.cache.tenant_key"


def run_checks(**options: Any) -> Iterator[CheckMessage]:
    """Run every check of this module."""
    for check in (check_sessions, check_test_shards):
        yield from check(**options)


def check_sessions(**_: Any) -> Iterator[CheckMessage]:
    """A session that names a user by id counts only where that user is."""
    place = position_in("MIDDLEWARE", TenantMiddleware)
    if place is None:
        return
    session = position_in("MIDDLEWARE", SessionMiddleware)
    by_tenant = _are_by_tenant(settings.SESSION_ENGINE)
    if _session_resolves():
        # A session that itself says which tenant it is of needs no more.
        if by_tenant:
            yield Error(
                f"SessionResolver finds the tenant in the session, and SESSION_ENGINE = "
                f"{settings.SESSION_ENGINE!r} looks for the session in the tenant.",
                hint="Keep sessions in the database, or use another resolver.",
                id="mtdd.E060",
            )
        return
    in_both = mtdd_settings.is_tenant_app("sessions") and mtdd_settings.is_shared_app("sessions")
    if session is not None and session < place and (by_tenant or in_both):
        yield Error(
            "SessionMiddleware comes before TenantMiddleware, so it saves a tenant's sessions "
            "among those of no tenant.",
            hint="In MIDDLEWARE, put TenantMiddleware before SessionMiddleware.",
            id="mtdd.E060",
        )
    if (
        _AUTHENTICATION in settings.MIDDLEWARE
        and mtdd_settings.is_tenant_app("auth")
        and not _are_apart(settings.SESSION_ENGINE)
    ):
        yield Warning(
            "Users live in tenants, but sessions do not: a session made in one tenant is "
            "looked at in all, where the same user id is somebody else.",
            hint='Add "django.contrib.sessions" to TENANT_APPS (it may stay in SHARED_APPS) with '
            f"SESSION_ENGINE = {_DATABASE!r}; in a cache, sessions are apart with KEY_FUNCTION = "
            f"{_TENANT_KEY!r}, in cookies with SESSION_ENGINE = {_COOKIES!r}.",
            id="mtdd.W016",
        )


def check_test_shards(**_: Any) -> Iterator[CheckMessage]:
    """MTDD_TEST_SHARDS names shards, or asks for a stack."""
    value = mtdd_settings.test_shards
    named = isinstance(value, Mapping) and all(
        isinstance(part, str) and part for pair in value.items() for part in pair
    )
    if not (value is None or value == "embedded" or (named and value)):
        yield Error(
            f"MTDD_TEST_SHARDS = {value!r} names no shards.",
            hint='Give names and addresses, as {"test": "127.0.0.1:7401"}, or "embedded".',
            id="mtdd.E061",
        )


def _session_resolves() -> bool:
    try:
        resolvers = load_resolvers(mtdd_settings.resolvers)
    except ConfigurationError:
        return False  # There is a check that says so.
    return any(isinstance(resolver, SessionResolver) for resolver in resolvers)


def _are_by_tenant(engine: str) -> bool:
    """Return whether *engine* looks for a session in the tenant, without its database."""
    if engine == _COOKIES:
        return True
    cache = settings.CACHES.get(settings.SESSION_CACHE_ALIAS, {})
    return engine in {_CACHE, _CACHED_DATABASE} and (
        cache.get("KEY_FUNCTION") in {_TENANT_KEY, tenant_key}
    )


def _are_apart(engine: str) -> bool:
    """Return whether the sessions of *engine* are each tenant's own."""
    rows = mtdd_settings.is_tenant_app("sessions")
    if engine == _DATABASE:
        return rows
    return _are_by_tenant(engine) and (rows or engine != _CACHED_DATABASE)
