"""An HTTP/2 connection that carries one stream; no sockets, either role.

Bytes go in through ``receive`` and come out of ``outgoing``; who owns the socket
moves them. A subclass is told of headers, data and the end, and decides what to
send. Frames are our own code, since each message passes through it; header
blocks are the library hpack's. Source: RFC 9113, RFC 7541.

Invariants: what is kept for a peer is bounded by ``MAX_HEADER_BYTES`` and by what
the subclass keeps; what is answered unasked (acknowledgements, credit) is never
more than what came in, so an owner that stops reading while it cannot write is
bounded too. After an error or the end of the stream whatever arrives is ignored.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from mtdd_router.wire.http2_frames import (
    FRAME,
    FRAME_BYTES,
    MAX_HEADER_BYTES,
    PREFACE,
    SETTING,
    TWO_UINTS,
    UINT,
    ErrorCode,
    Flag,
    FrameType,
    ProtocolError,
    Setting,
    error_name,
    expect,
    frame,
)
from mtdd_router.wire.http2_headers import HeaderBlock, HeaderReader, Headers, HeaderWriter

__all__ = [
    "MAX_HEADER_BYTES",
    "PREFACE",
    "ErrorCode",
    "Headers",
    "ProtocolError",
    "Stream",
    "error_name",
]

_DEFAULT_WINDOW: Final = 65_535
_LARGEST_WINDOW: Final = (1 << 31) - 1
_DEFAULT_MAX_FRAME: Final = 16_384
_LARGEST_MAX_FRAME: Final = (1 << 24) - 1
_OUR_MAX_FRAME: Final = 1 << 20
_CREDIT_BYTES: Final = 1 << 28
"""So much is received before the peer's window is filled again, to nearly 2 GiB."""
_OUTGOING_BYTES: Final = 1 << 20
_MOST_ANSWERS: Final = 100_000
"""Control frames that may wait to be written: the peer asks, and does not read."""
_SIZES: Final = {
    FrameType.PRIORITY: 5,
    FrameType.RST_STREAM: 4,
    FrameType.PING: 8,
    FrameType.WINDOW_UPDATE: 4,
}


class Stream:
    """The one stream of a connection.

    Args:
        client: whether this side opened the connection, and will open the stream.

    Attributes:
        going_away: the peer said GOAWAY: what runs may end, nothing new begins here.
    """

    def __init__(self, *, client: bool) -> None:
        self._client = client
        self._id = 1 if client else 0
        self.going_away = False
        self._over = False
        self._ended = False
        # receiving
        self._expect_preface = not client
        self._expect_settings = True
        self._rest = b""
        self._data_left = 0
        self._skip_left = 0
        self._ends_stream = False
        self._headers = HeaderReader()
        self._uncredited = 0
        self._refused = 0
        # sending
        self._header_writer = HeaderWriter()
        self._control: list[bytes] = []
        self._queue: deque[memoryview | bytes] = deque()
        self._queued_end: bytes | None = None
        self._window = _DEFAULT_WINDOW
        self._connection_window = _DEFAULT_WINDOW
        self._initial_window = _DEFAULT_WINDOW
        self._max_frame = _DEFAULT_MAX_FRAME

    # what a subclass is told

    def _headers_received(self, headers: Headers, *, last: bool) -> None:
        """A header block arrived on the stream; *last*: with it the stream ends."""
        raise NotImplementedError

    def _data_received(self, data: bytes, start: int, end: int) -> None:
        """``data[start:end]`` is what the stream carries next."""
        raise NotImplementedError

    def _end_received(self) -> None:
        """The stream ended with data, not with headers."""
        raise NotImplementedError

    def _reset_received(self, code: int, text: str) -> None:
        """The peer gave the stream up, or never took it; *text* says how, if it did."""
        raise NotImplementedError

    # sending

    @property
    def blocked(self) -> int:
        """How many bytes of data wait until the peer's windows allow them, or to be taken."""
        return sum(map(len, self._queue)) if self._queue else 0

    def outgoing(self) -> bytes:
        """Return what is to be written next, about a mebibyte at most; nothing if all is."""
        if self._control:
            control = b"".join(self._control)
            self._control.clear()
            return control
        if self._queue or self._queued_end is not None:
            return self._pump()
        return b""

    def reset(self, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Give the stream up at once; what was not sent yet is not."""
        if not self._over:
            self._drop_queue()
            if self._id:
                self._control_frame(FrameType.RST_STREAM, 0, self._id, UINT.pack(code))
            self._over = True

    def go_away(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Tell the peer that this connection takes nothing new."""
        last = 0 if self._client else self._id
        payload = TWO_UINTS.pack(last, code) + text.encode()[:512]
        self._control_frame(FrameType.GOAWAY, 0, 0, payload)

    def _control_frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self._control.append(frame(kind, flags, stream, payload))
        if len(self._control) > _MOST_ANSWERS and not self._over:
            self._control.clear()
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "the peer asks without end")

    def _open(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Begin the connection; a client opens the stream at once, in the same write."""
        settings = {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.INITIAL_WINDOW_SIZE: _LARGEST_WINDOW,
            Setting.MAX_FRAME_SIZE: _OUR_MAX_FRAME,
            Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
        }
        if self._client:
            settings[Setting.ENABLE_PUSH] = 0
            self._control.append(PREFACE)
        else:
            settings[Setting.MAX_CONCURRENT_STREAMS] = 1
        payload = b"".join(SETTING.pack(*pair) for pair in settings.items())
        self._control_frame(FrameType.SETTINGS, 0, 0, payload)
        if self._client:
            self._control.append(self._header_frames(headers, last=False))
        self._control_frame(
            FrameType.WINDOW_UPDATE, 0, 0, UINT.pack(_LARGEST_WINDOW - _DEFAULT_WINDOW)
        )

    def _header_frames(self, headers: Iterable[tuple[str, str]], *, last: bool) -> bytes:
        return self._header_writer.frames(headers, self._id, max_frame=self._max_frame, last=last)

    def _send_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Send a header block now; before any data."""
        self._control.append(self._header_frames(headers, last=False))

    def _send_last(self, trailers: Iterable[tuple[str, str]] = ()) -> None:
        """End this side of the stream after what is queued, with *trailers* if there are any."""
        if self._over or self._queued_end is not None:
            return
        trailers = list(trailers)
        if trailers:
            self._queued_end = self._header_frames(trailers, last=True)
        else:
            self._queued_end = FRAME.pack(FrameType.DATA, Flag.END_STREAM, self._id)

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queued_end = None

    def _pump(self) -> bytes:
        """Return frames of what is queued, as many as the windows allow."""
        frames: list[bytes | memoryview] = []
        total = 0
        while self._queue and total < _OUTGOING_BYTES:
            head = self._queue[0]
            size = min(len(head), self._max_frame, self._window, self._connection_window)
            if size <= 0:
                break
            frames += (FRAME.pack(size << 8, 0, self._id), head[:size])
            self._window -= size
            self._connection_window -= size
            total += size
            if size == len(head):
                self._queue.popleft()
            else:
                self._queue[0] = head[size:]
        if not self._queue and self._queued_end is not None:
            frames.append(self._queued_end)
            self._queued_end = None
        return b"".join(frames)

    # receiving

    def _feed(self, data: bytes) -> None:
        """Take what arrived.

        Raises:
            ProtocolError: if the peer breaks the protocol.
        """
        try:
            self._read(data)
        except ProtocolError as exc:
            self._fail(exc)
            raise

    @property
    def _between_frames(self) -> bool:
        partly = self._rest or self._data_left or self._skip_left or self._headers.open
        return not (partly or self._ended or self._over or self._expect_settings)

    def _fail(self, error: ProtocolError) -> None:
        self._drop_queue()
        self.go_away(error.code, str(error))
        self._over = True
        self._rest = b""

    def _read(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, size = 0, len(data)
        if self._expect_preface:
            if size < len(PREFACE) and PREFACE.startswith(data):
                self._rest = data
                return
            if not data.startswith(PREFACE):
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, _foreign(data))
            self._expect_preface = False
            position = len(PREFACE)
        while not self._over:
            if self._data_left:
                end = min(position + self._data_left, size)
                self._data_left -= end - position
                self._data_received(data, position, end)
                position = end
                if self._data_left:
                    return
            if self._skip_left:
                end = min(position + self._skip_left, size)
                self._skip_left -= end - position
                position = end
                if self._skip_left:
                    return
            if self._ends_stream:
                self._ends_stream = False
                self._ended = True
                self._end_received()
                continue
            consumed = self._read_frame(data, position, size)
            if not consumed:
                self._rest = data[position:]
                return
            position += consumed

    def _read_frame(self, data: bytes, position: int, size: int) -> int:
        """Take a whole control frame, or the head of a DATA frame; return its length."""
        if size - position < FRAME_BYTES:
            if self._expect_settings and size > position and data[position]:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, _foreign(data[position:]))
            return 0
        head, flags, stream = FRAME.unpack_from(data, position)
        length: int = head >> 8
        kind = head & 0xFF
        stream &= _LARGEST_WINDOW
        if self._expect_settings:
            if kind != FrameType.SETTINGS or flags & Flag.ACK or stream:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, _foreign(data[position:]))
            self._expect_settings = False
        if length > _OUR_MAX_FRAME:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if self._headers.open and kind != FrameType.CONTINUATION:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        body = position + FRAME_BYTES
        if kind == FrameType.DATA:
            if flags & Flag.PADDED and size <= body:
                return 0
            padding = data[body] if flags & Flag.PADDED else None
            return FRAME_BYTES + self._begin_data(length, flags, stream, padding)
        if kind > FrameType.CONTINUATION:
            self._skip_left = length
            return FRAME_BYTES
        if length > MAX_HEADER_BYTES:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, f"a control frame of {length} bytes")
        if size - body < length:
            return 0
        self._control_received(kind, flags, stream, data[body : body + length])
        return FRAME_BYTES + length

    def _begin_data(self, length: int, flags: int, stream: int, padding: int | None) -> int:
        """Take the head of a DATA frame; return how many bytes of its body belong to it."""
        head = 0 if padding is None else 1
        after = padding or 0
        expect(head + after <= length, ErrorCode.PROTOCOL_ERROR, "more padding than data")
        if stream == self._id and stream:
            expect(not self._ended, ErrorCode.STREAM_CLOSED, "data after the end")
            self._count(length)
            self._data_left = length - head - after
            self._skip_left = after
            self._ends_stream = bool(flags & Flag.END_STREAM)
        elif 0 < stream <= self._refused:
            self._skip_left = length - head
        else:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"data on stream {stream}")
        return head

    def _count(self, size: int) -> None:
        """Count what came in, and fill the windows in time: with one stream TCP holds back."""
        self._uncredited += size
        if self._uncredited >= _CREDIT_BYTES:
            increment = UINT.pack(self._uncredited)
            self._control_frame(FrameType.WINDOW_UPDATE, 0, 0, increment)
            self._control_frame(FrameType.WINDOW_UPDATE, 0, self._id, increment)
            self._uncredited = 0

    def _control_received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        fits = _SIZES.get(kind, len(payload)) == len(payload)
        expect(fits, ErrorCode.FRAME_SIZE_ERROR, f"a frame of {len(payload)} bytes, type {kind}")
        match kind:
            case FrameType.HEADERS:
                self._block_received(self._headers.begin(flags, stream, payload))
            case FrameType.CONTINUATION:
                self._block_received(self._headers.go_on(flags, stream, payload))
            case FrameType.SETTINGS:
                self._settings_received(flags, stream, payload)
            case FrameType.PING:
                expect(not stream, ErrorCode.PROTOCOL_ERROR, "a PING on a stream")
                if not flags & Flag.ACK:
                    self._control_frame(FrameType.PING, Flag.ACK, 0, payload)
            case FrameType.WINDOW_UPDATE:
                self._credit_received(stream, payload)
            case FrameType.RST_STREAM:
                self._expect_known(stream)
                if stream == self._id:
                    self._lost(UINT.unpack(payload)[0], "")
            case FrameType.GOAWAY:
                self._go_away_received(stream, payload)
            case FrameType.PUSH_PROMISE:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "the peer sent a PUSH_PROMISE")
            case _:
                # PRIORITY says nothing to one stream.
                pass

    def _expect_known(self, stream: int) -> None:
        known = stream and (stream == self._id or stream <= self._refused)
        expect(bool(known), ErrorCode.PROTOCOL_ERROR, f"a frame for stream {stream}")

    def _lost(self, code: int, text: str) -> None:
        self._drop_queue()
        self._over = True
        self._reset_received(code, text)

    def _go_away_received(self, stream: int, payload: bytes) -> None:
        expect(
            len(payload) >= 8 and not stream,
            ErrorCode.FRAME_SIZE_ERROR,
            "a GOAWAY without its body",
        )
        last, code = TWO_UINTS.unpack_from(payload)
        self.going_away = True
        # A server that did not take the stream says so; another code means that all is over.
        if code or (self._client and last & _LARGEST_WINDOW < self._id):
            unused = code == ErrorCode.NO_ERROR
            text = payload[8:].decode(errors="replace")
            self._lost(ErrorCode.REFUSED_STREAM if unused else code, text)

    def _settings_received(self, flags: int, stream: int, payload: bytes) -> None:
        expect(not stream, ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & Flag.ACK:
            expect(not payload, ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with a body")
            return
        expect(len(payload) % 6 == 0, ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        for name, value in SETTING.iter_unpack(payload):
            match name:
                case Setting.HEADER_TABLE_SIZE:
                    self._header_writer.limit_table(value)
                case Setting.INITIAL_WINDOW_SIZE:
                    expect(value <= _LARGEST_WINDOW, ErrorCode.FLOW_CONTROL_ERROR, "a huge window")
                    self._window += value - self._initial_window
                    self._initial_window = value
                case Setting.MAX_FRAME_SIZE:
                    allowed = _DEFAULT_MAX_FRAME <= value <= _LARGEST_MAX_FRAME
                    expect(allowed, ErrorCode.PROTOCOL_ERROR, f"a maximum frame size of {value}")
                    self._max_frame = value
                case _:
                    pass
        self._control_frame(FrameType.SETTINGS, Flag.ACK, 0)

    def _credit_received(self, stream: int, payload: bytes) -> None:
        increment = UINT.unpack(payload)[0] & _LARGEST_WINDOW
        expect(increment > 0, ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        if not stream:
            self._connection_window += increment
        else:
            self._expect_known(stream)
            if stream == self._id:
                self._window += increment
        fits = max(self._window, self._connection_window) <= _LARGEST_WINDOW
        expect(fits, ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2 GiB")

    def _block_received(self, block: HeaderBlock | None) -> None:
        if block is None:
            return
        stream = block.stream
        if not self._client and stream % 2:
            if not self._id:
                self._id = stream
            elif stream > max(self._id, self._refused):
                # One stream was promised, and one is allowed.
                self._refused = stream
                refusal = UINT.pack(ErrorCode.REFUSED_STREAM)
                self._control_frame(FrameType.RST_STREAM, 0, stream, refusal)
                return
        self._expect_known(stream)
        if stream == self._id:
            expect(not self._ended, ErrorCode.STREAM_CLOSED, "headers after the end")
            self._ended = block.last
            self._headers_received(block.headers, last=block.last)


def _foreign(data: bytes) -> str:
    return f"the peer does not speak HTTP/2: it sent {data[:40]!r}"
