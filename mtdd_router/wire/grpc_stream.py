"""One gRPC call on an HTTP/2 connection of its own; no sockets, either role.

::

    client                                    server
    stream = ClientStream(path, ...)          stream = ServerStream()
    write(stream.outgoing())       ------->   stream.receive(data): stream.path, .metadata
                                              stream.accept(); write(stream.outgoing())
    write(stream.message(b"..."))  ------->   [b"..."] = stream.receive(data)
    [b"..."] = stream.receive(data) <------   write(stream.message(b"..."))
    stream.end()                   ------->   stream.ended
    stream.status                  <-------   stream.finish(Status(...))

The rule for the owner of the socket: after each ``receive``, also one that
raised, write what ``outgoing`` returns until it returns nothing, and do not read
while it cannot be written. After ``message`` the same while ``blocked``; what is
blocked still when ``outgoing`` returns nothing waits for the peer's credit, which
``receive`` brings.

Source: gRPC over HTTP2, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final
from urllib.parse import quote, unquote

from mtdd_router.wire.http2 import ErrorCode, Headers, ProtocolError, Stream, error_name
from mtdd_router.wire.status import Status, StatusCode

__all__ = [
    "MAX_MESSAGE_BYTES",
    "ONE_CALL_HEADER",
    "ClientStream",
    "GrpcStream",
    "MessageTooLong",
    "Metadata",
    "ServerStream",
    "Status",
]

Metadata = Iterable[tuple[str, str]]

ONE_CALL_HEADER: Final = ("mtdd-connection", "session")
"""The promise that this connection carries this one stream only."""
MAX_MESSAGE_BYTES: Final = 1 << 30

_PREFIX: Final = Struct("!BI")
_PREFIX_BYTES: Final = _PREFIX.size
_FRAMED: Final = Struct("!IBIBI")
"""The head of a DATA frame and the prefix of the message that fills it."""
_FRAMED_BYTES: Final = _FRAMED.size
# Printable ASCII but for the percent sign.
_UNQUOTED: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_RESET: Final[dict[int, StatusCode]] = {
    ErrorCode.REFUSED_STREAM: StatusCode.UNAVAILABLE,
    ErrorCode.CANCEL: StatusCode.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: StatusCode.PERMISSION_DENIED,
}
_HTTP: Final = {
    "400": StatusCode.INTERNAL,
    "401": StatusCode.UNAUTHENTICATED,
    "403": StatusCode.PERMISSION_DENIED,
    "404": StatusCode.UNIMPLEMENTED,
    "429": StatusCode.UNAVAILABLE,
    "502": StatusCode.UNAVAILABLE,
    "503": StatusCode.UNAVAILABLE,
    "504": StatusCode.UNAVAILABLE,
}


class MessageTooLong(ProtocolError):
    """The peer's message is longer than what is allowed.

    A server may still ``finish`` the call, with a status that says so, and receives
    nothing more.
    """


class GrpcStream(Stream):
    """What both roles have in common: messages.

    Args:
        client: the role.
        max_message_bytes: a longer message of the peer's is refused before it is read.

    Attributes:
        metadata: the peer's first headers, but for HTTP's own; None until they arrived.
        ended: the peer sends nothing more.
    """

    def __init__(self, *, client: bool, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        super().__init__(client=client)
        self.metadata: Headers | None = None
        self.ended = False
        self._max_message = max_message_bytes
        self._messages: list[bytes] = []
        self._prefix = b""
        self._partial: bytearray | None = None
        self._missing = 0
        self._between = False

    def receive(self, data: bytes) -> list[bytes]:
        """Take what the socket gave; return the messages that it completes.

        Raises:
            ProtocolError: if the peer breaks the protocol; the connection is to be closed
                after ``outgoing`` is written.
        """
        size = len(data)
        # Nearly always: exactly one frame with exactly one message.
        if self._between and size >= _FRAMED_BYTES:
            head, flags, stream, compressed, length = _FRAMED.unpack_from(data)
            if (
                head == (length + _PREFIX_BYTES) << 8
                and size == length + _FRAMED_BYTES
                and stream == self._id
                and not flags
                and not compressed
                and length <= self._max_message
                and not self._over
            ):
                self._count(length + _PREFIX_BYTES)
                return [data[_FRAMED_BYTES:]]
        self._feed(data)
        self._between = self._between_frames and self._partial is None and not self._prefix
        messages, self._messages = self._messages, []
        return messages

    def message(self, payload: bytes) -> bytes:
        """Return the bytes that send *payload*, or their beginning; see ``blocked``."""
        size = len(payload) + _PREFIX_BYTES
        if (
            size <= self._max_frame
            and size <= self._window
            and size <= self._connection_window
            and not self._queue
            and not self._over
        ):
            self._window -= size
            self._connection_window -= size
            return _FRAMED.pack(size << 8, 0, self._id, 0, len(payload)) + payload
        if self._over:
            return b""
        self._queue += (memoryview(_PREFIX.pack(0, len(payload))), memoryview(payload))
        return self._pump()

    def _data_received(self, data: bytes, start: int, end: int) -> None:
        while start < end:
            if self._partial is None:
                stop = min(start + _PREFIX_BYTES - len(self._prefix), end)
                self._prefix += data[start:stop]
                start = stop
                if len(self._prefix) < _PREFIX_BYTES:
                    return
                compressed, self._missing = _PREFIX.unpack(self._prefix)
                self._prefix = b""
                self._check(compressed, self._missing)
                self._partial = bytearray()
            stop = min(start + self._missing, end)
            self._partial += memoryview(data)[start:stop]
            self._missing -= stop - start
            start = stop
            if not self._missing:
                self._messages.append(bytes(self._partial))
                self._partial = None

    def _check(self, compressed: int, length: int) -> None:
        if compressed:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a compressed message; none was offered")
        if length > self._max_message:
            text = f"a message of {length} bytes; {self._max_message} are allowed"
            raise MessageTooLong(ErrorCode.ENHANCE_YOUR_CALM, text)


class ClientStream(GrpcStream):
    """The client's end of a call.

    Args:
        path: ``/package.Service/Method``.
        authority: the server's name, as a URL has it.
        scheme: ``http``, or ``https`` over TLS.
        metadata: goes with the first headers; names in lower case.
        timeout: the call's deadline in seconds, for the server to know; None is none.
        max_message_bytes: a longer answer is refused.

    Attributes:
        status: how the call ended; None while it has not.
    """

    def __init__(
        self,
        path: str,
        *,
        authority: str,
        scheme: str = "http",
        metadata: Metadata = (),
        timeout: float | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        super().__init__(client=True, max_message_bytes=max_message_bytes)
        self.status: Status | None = None
        headers = [
            (":method", "POST"),
            (":scheme", scheme),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        if timeout is not None:
            headers.append(("grpc-timeout", f"{max(1, min(int(timeout * 1000), 99_999_999))}m"))
        self._open([*headers, *metadata])

    def end(self) -> None:
        """Say that no more messages come."""
        self._send_last()

    def _headers_received(self, headers: Headers, *, last: bool) -> None:
        named = dict(headers)
        if self.metadata is None:
            if named.get(":status", "").startswith("1"):
                return
            self.metadata = [pair for pair in headers if not pair[0].startswith(":")]
            kind = named.get("content-type", "")
            if named.get(":status") != "200" or not kind.startswith("application/grpc"):
                self._end_with(_http_status(named))
                return
        elif not last:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "the peer sent headers twice")
        if last:
            self._end_with(_grpc_status(named))

    def _end_received(self) -> None:
        self._end_with(Status(StatusCode.INTERNAL, "the answer ended without a status"))

    def _reset_received(self, code: int, text: str) -> None:
        status = _RESET.get(code, StatusCode.INTERNAL)
        self._end_with(Status(status, f"the server ended the stream: {text or error_name(code)}"))

    def _end_with(self, status: Status) -> None:
        self.ended = True
        self.status = status
        self._over = True


class ServerStream(GrpcStream):
    """The server's end of a call.

    Args:
        max_message_bytes: a longer request is refused.

    Attributes:
        path: ``/package.Service/Method``; None until ``metadata`` is there.
        aborted: the client gave the call up; nothing more is to be sent.
    """

    def __init__(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        super().__init__(client=False, max_message_bytes=max_message_bytes)
        self.path: str | None = None
        self.aborted = False
        self._accepted = False
        self._open()

    def accept(self, metadata: Metadata = ()) -> None:
        """Send the first headers; before any message."""
        self._accepted = True
        self._send_headers([*_RESPONSE, *metadata])

    def finish(self, status: Status, metadata: Metadata = ()) -> None:
        """End the call after what is queued."""
        trailers = [
            *(() if self._accepted else _RESPONSE),
            ("grpc-status", str(int(status.code))),
            ("grpc-message", quote(status.message[:_MAX_STATUS_CHARACTERS], safe=_UNQUOTED)),
            *metadata,
        ]
        self._send_last(trailers)

    def _fail(self, error: ProtocolError) -> None:
        if not isinstance(error, MessageTooLong):
            super()._fail(error)

    def _headers_received(self, headers: Headers, *, last: bool) -> None:
        if self.metadata is None:
            self.path = dict(headers).get(":path", "")
            self.metadata = [pair for pair in headers if not pair[0].startswith(":")]
        elif not last:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "the peer sent headers twice")
        self.ended = self.ended or last

    def _end_received(self) -> None:
        self.ended = True

    def _reset_received(self, code: int, text: str) -> None:  # noqa: ARG002
        self.ended = self.aborted = True


_RESPONSE: Final = ((":status", "200"), ("content-type", "application/grpc"))
_MAX_STATUS_CHARACTERS: Final = 4000


def _http_status(headers: dict[str, str]) -> Status:
    """Return the status that stands for an answer that is not gRPC's."""
    http = headers.get(":status", "none")
    kind = headers.get("content-type", "no content type")
    code = _HTTP.get(http, StatusCode.UNKNOWN)
    return Status(code, f"the answer is not gRPC: HTTP status {http}, {kind}")


def _grpc_status(headers: dict[str, str]) -> Status:
    text = unquote(headers.get("grpc-message", ""), errors="replace")
    try:
        return Status(StatusCode(int(headers.get("grpc-status", ""))), text)
    except ValueError:
        shown = headers.get("grpc-status", "missing")
        return Status(StatusCode.UNKNOWN, f"grpc-status is {shown[:20]}: {text}")
