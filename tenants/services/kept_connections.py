"""Connections to the registry's database that outlive their use for a moment.

One that is not taken again within a second is closed, without anybody having to say so: nothing
tells when Django is done with a database. What needs a database without connections, as
``DROP DATABASE`` does of a test's, does not fail for them, since PostgreSQL waits up to 5 s for
them to go (``CountOtherDBBackends`` in its ``procarray.c``).
"""

import atexit
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["IDLE", "put", "take"]

IDLE: Final = 1.0
"""For so many seconds is a connection kept."""


class _Kept:
    """What one process keeps, for all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[float, BaseDatabaseWrapper]] = []
        self._parents: list[tuple[float, BaseDatabaseWrapper]] = []
        self._closing = False

    def take(self, settings: Mapping[str, Any]) -> BaseDatabaseWrapper | None:
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index][1].settings_dict == settings:
                    return self._idle.pop(index)[1]
        return None

    def put(self, connection: BaseDatabaseWrapper) -> None:
        with self._lock:
            self._idle.append((time.monotonic(), connection))
            if self._closing:
                return
            self._closing = True
        threading.Thread(target=self._close_idle, name="kept connections", daemon=True).start()

    def _close_idle(self) -> None:
        wait = IDLE
        while wait:
            time.sleep(wait)
            with self._lock:
                now = time.monotonic()
                due = [each for since, each in self._idle if since + IDLE <= now]
                # Those put last come last.
                del self._idle[: len(due)]
                wait = max(self._idle[0][0] + IDLE - now, 0.01) if self._idle else 0
                self._closing = bool(wait)
            for each in due:
                # Whatever is wrong with one, this thread has to see to those that follow.
                with suppress(Error):
                    each.close()

    def close(self) -> None:
        """Close all, at the end of the process."""
        with self._lock:
            ended, self._idle = self._idle, []
        for _, each in ended:
            each.close()

    def leave_to_the_parent(self) -> None:
        """Begin anew in a forked process, which must not use or close what its parent has."""
        self._lock = threading.Lock()
        self._parents += self._idle
        self._idle = []
        self._closing = False


_kept: Final = _Kept()
os.register_at_fork(after_in_child=_kept.leave_to_the_parent)
atexit.register(_kept.close)


def take(settings: Mapping[str, Any]) -> BaseDatabaseWrapper | None:
    """Return a connection that was `put`, to the database of these *settings*, or None.

    It may have ended meanwhile.
    """
    return _kept.take(settings)


def put(connection: BaseDatabaseWrapper) -> None:
    """Keep *connection*, which nobody uses now, and close it if nobody takes it.

    Any thread may take it: it has to allow that (``inc_thread_sharing``).
    """
    _kept.put(connection)
