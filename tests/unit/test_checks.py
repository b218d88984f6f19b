"""The system checks: each mistake is found, named, and comes with a hint."""

import re
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import models
from django.test.utils import isolate_apps

from mtdd_router import checks
from mtdd_router.databases import Databases

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
TENANTS = "mtdd_router.TenantMiddleware"


def found(check: Any) -> list[tuple[str | None, str]]:
    messages = list(check(app_configs=None, databases=None))
    assert all(message.hint for message in messages)
    return [(message.id, message.msg) for message in messages]


def ids(check: Any) -> list[str | None]:
    return [message_id for message_id, _ in found(check)]


def test_the_projects_own_settings_are_right() -> None:
    assert [message for message in run_checks() if str(message.id).startswith("mtdd.")] == []


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_databases_must_know_tenants(settings: Any) -> None:
    known = settings.DATABASES
    assert isinstance(known, Databases)
    settings.DATABASES = dict(known)
    try:
        assert ids(checks.check_databases) == ["mtdd.E001"]
    finally:
        settings.DATABASES = known


class Other:
    pass


@pytest.mark.parametrize(
    ("routers", "expected"),
    [
        ([], ["mtdd.E002"]),
        ([f"{__name__}.Other"], ["mtdd.E002"]),
        ([Other(), "mtdd_router.TenantRouter"], ["mtdd.W003"]),
        (["mtdd_router.routers.TenantRouter", Other()], []),
    ],
)
def test_the_router_comes_first(settings: Any, routers: Any, expected: Any) -> None:
    settings.DATABASE_ROUTERS = routers
    assert ids(checks.check_routers) == expected


@pytest.mark.parametrize(
    ("tenant_apps", "expected"),
    [
        ("auth", ["mtdd.E004"]),
        ([3], ["mtdd.E004"]),
        (None, ["mtdd.E004"]),
        ([], ["mtdd.E015"]),
        (["auth", "nothing.here"], ["mtdd.E005"]),
        (["tenants"], ["mtdd.E006"]),
        (["mtdd_router"], ["mtdd.E006"]),
        (["auth"], []),
        (["django.contrib.auth"], []),
        (("django.contrib.auth.apps.AuthConfig",), []),
    ],
)
def test_the_apps_are_installed_and_in_their_place(
    settings: Any, tenant_apps: Any, expected: Any
) -> None:
    settings.TENANT_APPS = tenant_apps
    assert ids(checks.check_apps) == expected


class NoRegistry:
    pass


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nothing.here", ["mtdd.E007"]),
        (f"{__name__}.NoRegistry", ["mtdd.E007"]),
        ("tenants.registry.DatabaseRegistry", []),
    ],
)
def test_the_registry_can_be_used(settings: Any, path: str, expected: Any) -> None:
    settings.MTDD_REGISTRY = path
    messages = found(checks.check_registry)
    assert [message_id for message_id, _ in messages] == expected
    assert all(path in text for _, text in messages)


def test_the_resolvers_can_be_loaded(settings: Any) -> None:
    settings.MTDD_RESOLVERS = ["nothing.here"]
    assert ids(checks.check_resolvers) == ["mtdd.E008"]
    settings.MTDD_RESOLVERS = ["mtdd_router.resolvers.HeaderResolver"]
    assert ids(checks.check_resolvers) == []


HEADER = ["mtdd_router.resolvers.HeaderResolver"]
SESSION = ["mtdd_router.resolvers.SessionResolver"]


@pytest.mark.parametrize(
    ("middleware", "resolvers", "tenant_apps", "expected"),
    [
        ([], [], [], []),
        ([], HEADER, [], ["mtdd.W012"]),
        ([TENANTS], HEADER, [], []),
        ([TENANTS, SESSIONS], SESSION, [], ["mtdd.E013"]),
        ([TENANTS], SESSION, [], ["mtdd.E013"]),
        ([SESSIONS, TENANTS], SESSION, [], []),
        ([SESSIONS, TENANTS], HEADER, ["sessions"], ["mtdd.E013"]),
        ([SESSIONS, TENANTS], SESSION, ["sessions"], ["mtdd.E013"]),
        ([TENANTS, SESSIONS], HEADER, ["sessions"], []),
        ([USERS, TENANTS], HEADER, ["auth"], ["mtdd.E013"]),
        ([TENANTS, USERS], HEADER, ["auth"], []),
    ],
)
def test_the_middleware_is_in_order(
    settings: Any, middleware: Any, resolvers: Any, tenant_apps: Any, expected: Any
) -> None:
    settings.MIDDLEWARE = middleware
    settings.MTDD_RESOLVERS = resolvers
    settings.TENANT_APPS = tenant_apps
    settings.SHARED_APPS = []
    assert ids(checks.check_middleware) == expected


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (True, 0),
        (False, 0),
        (["auth.User"], 0),
        ({"auth.User": False}, 0),
        ("auth.User", 1),
        (3, 1),
        (["auth.Nobody", "auth.User"], 1),
        ({"auth.User": "no"}, 1),
    ],
)
def test_the_switch_of_the_managers_names_models(settings: Any, value: Any, count: int) -> None:
    settings.MTDD_TENANT_MANAGERS = value
    assert ids(checks.check_tenant_managers) == ["mtdd.E009"] * count


@pytest.mark.parametrize(
    "name", ["CONNECT_TIMEOUT", "STATEMENT_TIMEOUT", "ROUTE_TTL", "DELETION_GRACE"]
)
@pytest.mark.parametrize("value", ["5", None, -1, True, float("nan"), float("inf")])
def test_durations_are_seconds(settings: Any, name: str, value: Any) -> None:
    setattr(settings, f"MTDD_{name}", value)
    ((message_id, text),) = found(checks.check_values)
    assert message_id == "mtdd.E010"
    assert f"MTDD_{name}" in text


def test_only_some_durations_can_be_zero(settings: Any) -> None:
    settings.MTDD_STATEMENT_TIMEOUT = settings.MTDD_ROUTE_TTL = 0
    settings.MTDD_DELETION_GRACE = 0
    assert ids(checks.check_values) == []
    settings.MTDD_CONNECT_TIMEOUT = 0
    assert ids(checks.check_values) == ["mtdd.E010"]


@pytest.mark.parametrize("value", ["64", None, 0, -1, True, 64.0])
def test_kept_connections_are_a_number(settings: Any, value: Any) -> None:
    settings.MTDD_KEPT_CONNECTIONS = value
    ((message_id, text),) = found(checks.check_values)
    assert message_id == "mtdd.E019"
    assert "MTDD_KEPT_CONNECTIONS" in text


def test_the_token_is_a_string_and_is_not_shown(settings: Any) -> None:
    settings.MTDD_SHARD_TOKEN = b"secret"
    ((message_id, text),) = found(checks.check_values)
    assert message_id == "mtdd.E011"
    assert "secret" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("/etc/ca.pem", "authorities, certificate, key"),
        ({"ca": "/etc/ca.pem"}, "authorities, certificate, key"),
        ({"authorities": "/nowhere/ca.pem"}, "cannot be used: .*No such file"),
        ({"certificate": __file__}, "cannot be used"),
    ],
)
def test_tls_names_files_that_can_be_used(settings: Any, value: object, text: str) -> None:
    settings.MTDD_SHARD_TLS = value
    ((message_id, said),) = found(checks.check_values)
    assert message_id == "mtdd.E018"
    assert re.search(text, said)


def test_tls_may_trust_the_systems_authorities(settings: Any) -> None:
    settings.MTDD_SHARD_TLS = {}
    assert ids(checks.check_values) == []


@isolate_apps("demo.flights")
def test_a_constraint_cannot_lead_to_a_table_in_another_database(settings: Any) -> None:
    settings.TENANT_APPS, settings.SHARED_APPS = ["flights", "auth"], ["auth", "admin"]

    class Shared(models.Model):
        class Meta:
            app_label = "admin"

    class InBoth(models.Model):
        to_shared = models.ForeignKey(Shared, models.CASCADE)

        class Meta:
            app_label = "auth"

    class OfTenant(models.Model):
        to_shared = models.ForeignKey(Shared, models.CASCADE)
        to_both = models.ForeignKey(InBoth, models.CASCADE)
        without = models.ForeignKey(Shared, models.CASCADE, db_constraint=False, related_name="+")

        class Meta:
            app_label = "flights"

    class SharedToTenant(models.Model):
        to_tenant = models.ForeignKey(OfTenant, models.CASCADE)

        class Meta:
            app_label = "admin"

    class Config:
        def get_models(self, include_auto_created: bool = False) -> list[Any]:
            return [Shared, InBoth, OfTenant, SharedToTenant]

    messages = list(checks.check_relations(app_configs=[Config()]))
    assert [(message.id, message.msg.partition(" ")[0]) for message in messages] == [
        ("mtdd.E014", "auth.InBoth.to_shared"),
        ("mtdd.E014", "flights.OfTenant.to_shared"),
        ("mtdd.E014", "admin.SharedToTenant.to_tenant"),
        ("mtdd.W017", "admin.SharedToTenant.to_tenant"),
    ]


@isolate_apps("demo.flights")
@pytest.mark.parametrize(
    ("tenant_apps", "on_delete", "expected"),
    [
        (["auth"], models.CASCADE, ["mtdd.W017"]),
        (["auth"], models.PROTECT, ["mtdd.W017"]),
        (["auth"], models.DO_NOTHING, []),
        (["auth", "admin"], models.CASCADE, []),
        ([], models.CASCADE, []),
    ],
)
def test_a_deletion_in_a_tenant_finds_every_table_that_it_looks_for(
    settings: Any, tenant_apps: list[str], on_delete: Any, expected: list[str]
) -> None:
    settings.TENANT_APPS, settings.SHARED_APPS = tenant_apps, ["auth", "admin"]

    class InBoth(models.Model):
        class Meta:
            app_label = "auth"

    class Log(models.Model):
        about = models.ForeignKey(InBoth, on_delete)

        class Meta:
            app_label = "admin"

    class Config:
        def get_models(self, include_auto_created: bool = False) -> list[Any]:
            return [InBoth, Log]

    messages = checks.check_relations(app_configs=[Config()])
    assert [message.id for message in messages] == expected
