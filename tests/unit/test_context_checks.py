"""The system checks of how the tenant follows the work."""

from typing import Any

import django
import pytest

from mtdd_router import context_checks
from mtdd_router.databases import Databases


def ids(check: Any) -> list[str | None]:
    messages = list(check(app_configs=None, databases=None))
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


@pytest.mark.parametrize(
    ("value", "expected"), [(True, []), (False, []), ("yes", ["mtdd.E040"]), (None, ["mtdd.E040"])]
)
def test_whether_requests_are_locked_is_a_bool(settings: Any, value: Any, expected: Any) -> None:
    settings.MTDD_LOCK_REQUESTS = value
    assert ids(context_checks.check_requests) == expected


def test_what_the_middleware_does_needs_the_middleware(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIDDLEWARE = []
    assert ids(context_checks.check_requests) == []
    settings.MTDD_LOCK_REQUESTS = True
    assert ids(context_checks.check_requests) == ["mtdd.W041"]
    settings.MTDD_LOCK_REQUESTS = False
    assert isinstance(settings.DATABASES, Databases)
    monkeypatch.setitem(settings.DATABASES.template, "ATOMIC_REQUESTS", True)
    assert ids(context_checks.check_requests) == ["mtdd.W041"]
    settings.MIDDLEWARE = ["mtdd_router.TenantMiddleware"]
    assert ids(context_checks.check_requests) == []


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 has tasks first")
def test_a_task_backend_that_runs_tasks_elsewhere_has_to_know_tenants(settings: Any) -> None:
    from django.tasks.backends.base import BaseTaskBackend

    from mtdd_router.task_backends import TenantTasks

    global Unaware, Aware

    class Unaware(BaseTaskBackend): ...

    class Aware(TenantTasks, BaseTaskBackend): ...

    for path, expected in {
        "django.tasks.backends.immediate.ImmediateBackend": [],
        "django.tasks.backends.dummy.DummyBackend": [],
        f"{__name__}.Unaware": ["mtdd.W042"],
        f"{__name__}.Aware": [],
        "no.such.Backend": [],
    }.items():
        settings.TASKS = {"default": {"BACKEND": path}}
        assert ids(context_checks.check_task_backends) == expected
