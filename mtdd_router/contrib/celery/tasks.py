"""The task behind `every_tenant`; Celery finds it here."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from celery import current_app, shared_task

from mtdd_router.context import TenantScope
from mtdd_router.contrib.celery.beat import FAN_OUT
from mtdd_router.directory import load_registry
from mtdd_router.types import TenantState

__all__ = ["for_each_tenant"]

logger = logging.getLogger("mtdd_router.contrib.celery")


@shared_task(name=FAN_OUT)  # type: ignore[untyped-decorator, unused-ignore]
def for_each_tenant(
    task: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Publish *task* once for each active tenant, in that tenant; return how many there are.

    It is not tried again by itself: the tenants that had been given the task would get it twice.

    Raises:
        Exception: the broker's, with a note of how many tenants were given the task.
    """
    active = [r.tenant for r in load_registry().routes() if r.state is TenantState.ACTIVE]
    signature = current_app.signature(task, args=args, kwargs=kwargs, **(options or {}))
    published = 0
    try:
        with current_app.producer_or_acquire() as producer:
            for tenant in active:
                with TenantScope(tenant):
                    signature.apply_async(producer=producer)
                published += 1
    except Exception as exc:
        exc.add_note(f"{published} of {len(active)} tenants had been given the task {task}.")
        raise
    logger.info("Published the task %s for %d tenants.", task, published)
    return published
