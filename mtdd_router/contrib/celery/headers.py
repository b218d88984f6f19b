"""The header of a task's message that names its tenant.

Whoever publishes a task puts the tenant of the running work there, whether by ``delay``,
in a chain, group or chord, from a retry or from beat. A worker runs the task in that tenant
until Celery is done with it, so that what the task's end publishes (the next of a chain, a
chord's body, callbacks) follows. Invariants: a worker's task has the tenant of its message and
no other, none included; whatever comes after it has none, also after an exception. An eager
task is part of the work that calls it.
"""

import logging
from typing import Any, Final

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import TenantScope, current_tenant
from mtdd_router.errors import InvalidTenantName

__all__ = ["HEADER", "watch"]

logger = logging.getLogger("mtdd_router.contrib.celery")

HEADER: Final = "mtdd_tenant"
"""The header's name."""

_SCOPE: Final = "mtdd_scope"
# No tenant can have this name, so every query on a tenant's model fails, and says so.
_NOBODY: Final = "(the header of this task's message is wrong)"


def watch() -> None:
    """Connect Celery's signals, once for the process."""
    from celery import signals

    for signal, receiver in (
        (signals.before_task_publish, name_tenant),
        (signals.task_prerun, enter_tenant),
        (signals.task_postrun, leave_tenant),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"{__name__}.{receiver.__name__}")


def name_tenant(*, headers: dict[str, Any], **_: Any) -> None:
    """Put the running work's tenant into the headers of a task that is being published.

    A header that is there already stays if the work has no tenant: a message that is sent
    on is as it was.
    """
    tenant = current_tenant()
    if tenant is not None:
        headers[HEADER] = tenant


def enter_tenant(*, task: Any, **_: Any) -> None:
    """Enter the tenant that the message of a task names."""
    request = task.request
    if request.is_eager:
        return
    scope = TenantScope(_named_by(request, task.name))
    scope.__enter__()
    setattr(request, _SCOPE, scope)


def leave_tenant(*, task: Any, **_: Any) -> None:
    """Leave the tenant of a task that has ended, however it did."""
    scope: TenantScope | None = getattr(task.request, _SCOPE, None)
    if scope is not None:
        scope.__exit__(None, None, None)


def _named_by(request: Any, task: str) -> str | None:
    named = request.get(HEADER)
    if named is None:
        return None
    try:
        return mtdd_settings.check_tenant_name(named)
    except InvalidTenantName as exc:
        # What a signal's receiver raises, Celery only logs, and runs the task.
        logger.error(  # noqa: TRY400 - where it was raised tells nothing
            "The task %s cannot query any tenant: its header is wrong: %s", task, exc
        )
        return _NOBODY
