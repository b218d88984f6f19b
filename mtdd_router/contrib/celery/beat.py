"""Periodic tasks for every tenant.

Invariant: Celery's beat publishes one message, whatever the number of tenants; a worker
publishes the others, so that beat keeps its time. Nothing here needs Django's settings,
so that they can use it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["FAN_OUT", "every_tenant"]

FAN_OUT: Final = "mtdd_router.for_each_tenant"
"""The name of the task that publishes another for each tenant."""


def every_tenant(
    task: str,
    schedule: Any,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an entry of CELERY_BEAT_SCHEDULE that runs *task* once for each active tenant.

    Args:
        task: the task's name, such as ``"shop.tasks.send_reports"``.
        schedule: as in any entry: a crontab, a timedelta, or seconds.
        args: the task's arguments, the same for all tenants.
        kwargs: likewise.
        options: for ``apply_async`` of each, such as ``{"queue": "slow"}``.
    """
    return {
        "task": FAN_OUT,
        "schedule": schedule,
        "kwargs": {
            "task": task,
            "args": list(args),
            "kwargs": dict(kwargs or {}),
            "options": dict(options or {}),
        },
    }
