"""Threads that know the tenant of whoever started them.

Python's own threads start without a context, and so without a tenant: a query there
raises `TenantRequired`. Invariants: only the tenant and the lock to it go along; work
leaves no tenant behind in a thread of a pool, and no connection open that Django would
not keep either.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from django.db import close_old_connections, connections

from mtdd_router.context import TenantScope, current_tenant, locked_tenant

__all__ = ["TenantThread", "TenantThreadPoolExecutor"]

P = ParamSpec("P")
R = TypeVar("R")


class TenantThread(Thread):
    """A thread that runs in the tenant in which it was started, and then closes its connections.

    It takes the arguments of `threading.Thread`, and a subclass may override `run` as well.
    """

    def start(self) -> None:
        """Start the thread, in the tenant of now."""
        run, scope = self.run, _scope_of_now()

        def run_in_tenant() -> None:
            try:
                with scope:
                    run()
            finally:
                connections.close_all()

        self.run = run_in_tenant  # type: ignore[method-assign]
        super().start()


class TenantThreadPoolExecutor(ThreadPoolExecutor):
    """A pool of threads that does each piece of work in the tenant in which it was submitted.

    After each, connections are closed that Django would close at the end of a request.
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit ``fn(*args, **kwargs)``, to be run in the tenant of now."""
        return super().submit(_do, _scope_of_now(), fn, args, kwargs)


def _scope_of_now() -> TenantScope:
    return TenantScope(current_tenant(), locked=locked_tenant() is not None)


def _do(
    scope: TenantScope, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> R:
    try:
        with scope:
            return function(*args, **kwargs)
    finally:
        close_old_connections()
