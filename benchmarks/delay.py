"""``python -m benchmarks.delay PORT TARGET SECONDS``: a line that takes its time.

What arrives on the port of the loopback address goes to the target, as a port or the
path of a unix socket, *SECONDS* later, and back likewise. It sleeps in ``select``, whose
timeouts are as fine as the system's timers, where epoll's and an event loop's are whole
milliseconds. Each piece is due at its own time after it arrived, so that those of one
burst stay one burst.
"""

import contextlib
import ctypes
import os
import select
import socket
import sys
from collections import deque
from time import perf_counter

_READ_BYTES = 1 << 18
_MOST_WAITING = 1000
_PR_SET_TIMERSLACK = 29


class _End:
    """One end of a connection: what was read here waits for its time at the other."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.full = False
        self.other: _End

    def send_until(self, now: float) -> None:
        """Send what is due, as far as the other end takes it."""
        while self.waiting and self.waiting[0][0] <= now:
            due, data = self.waiting[0]
            try:
                sent = self.other.socket.send(data) if data else self._end()
            except BlockingIOError:
                self.full = True
                return
            except OSError:
                sent = len(data)
            if sent < len(data):
                self.waiting[0] = (due, data[sent:])
            else:
                self.waiting.popleft()

    def _end(self) -> int:
        self.other.socket.shutdown(socket.SHUT_WR)
        return 0


class Delay:
    """A listener whose connections go on to *target*, each way *seconds* later."""

    def __init__(self, port: int, target: str, seconds: float) -> None:
        self._target = target
        self._seconds = seconds
        self._listener = socket.create_server(("127.0.0.1", port))
        self._ends: dict[socket.socket, _End] = {}
        self._ended: set[socket.socket] = set()

    def serve(self) -> None:
        """Forward until the process ends."""
        while True:
            due = [end.waiting[0][0] for end in self._ends.values() if end.waiting and not end.full]
            timeout = max(0.0, min(due) - perf_counter()) if due else None
            open_ends = [
                end.socket
                for end in self._ends.values()
                if end.socket not in self._ended and len(end.waiting) < _MOST_WAITING
            ]
            full = [end.other.socket for end in self._ends.values() if end.full]
            readable, writable, _ = select.select([self._listener, *open_ends], full, (), timeout)
            now = perf_counter()
            for connection in readable:
                if connection is self._listener:
                    self._accept()
                else:
                    self._read(self._ends[connection], now)
            for connection in writable:
                self._ends[connection].other.full = False
            for end in list(self._ends.values()):
                if not end.full:
                    end.send_until(now)
                self._forget(end)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self._target.startswith("/"):
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
        else:
            far = socket.create_connection(("127.0.0.1", int(self._target)))
        ends = [_End(connection) for connection in (near, far)]
        for end, other in zip(ends, reversed(ends), strict=True):
            end.other = other
            end.socket.setblocking(False)
            self._ends[end.socket] = end
            if end.socket.family == socket.AF_INET:
                end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _read(self, end: _End, arrived: float) -> None:
        try:
            data = end.socket.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        end.waiting.append((arrived + self._seconds, data))
        if not data:
            self._ended.add(end.socket)

    def _forget(self, end: _End) -> None:
        """Close a connection that has ended on both sides."""
        both = (end, end.other)
        if all(each.socket in self._ended and not each.waiting for each in both):
            for each in both:
                self._ended.discard(each.socket)
                self._ends.pop(each.socket, None)
                each.socket.close()


def main() -> None:
    port, target, seconds = sys.argv[1:]
    if sys.platform == "linux":
        # By default a sleep may take 50 microseconds longer than asked for.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        # A network does not wait for a processor. Who may not ask for that does without.
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    Delay(int(port), target, float(seconds)).serve()


if __name__ == "__main__":
    main()
