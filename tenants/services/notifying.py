"""Sending the signals of a tenant's life (``tenants.signals``).

Invariant: a receiver can refuse an operation before it begins, or undo the creation that
it belongs to, and nothing else; how a receiver of a ``post_`` signal fails reaches whoever
collects such failures, and the log, which Django writes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from tenants import signals
from tenants.errors import OperationRefused
from tenants.models import Tenant
from tenants.services.migrating.aliases import migrating_connection
from tenants.signals import TenantSignal

__all__ = [
    "InitialData",
    "ask",
    "collected_failures",
    "has_initial_data",
    "receiver_path",
    "tell",
    "write_initial_data",
]

InitialData = Callable[[Tenant], object]
"""Writes the first rows of a tenant, in its context."""

_failures: Final[ContextVar[list[str] | None]] = ContextVar("tenants_failures", default=None)


def ask(signal: TenantSignal, name: str, **details: Any) -> None:
    """Send a ``pre_`` signal about the tenant *name*.

    Raises:
        OperationRefused: if a receiver raises anything.
    """
    try:
        signal.send(Tenant, name=name, **details)
    except Exception as exc:
        raise OperationRefused(
            f"Nothing was done with tenant {name!r}: a receiver of {signal.name} refused, with "
            f"{type(exc).__name__}: {exc}"
        ) from exc


def tell(signal: TenantSignal, name: str, **details: Any) -> None:
    """Send a ``post_`` signal about the tenant *name*; what receivers raise is collected."""
    collected = _failures.get()
    for receiver, answer in signal.send_robust(Tenant, name=name, **details):
        if isinstance(answer, Exception) and collected is not None:
            collected.append(
                f"It is done, but {receiver_path(receiver)}, a receiver of {signal.name}, failed "
                f"for tenant {name!r}: {type(answer).__name__}: {answer}"
            )


def has_initial_data(own: InitialData | None) -> bool:
    """Whether anybody writes first rows of new tenants, or *own* does of this one."""
    return own is not None or signals.initial_data.has_listeners(Tenant)


def write_initial_data(tenant: Tenant, own: InitialData | None = None) -> None:
    """Let receivers, and then *own*, write the first rows of a tenant that is being created.

    Raises:
        Exception: whatever one of them raises.
    """
    if has_initial_data(own):
        with migrating_connection(tenant.name):
            signals.initial_data.send(Tenant, name=tenant.name, tenant=tenant)
            if own is not None:
                own(tenant)


@contextmanager
def collected_failures() -> Iterator[list[str]]:
    """Collect, in sentences, how receivers of ``post_`` signals fail in this block."""
    collected: list[str] = []
    token = _failures.set(collected)
    try:
        yield collected
    finally:
        _failures.reset(token)


def receiver_path(receiver: Callable[..., Any]) -> str:
    """Return the dotted path of a signal's receiver."""
    named = getattr(receiver, "__qualname__", type(receiver).__qualname__)
    return f"{receiver.__module__}.{named}"
