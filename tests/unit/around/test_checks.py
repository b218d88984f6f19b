"""What could let tenants meet around the database is found, named, and comes with a hint."""

from typing import Any

import django
import pytest

from mtdd_router import surroundings_checks, user_checks

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
KEYS = "mtdd_router.cache.tenant_key"
TENANTS = "mtdd_router.TenantMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
UPDATE = "django.middleware.cache.UpdateCacheMiddleware"
SITE = "django.contrib.sites.middleware.CurrentSiteMiddleware"


def ids(check: Any) -> list[str | None]:
    messages = list(check(app_configs=None, databases=None))
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


def cache(**options: Any) -> dict[str, Any]:
    return {"BACKEND": LOCMEM, **options}


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({"default": cache()}, ["mtdd.W052"]),
        ({"default": cache(KEY_FUNCTION=KEYS), "other": cache()}, ["mtdd.W052"]),
        ({"default": cache(KEY_FUNCTION=KEYS)}, []),
        ({"default": cache(KEY_FUNCTION="mtdd_router.cache.shared_key")}, []),
        ({"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}, []),
    ],
)
def test_a_cache_says_whose_its_keys_are(settings: Any, configured: Any, expected: Any) -> None:
    assert ids(surroundings_checks.check_caches) == []  # Nobody has set CACHES.
    settings.CACHES = configured
    assert ids(surroundings_checks.check_caches) == expected


def test_djangos_own_cache_counts_once_pages_go_there(settings: Any) -> None:
    settings.MIDDLEWARE = [TENANTS, UPDATE]
    assert ids(surroundings_checks.check_caches) == ["mtdd.W052"]


@pytest.mark.parametrize(
    ("middleware", "tenant_apps", "expected"),
    [
        ([TENANTS, UPDATE], [], []),
        ([UPDATE, TENANTS], [], ["mtdd.E055"]),
        ([UPDATE], [], []),
        ([SITE, TENANTS], [], []),
        ([TENANTS, SITE], ["sites"], []),
        ([SITE, TENANTS], ["sites"], ["mtdd.E055"]),
    ],
)
def test_what_depends_on_the_tenant_comes_later(
    settings: Any, middleware: Any, tenant_apps: Any, expected: Any
) -> None:
    settings.MIDDLEWARE = middleware
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sites"]
    settings.TENANT_APPS = tenant_apps
    assert ids(surroundings_checks.check_order) == expected


@pytest.mark.parametrize(
    ("managers", "expected"),
    [(True, []), (["sites.Site"], ["mtdd.E056"]), (False, ["mtdd.E056"])],
)
def test_sites_in_tenants_have_a_manager_that_knows_them(
    settings: Any, managers: Any, expected: Any
) -> None:
    settings.MTDD_TENANT_MANAGERS = managers
    assert ids(surroundings_checks.check_sites) == []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sites"]
    assert ids(surroundings_checks.check_sites) == []
    settings.TENANT_APPS = ["sites"]
    assert ids(surroundings_checks.check_sites) == expected


@pytest.mark.parametrize(("accounts", "expected"), [(None, ["mtdd.E057"]), (lambda _: None, [])])
def test_accounts_are_there_if_they_are_asked_for(
    settings: Any, accounts: Any, expected: Any
) -> None:
    settings.MTDD_EMAIL_ACCOUNTS = accounts
    assert ids(surroundings_checks.check_email) == []
    backend = "mtdd_router.mail.TenantEmailBackend"
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": backend}, "smtp": {}}
    else:
        settings.EMAIL_BACKEND = backend
    assert ids(surroundings_checks.check_email) == expected


@pytest.mark.parametrize(
    ("engine", "tenant_apps", "function", "expected"),
    [
        ("cache", ["auth"], KEYS, []),
        ("cache", ["auth"], None, ["mtdd.W016"]),
        ("cached_db", ["auth", "sessions"], KEYS, []),
        ("cached_db", ["auth"], KEYS, ["mtdd.W016"]),
        ("cached_db", ["auth", "sessions"], None, ["mtdd.W016"]),
        ("signed_cookies", ["auth", "sessions"], KEYS, ["mtdd.W016"]),
    ],
)
def test_sessions_in_a_cache_are_apart_if_its_keys_are(
    settings: Any, engine: str, tenant_apps: Any, function: Any, expected: Any
) -> None:
    settings.TENANT_APPS = tenant_apps
    settings.MIDDLEWARE = [TENANTS, SESSIONS, USERS]
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.CACHES = {"default": cache(**({"KEY_FUNCTION": function} if function else {}))}
    assert ids(user_checks.check_sessions) == expected
