"""The registry's system checks."""

from django.db import connections
from django.test import override_settings

from tenants import checks


def test_a_sound_configuration_has_nothing_to_say():
    assert checks.check_placement() == []
    assert checks.check_database() == []


def test_a_registry_among_the_tenant_apps_is_refused():
    with override_settings(TENANT_APPS=["django.contrib.auth", "tenants"]):
        (message,) = checks.check_placement()
    assert message.id == "tenants.E001"
    assert "SHARED_APPS" in message.hint


def test_a_registry_on_another_database_than_postgresql_is_refused(monkeypatch):
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    (message,) = checks.check_database()
    assert message.id == "tenants.E002"
    assert "sqlite" in message.msg


def test_names_are_looked_at_only_if_the_database_may_be_asked():
    assert checks.check_names(databases=None) == []
    assert checks.check_names(databases=["other"]) == []
