"""Tasks of Django's framework run in the tenant that enqueued them, wherever they run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.db import connections

from mtdd_router import current_tenant, tenant_context

if django.VERSION < (6, 0):
    pytest.skip("Django 6.0 has tasks first", allow_module_level=True)

from django.tasks import task, task_backends
from django.tasks.exceptions import InvalidTask
from django.test import override_settings

pytestmark = pytest.mark.usefixtures("two_tenants")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def tasks(folder: Path) -> Iterator[Any]:
    """The project's tasks, declared where the settings name the backends."""
    backends = {
        "default": {"BACKEND": "tests.programs.django_tasks.Immediately"},
        "folder": {
            "BACKEND": "tests.programs.django_tasks.Folder",
            "OPTIONS": {"folder": str(folder)},
        },
        "plain": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"},
    }
    with override_settings(TASKS=backends):
        from tests.programs import django_tasks

        yield django_tasks


def test_a_task_runs_in_the_tenant_that_enqueued_it(tasks: Any) -> None:
    whose = tasks.whose
    for name in ("abc", "xyz"):
        with tenant_context(name):
            assert whose.enqueue(1, b=2).return_value == [1, 2, name, name]
            assert tasks.whose_async.enqueue().return_value == [name, name]
            assert tasks.two_of_whose.enqueue().return_value == [[name, name]] * 2
    assert whose.enqueue(1, b=2).return_value == [1, 2, None, None]
    assert current_tenant() is None


def test_a_task_that_fails_leaves_nothing_behind(tasks: Any) -> None:
    with tenant_context("abc"):
        result = tasks.fails.enqueue()
        assert current_tenant() == "abc"
    assert result.errors[0].exception_class is ZeroDivisionError
    assert current_tenant() is None


def test_a_worker_in_another_process_runs_each_task_in_its_own_tenant(
    tasks: Any, folder: Path
) -> None:
    expected = []
    for number, name in enumerate(("abc", None, "xyz", "abc")):
        if name is None:
            tasks.whose.using(backend="folder").enqueue(number, b=0)
        else:
            with tenant_context(name):
                tasks.whose.using(backend="folder").enqueue(number, b=0)
        expected.append([number, 0, name, name])
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "MTDD_TEST_REGISTRY_NAME": str(connections["default"].settings_dict["NAME"]),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "programs"))),
    }
    command = [sys.executable, "-m", "tests.programs.django_tasks", str(folder)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def unaware() -> None: ...


def test_a_task_that_would_lose_its_tenant_is_refused(tasks: Any) -> None:
    declared = task(backend="plain")(unaware)
    with tenant_context("abc"), pytest.raises(InvalidTask, match=r"unaware.*in no tenant"):
        declared.using(backend="default").enqueue()
    assert task_backends["plain"].task_class is not task_backends["default"].task_class
