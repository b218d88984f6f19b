"""Running a stack until somebody asks it to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from mtdd_router.embedded.stack import Stack

__all__ = ["asked_to_stop", "supervise"]

_LOOK_EVERY: Final = 0.5


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, SIGTERM or a closed terminal sets, inside the block.

    Must be entered in the main thread. A second signal changes nothing: stopping
    is bounded in time by itself.
    """
    event = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        event.set()

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, ask) for kind in kinds}
    try:
        yield event
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def supervise(stack: Stack, stop: threading.Event) -> None:
    """Keep a started *stack* running until *stop* is set."""
    while not stop.wait(_LOOK_EVERY):
        stack.tend()
