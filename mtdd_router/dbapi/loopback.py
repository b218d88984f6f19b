"""A libpq connection whose other end is this process.

psycopg encodes statements and decodes results with libpq. Here libpq is
connected to a socket that this module holds: what it writes is read and carried
to a shard, and the shard's answer is written back for it to read. So every part
of psycopg works as on a direct connection: adaptation, cursors, COPY, errors.

Invariant: a loopback is handed to another connection only when nothing refers
to its PGconn any more: not even a forgotten cursor can then write into it.
"""

import atexit
import contextlib
import os
import select
import socket
import sys
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import psycopg
from psycopg import pq

from mtdd_router.dbapi.socket_folder import socket_folder
from mtdd_router.wire.backend import (
    empty_query_response,
    parameter_status,
    ready_for_query,
    startup_answer,
)

__all__ = ["Loopback", "borrow", "give_back"]

_CONNINFO: Final = (
    "host={folder} port=1 user=mtdd dbname='{database}' sslmode=disable gssencmode=disable "
    "channel_binding=disable target_session_attrs=any"
)
_NOTHING_DONE: Final = empty_query_response() + ready_for_query(b"I")
_CHUNK_BYTES: Final = 1 << 18
_KEPT: Final = 64
# getrefcount's own argument, the loopback's attribute.
_UNSHARED: Final = 2


class Loopback:
    """A PGconn, and the socket that it talks to.

    Attributes:
        database: the name that libpq knows.
        pgconn: libpq's end.
        peer: the socket of the other end.
        inherited: it belongs to the process that this one was forked from.
        hung_up: the far end is closed, which libpq only has to read yet.
        when_forked: is called in a child process.
    """

    __slots__ = (
        "__weakref__",
        "_parameters",
        "database",
        "hung_up",
        "inherited",
        "peer",
        "pgconn",
        "when_forked",
    )

    def __init__(self, database: str, parameters: Mapping[str, str]) -> None:
        self.database = database
        self._parameters = dict(parameters)
        self.inherited = self.hung_up = False
        self.when_forked: Callable[[], None] | None = None
        # A fresh folder each time: no state to keep, no race with another thread or a fork.
        with (
            socket_folder() as folder,
            socket.socket(socket.AF_UNIX) as listener,
        ):
            listener.bind(f"{folder}/.s.PGSQL.1")
            listener.listen(1)
            name = database.replace("\\", "\\\\").replace("'", "\\'")
            conninfo = _CONNINFO.format(folder=folder, database=name)
            self.pgconn = pq.PGconn.connect_start(conninfo.encode())
            self.peer, _ = listener.accept()
        self.peer.setblocking(False)
        self._shake_hands()
        self.pgconn.nonblocking = 1
        _alive.add(self)

    def _shake_hands(self) -> None:
        answered = False
        while (polled := self.pgconn.connect_poll()) != pq.PollingStatus.OK:
            if polled == pq.PollingStatus.FAILED:
                raise psycopg.OperationalError(self.pgconn.get_error_message())
            if polled == pq.PollingStatus.READING and not answered:
                self.peer.recv(_CHUNK_BYTES)
                self.peer.send(startup_answer(self._parameters))
                answered = True

    def take(self) -> bytes:
        """Return what libpq has written."""
        try:
            data = self.peer.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return b""
        if len(data) < _CHUNK_BYTES:
            return data
        parts = [data]
        with contextlib.suppress(BlockingIOError):
            while part := self.peer.recv(_CHUNK_BYTES):
                parts.append(part)
        return b"".join(parts)

    def give(self, data: bytes | memoryview) -> bytes | memoryview:
        """Let libpq read *data*; return what did not fit yet."""
        if self.hung_up:
            return b""
        try:
            sent = self.peer.send(data)
        except BlockingIOError:
            return data
        return b"" if sent == len(data) else memoryview(data)[sent:]

    @property
    def unread(self) -> bool:
        """Whether libpq has not read all that it was given; it reads in pieces."""
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    @property
    def stuck(self) -> bool:
        """Whether libpq takes no statement before it has read the answer to another."""
        return (
            self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE
            and self.pgconn.pipeline_status == pq.PipelineStatus.OFF
        )

    def set_parameters(self, parameters: Mapping[str, str]) -> None:
        """Make libpq report these parameter statuses."""
        changed = {
            name: value for name, value in parameters.items() if self._parameters.get(name) != value
        }
        if changed:
            self.peer.send(b"".join(parameter_status(*pair) for pair in changed.items()))
            self.pgconn.consume_input()
            self.pgconn.is_busy()
            self._parameters.update(changed)

    def forget(self) -> None:
        """Run an empty query, after which libpq forgets the modes that statements set.

        Single-row mode would else hold on into the next connection's pipeline.
        """
        self.pgconn.send_query(b"")
        self.take()
        self.give(_NOTHING_DONE)
        self.pgconn.consume_input()
        while self.pgconn.get_result() is not None:
            pass

    def hang_up(self) -> None:
        """Close the far end, as a server does that goes away."""
        self.hung_up = True
        self.peer.close()

    def close(self) -> None:
        """Close both ends."""
        self.pgconn.finish()
        self.hang_up()

    def __del__(self) -> None:
        if hasattr(self, "peer"):
            self.peer.close()

    def cut(self) -> None:
        """Put a dead socket in the place of libpq's, in this process only."""
        dead, other = socket.socketpair()
        other.close()
        with dead, contextlib.suppress(psycopg.OperationalError):
            os.dup2(dead.fileno(), self.pgconn.socket)
        self.hang_up()

    @property
    def reusable(self) -> bool:
        """Whether it is as good as new, and nothing else refers to it."""
        return (
            sys.getrefcount(self.pgconn) <= _UNSHARED
            and self.pgconn.status == pq.ConnStatus.OK
            and self.pgconn.transaction_status == pq.TransactionStatus.IDLE
            and self.pgconn.pipeline_status == pq.PipelineStatus.OFF
        )


_free: dict[str, deque[Loopback]] = {}
_alive: weakref.WeakSet[Loopback] = weakref.WeakSet()


def borrow(database: str, parameters: Mapping[str, str]) -> Loopback:
    """Return a loopback that reports *parameters*, new or used before."""
    try:
        loopback = _free[database].pop()
    except (KeyError, IndexError):
        return Loopback(database, parameters)
    loopback.set_parameters(parameters)
    return loopback


def give_back(loopback: Loopback) -> None:
    """Take back a loopback; it is closed if anything might still use it."""
    loopback.pgconn.notice_handler = loopback.pgconn.notify_handler = None
    loopback.when_forked = None
    if loopback.reusable and sum(map(len, list(_free.values()))) < _KEPT:
        loopback.forget()
        _free.setdefault(loopback.database, deque()).append(loopback)
    else:
        loopback.close()


def _close_free() -> None:
    while _free:
        _, free = _free.popitem()
        while free:
            free.pop().close()


def _forked() -> None:
    """Leave to the parent what is the parent's."""
    _free.clear()
    # A cursor of the parent's would still write into a socket that the parent reads.
    for link in list(_alive):
        link.inherited = True
        link.cut()
        if link.when_forked is not None:
            link.when_forked()


atexit.register(_close_free)
os.register_at_fork(after_in_child=_forked)
