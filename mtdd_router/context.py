"""The tenant of the running work.

Invariants: one ContextVar holds the tenant, and whether the work is locked to it, so
threads and async tasks never see each other's; only context managers change it, and
each puts back what was there, also after an exception. Work that is locked to a tenant
enters no other. A second variable says whether maintenance is allowed, which is never a
request's business.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, ParamSpec, Self, TypeVar, cast

from asgiref.sync import markcoroutinefunction

from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import TenantLocked, TenantRequired

__all__ = [
    "Carried",
    "ResumedScope",
    "TenantScope",
    "atomic_tenant",
    "carried_into",
    "current_tenant",
    "in_current_tenant",
    "lift_tenant_lock",
    "locked_tenant",
    "maintenance",
    "maintenance_active",
    "tenant_context",
    "tenant_lock",
]

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("mtdd_router.context")


class _Work(NamedTuple):
    """What is known of the running work.

    Attributes:
        tenant: the name of its tenant, or None.
        locked: whether it may enter no other tenant.
        atomic: says whether the view of its request is to be a transaction of the tenant.
    """

    tenant: str | None = None
    locked: bool = False
    atomic: Callable[[], bool] | None = None


_work: Final[ContextVar[_Work]] = ContextVar("mtdd_work", default=_Work())  # noqa: B039 - it cannot be changed
_maintenance: Final[ContextVar[bool]] = ContextVar("mtdd_maintenance", default=False)


def current_tenant() -> str | None:
    """Return the name of the running work's tenant, or None."""
    return _work.get().tenant


def locked_tenant() -> str | None:
    """Return the name of the tenant that the running work cannot leave, or None."""
    work = _work.get()
    return work.tenant if work.locked else None


def atomic_tenant() -> str | None:
    """Return the tenant in which the request's view is to be one transaction, or None."""
    work = _work.get()
    return work.tenant if work.atomic is not None and work.atomic() else None


class _Scope:
    """A block of which something else is known than of what is around it."""

    __slots__ = ("_before", "_token", "_work")

    def __init__(self) -> None:
        self._token: Token[_Work] | None = None
        self._before = self._work = _work.get()

    def _begin(self, work: _Work) -> None:
        if self._token is not None:
            raise RuntimeError("This tenant context is entered already; make a new one.")
        self._before, self._work = _work.get(), work
        self._token = _work.set(work)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token, self._token = self._token, None
        if token is None:
            return
        try:
            _work.reset(token)
        except ValueError:
            # A generator that was left half way is closed by somebody else: in whose context
            # nothing was changed, unless it was resumed there.
            if _work.get() is self._work:
                _work.set(self._before)


class TenantScope(_Scope):
    """A block whose tenant is exactly what it was given, None included, whatever is around it.

    For where work begins, such as the middleware: a request without a tenant must not inherit
    one, and what an earlier one was locked to is none of its business.

    Args:
        name: the tenant's name, or None.
        locked: whether the block may enter no other tenant.
        atomic: says whether the request's view is to be a transaction of the tenant.
    """

    __slots__ = ("_atomic", "_locked", "name")

    def __init__(
        self,
        name: str | None,
        *,
        locked: bool = False,
        atomic: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self._locked = locked and name is not None
        self._atomic = atomic

    def __enter__(self) -> str | None:
        self._begin(_Work(self.name, self._locked, self._atomic))
        return self.name


class ResumedScope:
    """A block that is left and entered again, as of now and then as it was left.

    For what works in steps, such as the content of a response: a block in it that is entered
    in one step and left in another is its own, and nobody's between them.
    """

    __slots__ = ("_mine",)

    def __init__(self) -> None:
        self._mine = _work.get()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a block where the last one ended."""
        token = _work.set(self._mine)
        try:
            yield
        finally:
            self._mine = _work.get()
            _work.reset(token)


class tenant_context(_Scope):  # noqa: N801 - used like a function
    """Run a block, a function or a coroutine function in a tenant.

    ::

        with tenant_context("abc"):
            User.objects.get(id=123)


        @tenant_context("abc")
        async def job(): ...

    Whether the tenant exists is found out at its first query.

    Raises:
        InvalidTenantName: at once, if *name* cannot name a tenant.
        TenantLocked: where it is entered, if the running work is locked to another.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = mtdd_settings.check_tenant_name(name)

    def __enter__(self) -> str:
        self._begin(_Work(self.name, _may_enter(self.name)))
        return self.name

    def _again(self) -> Self:
        return type(self)(self.name)

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


class tenant_lock(_Scope):  # noqa: N801 - used like a function
    """Run a block in a tenant that it cannot leave.

    Until its end, naming another tenant raises `TenantLocked`: a ``tenant_context`` where it
    is entered, a query or statement before it is sent, however the other was named, and
    whenever its connection or cursor was opened.

    Args:
        name: the tenant's name; by default the one of the running work.

    Raises:
        TenantRequired: without a name, if there is none.
        InvalidTenantName: if *name* cannot name a tenant.
        TenantLocked: if the running work is locked to another.
    """

    __slots__ = ("name",)

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self.name = None if name is None else mtdd_settings.check_tenant_name(name)

    def __enter__(self) -> str:
        name = self.name or current_tenant()
        if name is None:
            raise TenantRequired("tenant_lock() needs a tenant: name it, as in tenant_lock(name).")
        _may_enter(name)
        self._begin(_Work(name, locked=True))
        return name


class lift_tenant_lock(_Scope):  # noqa: N801 - used like a function
    """Let a block name other tenants although its request is locked to one.

    For operators' code, such as a page that shows support staff another customer. It is
    logged, with the reason.

    Args:
        reason: why that is right here, for whoever reads the code or the log.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        super().__init__()
        if not isinstance(reason, str) or not reason.strip():
            raise TypeError("lift_tenant_lock() needs a reason, as a sentence.")
        self.reason = reason

    def __enter__(self) -> None:
        work = _work.get()
        if work.locked:
            logger.info("The lock to tenant %r is lifted: %s", work.tenant, self.reason)
        self._begin(_Work(work.tenant))


def _may_enter(name: str) -> bool:
    """Return whether the running work is locked, to *name* itself.

    Raises:
        TenantLocked: if it is locked to another.
    """
    work = _work.get()
    if work.locked and work.tenant != name:
        raise TenantLocked.to(str(work.tenant), name)
    return work.locked


class Carried(Generic[P, R]):
    """A function that runs in a tenant, or in none, wherever and whenever it is called.

    It can be called by several threads at once, and pickled if the function can.

    Raises:
        TenantLocked: when it is called by work that is locked to another tenant.
    """

    def __init__(
        self, function: Callable[P, R], tenant: str | None, *, locked: bool = False
    ) -> None:
        self.function = function
        self.tenant = tenant
        self.locked = locked
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            # What has no name of its own, such as a partial, has that of its class.
            fallback = getattr(type(function), name, None)
            setattr(self, name, getattr(function, name, fallback))
        if inspect.iscoroutinefunction(function):
            markcoroutinefunction(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if inspect.iscoroutinefunction(self.function):
            return cast(R, self._run_async(*args, **kwargs))
        with self._scope():
            return self.function(*args, **kwargs)

    async def _run_async(self, *args: Any, **kwargs: Any) -> Any:
        with self._scope():
            return await cast(Any, self.function)(*args, **kwargs)

    def _scope(self) -> TenantScope:
        locked = self.locked
        if (lock := locked_tenant()) is not None:
            if lock != self.tenant:
                raise TenantLocked.to(lock, self.tenant)
            locked = True
        return TenantScope(self.tenant, locked=locked)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), locked=self.locked), (self.function, self.tenant)


def in_current_tenant(function: Callable[P, R]) -> Callable[P, R]:
    """Return *function*, to be run in the tenant of now, wherever and whenever it is called.

    For what is called later, or by a thread that knows no tenant::

        transaction.on_commit(in_current_tenant(notify))
        threading.Timer(60, in_current_tenant(expire)).start()

    A lock to the tenant goes along; that there is no tenant does, too.
    """
    work = _work.get()
    return Carried(function, work.tenant, locked=work.locked)


def carried_into(tenant: str, function: Callable[P, R]) -> Callable[P, R]:
    """Return *function*, to be run in *tenant*, wherever and whenever it is called."""
    return Carried(function, tenant, locked=locked_tenant() == tenant)


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
