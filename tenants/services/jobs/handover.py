"""Jobs for the workers of a project that has its own: Django's tasks framework.

A task carries the number of a job, and nothing else: what is to be done, and what became
of it, stands in the registry. So `run_jobs` and a project's workers can be there together.
"""

from typing import Any, Final

import django

from mtdd_router.conf import mtdd_settings

__all__ = ["TASKS_AVAILABLE", "hand_over"]

TASKS_AVAILABLE: Final = django.VERSION >= (6, 0)


def hand_over(job: int) -> bool:
    """Enqueue the job of that number where another process does it; return whether it is.

    Raises:
        Exception: whatever the project's queue raises.
    """
    alias = mtdd_settings.task_backend
    if not TASKS_AVAILABLE or not alias:
        return False
    from django.tasks import task_backends

    if alias not in task_backends.settings or not _runs_elsewhere(task_backends[alias]):
        return False
    # Imported late: the task is of this backend, and is checked to fit it.
    from tenants.services.jobs.task import run_job

    run_job.using(backend=alias).enqueue(job)
    return True


def _runs_elsewhere(backend: Any) -> bool:
    """Whether it neither does a task in the request, nor leaves it undone."""
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend

    return not isinstance(backend, (DummyBackend, ImmediateBackend))
