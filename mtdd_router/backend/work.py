"""What the backend knows of the work that runs: the tenant that it cannot leave.

The routing layer lies above the backend and registers itself here, so that imports
point downward only.
"""

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["RunningWork", "running_work", "set_running_work"]


class RunningWork(Protocol):
    """Who knows the context of the running work."""

    def locked_tenant(self) -> str | None:
        """Return the name of the tenant that the work cannot leave, or None."""

    def carried_into(self, tenant: str, function: Callable[[], Any]) -> Callable[[], Any]:
        """Return *function*, to be run in *tenant*, wherever and whenever it is called."""


class _Unknown:
    """Of a process without the routing layer, nothing is known."""

    def locked_tenant(self) -> str | None:
        return None

    def carried_into(self, tenant: str, function: Callable[[], Any]) -> Callable[[], Any]:  # noqa: ARG002
        return function


_work: RunningWork = _Unknown()


def set_running_work(work: RunningWork) -> None:
    """Let the backend ask *work* about the context."""
    global _work  # noqa: PLW0603 - one for the process
    _work = work


def running_work() -> RunningWork:
    """Return who knows the context of the running work."""
    return _work
