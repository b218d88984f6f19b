"""Connections that carry one call each: our own client's.

The bytes are gRPC over HTTP/2 as on any other connection; what is spared is gRPC's
own threads. One task serves a connection. It is cancelled when the client is gone,
however that shows: the stream given up, the connection closed, or silence.

Invariants: what waits for a client that does not read is bounded, and so is what a
client sends ahead; the connection closes when its call has ended.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final

from google.protobuf.message import DecodeError, Message

from mtdd_router.server.calls import CallRefused, Metadata, Method, Taker
from mtdd_router.server.logs import get_logger
from mtdd_router.server.peers import peer_of
from mtdd_router.server.silence import is_silent
from mtdd_router.wire.grpc_stream import MessageTooLong, ServerStream, Status
from mtdd_router.wire.http2 import ProtocolError
from mtdd_router.wire.status import StatusCode

__all__ = ["CallStreams"]

_log = get_logger(__name__)

_WRITE_BUFFER_BYTES: Final = 1 << 18
# Requests that a client may send ahead while one runs; reading stops beyond.
_AHEAD_REQUESTS: Final = 16
_AHEAD_BYTES: Final = 1 << 20
# Longer requests are for the task, which may be held up by them.
_TAKEN_BYTES: Final = 32_768
# How long a client may take to close after it was told the end.
_LINGER_SECONDS: Final = 5.0
_CLOSE_STEP_SECONDS: Final = 0.01
_WATCH_SECONDS: Final = 5.0


class CallStreams:
    """The connections of one worker that carry one call each.

    Args:
        methods: those that can be called so, by their paths.
    """

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods
        self._open: set[_CallStream] = set()

    @property
    def paths(self) -> Collection[str]:
        """What can be called so."""
        return self._methods.keys()

    def take_over(
        self,
        transport: asyncio.Transport,
        stream: ServerStream,
        messages: list[bytes],
        error: ProtocolError | None,
    ) -> None:
        """Serve the call *stream* on *transport*.

        Args:
            transport: the connection.
            stream: the call of one of ``paths``, whose headers have arrived.
            messages: its first requests.
            error: what was wrong with what came after them, if anything.
        """
        method = self._methods[stream.path or ""]
        connection = _CallStream(transport, stream, method, self._open.discard)
        self._open.add(connection)
        connection.begin(messages)
        if error is not None:
            connection.fail(error)

    def go_away(self) -> None:
        """Tell every client to begin nothing new here."""
        for connection in list(self._open):
            connection.go_away()

    async def watch(self) -> None:
        """Cut the connections whose clients fell silent, until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for connection in list(self._open):
                if connection.silent:
                    _log.info("client_vanished")
                    connection.cut()

    async def close(self, limit: float) -> None:
        """End every call; connections that are not closed after *limit* seconds are cut."""
        for connection in list(self._open):
            connection.finish(Status(StatusCode.UNAVAILABLE, "the shard server is shutting down"))
        deadline = asyncio.get_running_loop().time() + limit
        while self._open and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_CLOSE_STEP_SECONDS)
        for connection in list(self._open):
            connection.cut()


class _CallStream(asyncio.Protocol):
    """One connection, and the call that it carries."""

    _task: asyncio.Task[None]

    def __init__(
        self,
        transport: asyncio.Transport,
        stream: ServerStream,
        method: Method,
        closed: Callable[["_CallStream"], None],
    ) -> None:
        self.metadata: Metadata = stream.metadata or ()
        self.peer = peer_of(transport.get_extra_info("peercert"))
        self._transport = transport
        self._stream = stream
        self._method = method
        self._parse = method.parse
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._requests: deque[bytes] = deque()
        self._taker: Taker | None = None
        # What the taker has taken, and what it gave back.
        self._taken: Message | None = None
        self._returned: Message | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._accepted = False
        self._finished = False
        self._writable = True
        self._reading = True

    def begin(self, messages: list[bytes]) -> None:
        """Take the transport over, and serve."""
        self._requests.extend(messages)
        self._transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        self._transport.set_protocol(self)
        self._flush()
        self._task = self._loop.create_task(self._serve())

    def go_away(self) -> None:
        """Tell the client to begin nothing new here."""
        self._stream.go_away()
        self._flush()

    def finish(self, status: Status) -> None:
        """End the call with *status*, and the connection once the client has seen it."""
        if self._finished:
            return
        self._finished = True
        self._task.cancel()
        self._stream.go_away()
        self._stream.finish(status)
        self._linger()

    def fail(self, error: ProtocolError) -> None:
        """End the call because of what the client sent."""
        if isinstance(error, MessageTooLong):
            text = f"{error}: all that --max-message-bytes allows"
            self.finish(Status(StatusCode.RESOURCE_EXHAUSTED, text))
        else:
            _log.info("protocol_error", error=str(error))
            self._give_up()

    @property
    def silent(self) -> bool:
        """Whether the client acknowledges nothing any more."""
        return not self._transport.is_closing() and is_silent(self._transport)

    def cut(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    # Call

    def offer_to(self, taker: Taker) -> None:
        self._taker = taker

    async def read(self) -> Message | None:
        requests = self._requests
        while self._returned is None and (not requests or self._taken is not None):
            if self._stream.ended and self._taken is None:
                return None
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if self._returned is not None:
            returned, self._returned = self._returned, None
            return returned
        message = requests.popleft()
        if not self._reading:
            self._steer_reading()
        return self._parse(message)

    async def write(self, response: Message) -> None:
        if not self._accepted:
            self._accepted = True
            self._stream.accept()
            self._flush()
        if data := self._stream.message(response.SerializeToString()):
            self._transport.write(data)
        if self._stream.blocked or not self._writable:
            await self._drained()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self._finished:
            return
        stream = self._stream
        try:
            messages = stream.receive(data)
        except ProtocolError as exc:
            self.fail(exc)
            return
        if len(messages) == 1 and self._take(messages[0]):
            self._flush()
            return
        if messages:
            self._requests.extend(messages)
            if self._reader is None or self._taken is not None:
                self._steer_reading()
        self._flush()
        if stream.aborted:
            self._give_up()
            return
        self._wake_reader()
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._writable = False
        self._steer_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._flush()
        self._steer_reading()
        _wake(self._writer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._task.cancel()
        self._closed(self)

    # internals

    def _take(self, message: bytes) -> bool:
        """Let the taker have the request, if nothing waits before it; return whether it has."""
        if (
            self._taker is None
            or self._reader is None
            or self._taken is not None
            or self._returned is not None
            or self._requests
            or len(message) > _TAKEN_BYTES
            or self._stream.ended
            or self._stream.aborted
            or self._stream.blocked
            or not self._writable
        ):
            return False
        try:
            request = self._parse(message)
        except DecodeError:
            return False
        # Before it may be done.
        self._taken = request
        if self._taker(request, self._done):
            return True
        self._taken = None
        return False

    def _done(self, response: Message | None) -> None:
        taken, self._taken = self._taken, None
        if response is None:
            self._returned = taken
        elif not self._finished and (data := self._stream.message(response.SerializeToString())):
            self._transport.write(data)
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._returned is not None or (
            self._taken is None and (self._requests or self._stream.ended)
        ):
            _wake(self._reader)

    async def _serve(self) -> None:
        try:
            await self._method.serve(self)
            status = Status(StatusCode.OK)
        except CallRefused as exc:
            status = Status(exc.code, exc.message)
        except Exception:  # noqa: BLE001 - logged, and no client may wait for ever
            _log.exception("call_failed", path=self._stream.path)
            status = Status(StatusCode.INTERNAL, "the shard server failed; its log says more")
        self.finish(status)

    def _give_up(self) -> None:
        """The client gave the call up, or cannot be understood: nothing more is sent."""
        self._finished = True
        self._task.cancel()
        self._linger()

    def _linger(self) -> None:
        """Leave the closing to the client, for a while, and ignore what still comes.

        TCP resets a connection that is closed while something unread arrives, and the
        reset may overtake the last words.
        """
        self._flush()
        self._loop.call_later(_LINGER_SECONDS, self.cut)

    def _flush(self) -> None:
        """Write what may be written."""
        while self._writable and (data := self._stream.outgoing()):
            self._transport.write(data)

    async def _drained(self) -> None:
        """Write what was too much at once; return when it is mostly sent."""
        self._flush()
        while self._stream.blocked or not self._writable:
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None
            self._flush()

    def _steer_reading(self) -> None:
        """Read only from a client that reads, and that does not send too far ahead."""
        ahead = self._requests
        wanted = self._writable and (
            len(ahead) <= _AHEAD_REQUESTS and sum(map(len, ahead)) <= _AHEAD_BYTES
        )
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
