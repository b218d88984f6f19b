"""What the embedded stack raises."""

from mtdd_router.errors import MTDDError

__all__ = ["PortTaken", "StackError", "StackRunning"]


class StackError(MTDDError):
    """The embedded stack could not do what was asked."""


class StackRunning(StackError):
    """The embedded stack of this folder is already running."""


class PortTaken(StackError):
    """Somebody else took the port before the server could."""
