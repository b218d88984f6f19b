"""Whether sessions count in their tenant only, and the tools for tests are configured."""

from typing import Any

import pytest

from mtdd_router import user_checks

TENANTS = "mtdd_router.TenantMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
RIGHT = [TENANTS, SESSIONS, USERS]
HEADER = ["mtdd_router.resolvers.HeaderResolver"]
SESSION = ["mtdd_router.resolvers.SessionResolver"]
DJANGO, COOKIES = "django.contrib.sessions.backends", "mtdd_router.signed_cookies"


def ids(check: Any) -> list[str]:
    return [message.id for message in check()]


@pytest.mark.parametrize(
    ("tenant_apps", "middleware", "engine", "expected"),
    [
        (["auth"], RIGHT, f"{DJANGO}.db", ["mtdd.W016"]),
        (["auth", "sessions"], RIGHT, f"{DJANGO}.db", []),
        # A cache knows no tenants, and neither does a signature.
        (["auth", "sessions"], RIGHT, f"{DJANGO}.cached_db", ["mtdd.W016"]),
        (["auth", "sessions"], RIGHT, f"{DJANGO}.cache", ["mtdd.W016"]),
        (["auth"], RIGHT, f"{DJANGO}.signed_cookies", ["mtdd.W016"]),
        (["auth"], RIGHT, f"{DJANGO}.file", ["mtdd.W016"]),
        (["auth"], RIGHT, COOKIES, []),
        (["auth"], [SESSIONS, TENANTS, USERS], COOKIES, ["mtdd.E060"]),
        (["auth", "sessions"], [SESSIONS, TENANTS, USERS], f"{DJANGO}.db", ["mtdd.E060"]),
        (["auth"], [TENANTS, SESSIONS], f"{DJANGO}.db", []),
        (["auth"], [SESSIONS, USERS], f"{DJANGO}.db", []),
        ([], RIGHT, f"{DJANGO}.db", []),
    ],
)
def test_a_session_is_of_one_tenant(
    settings: Any, tenant_apps: Any, middleware: Any, engine: str, expected: Any
) -> None:
    settings.TENANT_APPS, settings.SHARED_APPS = tenant_apps, ["auth", "sessions"]
    settings.MIDDLEWARE, settings.MTDD_RESOLVERS = middleware, HEADER
    settings.SESSION_ENGINE = engine
    assert ids(user_checks.check_sessions) == expected


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (f"{DJANGO}.db", []),
        (f"{DJANGO}.signed_cookies", []),
        (COOKIES, ["mtdd.E060"]),
    ],
)
def test_a_session_that_names_the_tenant_cannot_be_in_it(
    settings: Any, engine: str, expected: Any
) -> None:
    settings.MIDDLEWARE = [SESSIONS, TENANTS, USERS]
    settings.TENANT_APPS, settings.MTDD_RESOLVERS = ["auth"], SESSION
    settings.SESSION_ENGINE = engine
    assert ids(user_checks.check_sessions) == expected


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (None, True),
        ("embedded", True),
        ({"test": "127.0.0.1:7401"}, True),
        ({}, False),
        ("127.0.0.1:7401", False),
        ({"test": 7401}, False),
        ({"test": ""}, False),
        (["test"], False),
    ],
)
def test_the_shards_of_tests_have_names_and_addresses(
    settings: Any, value: Any, right: bool
) -> None:
    settings.MTDD_TEST_SHARDS = value
    assert ids(user_checks.check_test_shards) == ([] if right else ["mtdd.E061"])
