"""Tasks of Django's framework run in the tenant that enqueued them; for Django 6.0 and newer.

A task's arguments are all that each backend is sure to hand to its worker, so the tenant
travels among them, and the task itself takes it out again. Invariants: the function never
sees it; a task that was enqueued without a tenant runs without one, whatever the worker did
before; after a task the worker has the tenant that it had before it.
"""

from typing import Any, Final

from django.tasks.base import Task
from django.tasks.exceptions import InvalidTask

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import TenantScope, current_tenant

__all__ = ["KEY", "TenantTask", "TenantTasks"]

KEY: Final = "mtdd_tenant"
"""The keyword argument that carries the tenant."""


class TenantTask(Task):  # type: ignore[type-arg]  # it is generic in the stubs only
    """A task that knows the tenant of who enqueues it."""

    __slots__ = ()

    def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        """Queue the task, for the tenant of now."""
        return super().enqueue(*args, **{**kwargs, KEY: current_tenant()})

    async def aenqueue(self, *args: Any, **kwargs: Any) -> Any:
        """Queue the task, for the tenant of now."""
        return await super().aenqueue(*args, **{**kwargs, KEY: current_tenant()})

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, as a worker does, in its tenant."""
        with _scope_in(kwargs):
            return super().call(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, as a worker does, in its tenant."""
        with _scope_in(kwargs):
            return await super().acall(*args, **kwargs)


class TenantTasks:
    """Makes the tasks of a backend know their tenant; put it before the backend's class.

    ::

        class Backend(TenantTasks, DatabaseBackend): ...


        TASKS = {"default": {"BACKEND": "shop.tasks.Backend"}}
    """

    task_class = TenantTask

    def validate_task(self, task: "Task[Any, Any]") -> None:
        """Refuse a task that would lose its tenant here.

        Raises:
            InvalidTask: if it was declared for a backend that knows no tenants.
        """
        if not isinstance(task, TenantTask):
            raise InvalidTask(
                f"{task.module_path} was declared for a backend without TenantTasks and would run "
                "in no tenant. Name this backend in @task(backend=...)."
            )
        super().validate_task(task)  # type: ignore[misc]


def _scope_in(kwargs: dict[str, Any]) -> TenantScope:
    """Take the tenant out of a task's arguments; return its block.

    Raises:
        InvalidTenantName: if no tenant can have that name.
    """
    named = kwargs.pop(KEY, None)
    return TenantScope(None if named is None else mtdd_settings.check_tenant_name(named))
