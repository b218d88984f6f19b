"""A gRPC call on a connection of its own, over a blocking socket.

It is used by one thread at a time, which does all reading and writing: no
thread, lock or queue stands between a caller and its socket. Invariant: what
interrupts a read or write half way, an exception of a signal's handler too,
leaves the call over and its socket closed, never out of step.
"""

import contextlib
import os
import select
import ssl
import time
import weakref
from collections import deque
from types import TracebackType
from typing import Final, Self

from mtdd_router.client.endpoint import Endpoint, connect, left
from mtdd_router.wire.address import Address
from mtdd_router.wire.grpc_stream import ONE_CALL_HEADER, ClientStream
from mtdd_router.wire.http2 import ProtocolError
from mtdd_router.wire.status import Status, StatusCode

__all__ = ["Call", "CallFailed", "call_once"]

_READ_BYTES: Final = 1 << 16
# As much fits a socket's buffer, as a rule, so that a write does not wait for a read.
_SMALL_BYTES: Final = 1 << 16
_NOT_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_TRANSIENT: Final = frozenset((StatusCode.UNAVAILABLE, StatusCode.CANCELLED))


class CallFailed(Exception):
    """A call ended, or never began.

    Attributes:
        status: gRPC's status.
        transient: the same call may succeed later.
        sent: whether the server may know of the call.
    """

    def __init__(self, status: Status, *, transient: bool | None = None, sent: bool = True) -> None:
        super().__init__(f"{status.code.name}: {status.message}")
        self.status = status
        self.sent = sent
        self.transient = status.code in _TRANSIENT if transient is None else transient


class Call:
    """An open call.

    Args:
        endpoint: the server.
        path: ``/package.Service/Method``.
        limit: how long to try to connect, in seconds; it bounds everything else too,
            until ``unlimited`` is called.

    Raises:
        CallFailed: if there is no connection.
    """

    __slots__ = ("__weakref__", "_deadline", "_messages", "_poll", "_socket", "_stream")

    def __init__(self, endpoint: Endpoint, path: str, *, limit: float) -> None:
        self._deadline: float | None = time.monotonic() + limit
        self._messages: deque[bytes] = deque()
        self._poll: select.poll | None = None
        try:
            address = Address.parse(endpoint.address)
        except ValueError as exc:
            status = Status(StatusCode.UNAVAILABLE, str(exc))
            raise CallFailed(status, transient=False, sent=False) from None
        self._stream = ClientStream(
            path,
            authority="localhost" if address.is_unix else str(address),
            scheme="http" if endpoint.tls is None else "https",
            metadata=(ONE_CALL_HEADER, *endpoint.metadata),
        )
        try:
            self._socket = connect(address, endpoint.tls, self._deadline)
        except OSError as exc:
            raise _failure(exc, sent=False) from exc
        _open.add(self)
        self._write(self._stream.outgoing())

    def __del__(self) -> None:
        # Nobody else waits for it, so there is nothing to warn of; at the exit neither.
        if (connection := getattr(self, "_socket", None)) is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def unlimited(self) -> None:
        """Let reads and writes take as long as they take, from now on."""
        self._deadline = None
        self._socket.settimeout(None)

    @property
    def alive(self) -> bool:
        """Whether the call may go on, as far as what has arrived tells; for one that idles."""
        if self._socket.fileno() < 0:
            return False
        if self._poller().poll(0):
            try:
                self._read_what_is_there()
            except CallFailed:
                return False
        # A message that nobody asked for would be taken for the next answer.
        return self._stream.status is None and not self._stream.going_away and not self._messages

    def send(self, message: bytes) -> None:
        """Send *message*.

        Raises:
            CallFailed: if the call is over.
        """
        data = self._stream.message(message)
        self._write(data)

    def end(self) -> None:
        """Say that no more messages come."""
        self._stream.end()
        self._write(self._stream.outgoing())

    def receive(self) -> bytes:
        """Return the next message.

        Raises:
            CallFailed: if the call is over, with the status it ended with.
        """
        messages = self._messages
        while not messages:
            if self._stream.status is not None:
                self.close()
                raise CallFailed(self._stream.status)
            self._read()
        return messages.popleft()

    def close(self) -> None:
        """End the call; the server learns that no more messages come."""
        self._stream.end()
        self._leave()

    def abandon(self) -> None:
        """End the call at once, in the middle of whatever it does."""
        self._stream.reset()
        self._leave()

    def disown(self) -> None:
        """Close this process's descriptor; another process, which has it too, goes on."""
        self._socket.close()

    # internals

    def _leave(self) -> None:
        connection = self._socket
        if connection.fileno() < 0:
            return
        # What does not fit the socket's buffer now need not arrive: the end does.
        with contextlib.suppress(OSError):
            connection.setblocking(False)
            connection.send(b"".join(iter(self._stream.outgoing, b"")))
        connection.close()

    def _poller(self) -> select.poll:
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
        return self._poll

    def _read(self) -> None:
        """Wait for something to arrive, and take it."""
        try:
            if self._deadline is not None:
                self._socket.settimeout(left(self._deadline))
            self._take(self._socket.recv(_READ_BYTES))
        except OSError as exc:
            raise self._broken(exc) from exc
        except BaseException:
            self.abandon()
            raise

    def _read_what_is_there(self) -> None:
        """Take what has arrived, without waiting."""
        try:
            self._socket.setblocking(False)
            try:
                data = self._socket.recv(_READ_BYTES)
            except _NOT_YET:
                # It was something of TLS's own.
                return
            finally:
                self._socket.setblocking(True)
            self._take(data)
        except OSError as exc:
            raise self._broken(exc) from exc
        except BaseException:
            self.abandon()
            raise

    def _take(self, data: bytes) -> None:
        """Keep the messages in *data*, and write what it is to be answered with."""
        self._feed(data)
        while answer := self._stream.outgoing():
            self._socket.sendall(answer)

    def _feed(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError
        try:
            self._messages += self._stream.receive(data)
        except ProtocolError as exc:
            grpc = self._stream.metadata is not None
            code = StatusCode.INTERNAL if grpc else StatusCode.UNIMPLEMENTED
            raise CallFailed(Status(code, str(exc))) from exc

    def _write(self, data: bytes) -> None:
        try:
            if self._deadline is not None:
                self._socket.settimeout(left(self._deadline))
            if len(data) <= _SMALL_BYTES and not self._stream.blocked:
                self._socket.sendall(data)
            else:
                self._write_much(data)
        except OSError as exc:
            raise self._broken(exc) from exc
        except BaseException:
            self.abandon()
            raise

    def _write_much(self, data: bytes) -> None:
        """Write *data* and what is queued behind it, and take what arrives meanwhile.

        The server may need to be read before it reads on: for its credit, or because it
        writes as well.
        """
        stream, connection, poll = self._stream, self._socket, self._poller()
        unsent = memoryview(data)
        connection.setblocking(False)
        try:
            while stream.status is None and (unsent or stream.blocked):
                if not unsent:
                    unsent = memoryview(stream.outgoing())
                poll.modify(connection, select.POLLIN | (select.POLLOUT if unsent else 0))
                limit = None if self._deadline is None else left(self._deadline) * 1000
                ready = sum(event for _, event in poll.poll(limit))
                with contextlib.suppress(*_NOT_YET):
                    if ready & ~select.POLLOUT:
                        # What answers it must wait: a frame may be half written.
                        self._feed(connection.recv(_READ_BYTES))
                with contextlib.suppress(*_NOT_YET):
                    if ready & select.POLLOUT:
                        unsent = unsent[connection.send(unsent) :]
        finally:
            connection.setblocking(True)
            poll.modify(connection, select.POLLIN)

    def _broken(self, error: OSError) -> CallFailed:
        """End the call whose socket failed; return how it ended: the server may have said it."""
        with contextlib.suppress(OSError, CallFailed):
            self._socket.setblocking(False)
            while self._stream.status is None:
                self._feed(self._socket.recv(_READ_BYTES))
        self.abandon()
        status = self._stream.status
        return _failure(error) if status is None else CallFailed(status)


def call_once(endpoint: Endpoint, path: str, request: bytes, *, limit: float) -> bytes:
    """Call a method that takes one message and answers one.

    Args:
        endpoint: the server.
        path: ``/package.Service/Method``.
        request: the message.
        limit: for all of it, in seconds.

    Raises:
        CallFailed: if the call ended otherwise.
    """
    with Call(endpoint, path, limit=limit) as call:
        call.send(request)
        call.end()
        answer = call.receive()
        try:
            call.receive()
        except CallFailed as exc:
            if exc.status.code == StatusCode.OK:
                return answer
            raise
        raise CallFailed(Status(StatusCode.INTERNAL, "the server answered twice"))


def _failure(error: OSError, *, sent: bool = True) -> CallFailed:
    """Return what a failed socket means."""
    text = error.strerror or str(error)
    if isinstance(error, TimeoutError):
        return CallFailed(Status(StatusCode.DEADLINE_EXCEEDED, text), sent=sent)
    if isinstance(error, (BrokenPipeError, ConnectionResetError)):
        text = "the server closed the connection"
    if isinstance(error, ssl.SSLEOFError):
        text = "the server ended TLS without a word; it may demand a client's certificate"
    # A wrong certificate stays wrong; a line that was cut may hold the next time.
    lasting = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
    return CallFailed(Status(StatusCode.UNAVAILABLE, text), transient=not lasting, sent=sent)


_open: Final[weakref.WeakSet[Call]] = weakref.WeakSet()


def _after_fork() -> None:
    """Close what the parent has open, without a word: it goes on with it, and with its TLS."""
    for call in list(_open):
        call.disown()
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
