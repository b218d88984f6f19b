"""The tenant of the running work.

Invariants: one ContextVar holds the tenant, so threads and async tasks never see each
other's; only context managers change it, and each puts back what was there, also
after an exception. A second one says whether maintenance is allowed, which is never
a request's business.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar, cast

from mtdd_router.conf import mtdd_settings

__all__ = ["current_tenant", "maintenance", "maintenance_active", "tenant_context"]

P = ParamSpec("P")
R = TypeVar("R")

_tenant: Final[ContextVar[str | None]] = ContextVar("mtdd_tenant", default=None)
_maintenance: Final[ContextVar[bool]] = ContextVar("mtdd_maintenance", default=False)


def current_tenant() -> str | None:
    """Return the name of the running work's tenant, or None."""
    return _tenant.get()


class TenantScope:
    """A block whose tenant is exactly what it was given, None included.

    For the middleware: a request without a tenant must not inherit one.
    """

    __slots__ = ("_token", "name")

    def __init__(self, name: str | None) -> None:
        self.name = name
        self._token: Token[str | None] | None = None

    def __enter__(self) -> str | None:
        if self._token is not None:
            raise RuntimeError("This tenant context is entered already; make a new one.")
        self._token = _tenant.set(self.name)
        return self.name

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token, self._token = self._token, None
        if token is not None:
            _tenant.reset(token)


class tenant_context(TenantScope):  # noqa: N801 - used like a function
    """Run a block, a function or a coroutine function in a tenant.

    ::

        with tenant_context("abc"):
            User.objects.get(id=123)


        @tenant_context("abc")
        async def job(): ...

    Whether the tenant exists is found out at its first query.

    Raises:
        InvalidTenantName: at once, if *name* cannot name a tenant.
    """

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(mtdd_settings.check_tenant_name(name))

    def __enter__(self) -> str:
        return cast(str, super().__enter__())

    def _again(self) -> Self:
        return type(self)(cast(str, self.name))

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"tenant_context cannot decorate the generator {function.__qualname__}: the tenant "
                "would leak to its caller between two items. Decorate what consumes it."
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> object:
                with self._again():
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], run_async)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._again():
                return function(*args, **kwargs)

        return run


@contextmanager
def maintenance() -> Iterator[None]:
    """Allow statements on tenants that are not active: for provisioning and repair."""
    token = _maintenance.set(True)
    try:
        yield
    finally:
        _maintenance.reset(token)


def maintenance_active() -> bool:
    """Return whether the running work is maintenance."""
    return _maintenance.get()
