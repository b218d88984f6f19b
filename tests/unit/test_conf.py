"""The typed settings."""

from typing import Any

import pytest
from django.test import override_settings

from mtdd_router.conf import app_labels, mtdd_settings


@pytest.mark.parametrize(
    "entry", ["auth", "django.contrib.auth", "django.contrib.auth.apps.AuthConfig"]
)
def test_an_app_is_named_by_label_path_or_config(entry: str) -> None:
    assert app_labels([entry]) == {"auth"}


def test_what_is_not_installed_is_left_out() -> None:
    assert app_labels(["nothing.here"]) == frozenset()


def test_the_lists_follow_override_settings() -> None:
    with override_settings(TENANT_APPS=["admin"], SHARED_APPS=["auth"]):
        assert mtdd_settings.tenant_apps == {"admin"}
        assert mtdd_settings.is_tenant_app("admin")
        assert not mtdd_settings.is_shared_app("admin")
        assert mtdd_settings.is_shared_app("auth")
        assert mtdd_settings.is_shared_app("sessions"), "an app in neither list is shared"
    assert not mtdd_settings.is_tenant_app("tenants")


def test_values_are_read_when_they_are_accessed(settings: Any) -> None:
    assert mtdd_settings.route_ttl == 60.0
    settings.MTDD_ROUTE_TTL = 3.0
    assert mtdd_settings.route_ttl == 3.0


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert mtdd_settings.registry == "tenants.registry.DatabaseRegistry"
    assert mtdd_settings.connect_timeout == 5.0
    assert mtdd_settings.statement_timeout == 0.0
    assert mtdd_settings.deletion_grace == 7 * 24 * 3600
    assert mtdd_settings.shard_token == ""
    assert mtdd_settings.tenant_managers is True


def test_aliases_are_static_raw_or_tenants(settings: Any) -> None:
    assert list(mtdd_settings.static_aliases) == ["default"]
    assert mtdd_settings.is_tenant_alias("abc")
    assert not mtdd_settings.is_tenant_alias("default")
    assert not mtdd_settings.is_tenant_alias("A")
    assert not mtdd_settings.is_raw_alias("default")
