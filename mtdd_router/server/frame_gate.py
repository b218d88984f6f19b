"""What passes from other gRPC clients to this process's gRPC server: well-formed frames.

That server is native code, and has been crashed by frames that no client sends. So the head
of each frame is checked here (RFC 9113, sections 4 to 6), before the frame is passed on;
what is inside header blocks and data is not. Two frames are kept back: the client's first
acknowledgement of SETTINGS, which answers those of ``front``, and GOAWAY, which tells a
server nothing that it needs.
"""

from typing import Final

from mtdd_router.wire.http2_frames import (
    FRAME,
    FRAME_BYTES,
    MAX_HEADER_BYTES,
    PREFACE,
    ErrorCode,
    Flag,
    FrameType,
    ProtocolError,
)

__all__ = ["FrameGate"]

_EXACT_BYTES: Final = {
    FrameType.PRIORITY: 5,
    FrameType.RST_STREAM: 4,
    FrameType.PING: 8,
    FrameType.WINDOW_UPDATE: 4,
}
_OF_THE_CONNECTION: Final = frozenset((FrameType.SETTINGS, FrameType.PING, FrameType.GOAWAY))
_OF_A_STREAM: Final = frozenset(
    (
        FrameType.DATA,
        FrameType.HEADERS,
        FrameType.PRIORITY,
        FrameType.RST_STREAM,
        FrameType.CONTINUATION,
    )
)
_SETTING_BYTES: Final = 6
_GOAWAY_BYTES: Final = 8
_STREAM_BITS: Final = 0x7FFF_FFFF
_OPEN_STREAMS: Final = 10_000


class FrameGate:
    """Takes what an HTTP/2 client sends, from the preface on."""

    def __init__(self) -> None:
        self._rest = b""
        self._passing = len(PREFACE)
        self._dropping = 0
        self._acknowledged = False
        # The stream whose header block goes on in the next frame.
        self._block = 0
        self._last = 0
        self._open: set[int] = set()

    def passed(self, data: bytes) -> bytes:
        """Return what may be passed on of *data*; an unfinished head waits.

        Raises:
            ProtocolError: if a frame is none that a client may send there.
        """
        data = self._rest + data if self._rest else data
        position, size = 0, len(data)
        parts: list[bytes] = []
        while position < size:
            if self._passing:
                end = min(position + self._passing, size)
                parts.append(data[position:end])
                self._passing -= end - position
                position = end
            elif self._dropping:
                end = min(position + self._dropping, size)
                self._dropping -= end - position
                position = end
            elif size - position < FRAME_BYTES:
                break
            else:
                first, flags, stream = FRAME.unpack_from(data, position)
                length, kind = first >> 8, first & 0xFF
                self._check(kind, length, flags, stream & _STREAM_BITS)
                if self._keeps_back(kind, flags):
                    self._dropping = FRAME_BYTES + length
                else:
                    self._passing = FRAME_BYTES + length
        self._rest = data[position:]
        return b"".join(parts)

    # internals

    def _keeps_back(self, kind: int, flags: int) -> bool:
        if kind == FrameType.SETTINGS and flags & Flag.ACK and not self._acknowledged:
            self._acknowledged = True
            return True
        return kind == FrameType.GOAWAY

    def _check(self, kind: int, length: int, flags: int, stream: int) -> None:
        if kind != FrameType.DATA and length > MAX_HEADER_BYTES:
            raise _wrong(f"a control frame of {length} bytes")
        if (
            length != _EXACT_BYTES.get(kind, length)
            or (
                kind == FrameType.SETTINGS
                and length % _SETTING_BYTES + (length if flags & Flag.ACK else 0)
            )
            or (kind == FrameType.GOAWAY and length < _GOAWAY_BYTES)
        ):
            raise _wrong(f"a frame of type {kind} and {length} bytes")
        if (self._block != 0) != (kind == FrameType.CONTINUATION):
            raise _wrong("a header block that is interrupted, or goes on without a beginning")
        if kind == FrameType.PUSH_PROMISE or (kind in _OF_THE_CONNECTION and stream):
            raise _wrong(f"a frame of type {kind} on stream {stream}")
        if kind in _OF_A_STREAM or (kind == FrameType.WINDOW_UPDATE and stream):
            self._check_stream(kind, flags, stream)

    def _check_stream(self, kind: int, flags: int, stream: int) -> None:
        if stream % 2 == 0:
            raise _wrong(f"a frame of type {kind} on stream {stream}")
        if kind == FrameType.HEADERS:
            self._begin_headers(flags, stream)
        elif kind == FrameType.CONTINUATION:
            if stream != self._block:
                raise _wrong("a header block that goes on elsewhere")
            if flags & Flag.END_HEADERS:
                self._block = 0
        elif kind == FrameType.DATA and stream not in self._open:
            raise _wrong("data of a stream that is not open")
        elif kind != FrameType.PRIORITY and stream > self._last:
            raise _wrong(f"a frame of type {kind} on a stream that was never opened")
        ends = kind in (FrameType.DATA, FrameType.HEADERS) and flags & Flag.END_STREAM
        if ends or kind == FrameType.RST_STREAM:
            self._open.discard(stream)

    def _begin_headers(self, flags: int, stream: int) -> None:
        if stream > self._last:
            if len(self._open) >= _OPEN_STREAMS:
                raise _wrong(f"more than {_OPEN_STREAMS} streams at once")
            self._last = stream
            self._open.add(stream)
        elif stream not in self._open or not flags & Flag.END_STREAM:
            raise _wrong("headers of a stream that is closed, or has had its own")
        if not flags & Flag.END_HEADERS:
            self._block = stream


def _wrong(what: str) -> ProtocolError:
    return ProtocolError(ErrorCode.PROTOCOL_ERROR, what)
