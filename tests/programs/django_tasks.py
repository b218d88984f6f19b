"""Tasks of Django's framework, two backends that know tenants, and a worker of one of them.

    python -m tests.programs.django_tasks FOLDER

does the tasks in the folder, in the order in which they were enqueued, and prints what they
returned.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    import django
    from django.conf import settings

    settings.TASKS = {
        "default": {"BACKEND": "tests.programs.django_tasks.Immediately"},
        "folder": {
            "BACKEND": "tests.programs.django_tasks.Folder",
            "OPTIONS": {"folder": sys.argv[1]},
        },
        "plain": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"},
    }
    django.setup()
    # By its name, as the backends are.
    from tests.programs.django_tasks import work

    work(sys.argv[1])
    raise SystemExit

from django.tasks import task
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.backends.immediate import ImmediateBackend
from django.utils.module_loading import import_string

from mtdd_router.task_backends import TenantTasks

numbers = itertools.count()


class Immediately(TenantTasks, ImmediateBackend):
    pass


class Folder(TenantTasks, BaseTaskBackend):
    """Writes tasks into a folder, for another process."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> None:
        self.validate_task(task)
        path = Path(self.options["folder"]) / f"{next(numbers):04}.json"
        path.write_text(json.dumps([task.module_path, args, kwargs]))


def work(folder: str) -> None:
    done = []
    for path in sorted(Path(folder).glob("*.json")):
        name, args, kwargs = json.loads(path.read_text())
        done.append(import_string(name).call(*args, **kwargs))
    print(json.dumps(done))


def found() -> list[str | None]:
    from django.contrib.auth.models import User

    from mtdd_router import current_tenant

    name = User.objects.filter(id=1).values_list("username", flat=True).first()
    return [current_tenant(), name and name.removeprefix("of-")]


@task
def whose(a: int, b: int) -> list[Any]:
    return [a, b, *found()]


@task
async def whose_async() -> list[Any]:
    from asgiref.sync import sync_to_async

    return await sync_to_async(found)()


@task(takes_context=True)
def two_of_whose(context: Any) -> list[Any]:
    assert context.attempt == 1
    return [found(), found()]


@task
def fails() -> None:
    found()
    raise ZeroDivisionError
