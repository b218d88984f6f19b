"""System checks of how the tenant follows the work.

    mtdd.E040  MTDD_LOCK_REQUESTS is no bool
    mtdd.W041  requests are to be locked or transactions, but TenantMiddleware is not used
    mtdd.W042  a backend of TASKS loses the tenant

Invariants: a check never raises for a wrong setting, and never queries a database.
"""

from collections.abc import Iterator
from typing import Any, Final

import django
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from mtdd_router.conf import mtdd_settings
from mtdd_router.middleware import TenantMiddleware
from mtdd_router.settings_entries import position_in

__all__ = ["run_checks"]

# They run a task where it is enqueued, or never.
_RUN_NOWHERE_ELSE: Final = frozenset(
    {
        "django.tasks.backends.dummy.DummyBackend",
        "django.tasks.backends.immediate.ImmediateBackend",
    }
)


def run_checks(**options: Any) -> Iterator[CheckMessage]:
    """Run every check of this module."""
    for check in (check_requests, check_task_backends):
        yield from check(**options)


def check_requests(**_: Any) -> Iterator[CheckMessage]:
    """What is said about requests is right, and there is who does it."""
    locks: object = mtdd_settings.lock_requests
    if not isinstance(locks, bool):
        yield Error(
            f"MTDD_LOCK_REQUESTS = {locks!r} is wrong.",
            hint="Use True to let no request leave its tenant, or False.",
            id="mtdd.E040",
        )
    wanted = [
        name
        for name, value in (
            ("MTDD_LOCK_REQUESTS", locks),
            ("databases(tenant={'ATOMIC_REQUESTS': ...})", mtdd_settings.atomic_requests),
        )
        if value
    ]
    if wanted and position_in("MIDDLEWARE", TenantMiddleware) is None:
        yield checks.Warning(
            f"{' and '.join(wanted)} is set, but TenantMiddleware is not used, so it does nothing.",
            hint='Add "mtdd_router.TenantMiddleware" to MIDDLEWARE.',
            id="mtdd.W041",
        )


def check_task_backends(**_: Any) -> Iterator[CheckMessage]:
    """Tasks that run elsewhere have a tenant there."""
    if django.VERSION < (6, 0):
        return
    # Imported late: it needs a Django that has tasks.
    from mtdd_router.task_backends import TenantTasks

    configured: object = getattr(settings, "TASKS", {})
    for alias, params in configured.items() if isinstance(configured, dict) else ():
        path = params.get("BACKEND", "") if isinstance(params, dict) else ""
        try:
            backend = import_string(path)
        except ImportError:
            continue  # Django itself says so.
        aware = isinstance(backend, type) and issubclass(backend, TenantTasks)
        if path not in _RUN_NOWHERE_ELSE and not aware:
            yield checks.Warning(
                f"The tasks of TASKS[{alias!r}] run without the tenant that enqueued them.",
                hint="Derive a backend: class Backend(mtdd_router.task_backends.TenantTasks, "
                f"{path.rpartition('.')[2]}), and name that one there.",
                id="mtdd.W042",
            )
