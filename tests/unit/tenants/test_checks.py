"""The registry's system checks."""

from pathlib import Path

import pytest
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


@pytest.mark.parametrize("root", ["archives", Path("archives"), 5])
def test_archives_go_to_an_absolute_path(root):
    with override_settings(MTDD_ARCHIVE_ROOT=root):
        (message,) = checks.check_jobs()
    assert message.id == "tenants.E004"


def test_jobs_need_neither_archives_nor_tasks():
    assert list(checks.check_jobs()) == []
    with override_settings(MTDD_ARCHIVE_ROOT="/srv/archives", MTDD_TASK_BACKEND=""):
        assert list(checks.check_jobs()) == []


def test_the_task_backend_is_one_of_tasks():
    with override_settings(MTDD_TASK_BACKEND="tenants"):
        (message,) = checks.check_jobs()
        assert message.id == "tenants.E005"
        with override_settings(TASKS={"tenants": {"BACKEND": "some.Backend"}}):
            assert list(checks.check_jobs()) == []
