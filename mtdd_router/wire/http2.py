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

import logging
from collections import deque
from collections.abc import Iterable
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

from hpack import Decoder, Encoder, HPACKError

__all__ = [
    "MAX_HEADER_BYTES",
    "PREFACE",
    "ErrorCode",
    "Headers",
    "ProtocolError",
    "Stream",
    "error_name",
]

# Its debug lines hold every header, and so the tokens.
logging.getLogger("hpack").setLevel(logging.INFO)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_HEADER_BYTES: Final = 1 << 16
"""Of one header block, compressed and decompressed; of any other control frame too."""

Headers = list[tuple[str, str]]

_FRAME: Final = Struct("!IBI")
"""Length and type in one number, flags, stream."""
_FRAME_BYTES: Final = _FRAME.size
_SETTING: Final = Struct("!HI")
_UINT: Final = Struct("!I")
_TWO_UINTS: Final = Struct("!II")

_DEFAULT_WINDOW: Final = 65_535
_LARGEST_WINDOW: Final = (1 << 31) - 1
_DEFAULT_MAX_FRAME: Final = 16_384
_LARGEST_MAX_FRAME: Final = (1 << 24) - 1
_OUR_MAX_FRAME: Final = 1 << 20
_CREDIT_BYTES: Final = 1 << 28
"""So much is received before the peer's window is filled again, to nearly 2 GiB."""
_OUTGOING_BYTES: Final = 1 << 20
_MAX_CONTINUATIONS: Final = 16


class _Type(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class _Flag(IntFlag):
    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class _Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Why a stream or a connection was ended; RFC 9113, section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def error_name(code: int) -> str:
    """Return the name of an error code, which may be one that nobody has defined."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"


class ProtocolError(Exception):
    """The peer does not keep to HTTP/2; the connection is to be closed.

    ``outgoing`` holds the GOAWAY that tells the peer.
    """

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


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
        self._block: bytearray | None = None
        self._block_ends_stream = False
        self._block_stream = 0
        self._continuations = 0
        self._decoder = Decoder(MAX_HEADER_BYTES)
        self._uncredited = 0
        self._refused = 0
        # sending
        self._encoder = Encoder()
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
        return sum(map(len, self._queue))

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
                self._control_frame(_Type.RST_STREAM, 0, self._id, _UINT.pack(code))
            self._over = True

    def go_away(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Tell the peer that this connection takes nothing new."""
        last = 0 if self._client else self._id
        payload = _TWO_UINTS.pack(last, code) + text.encode()[:512]
        self._control_frame(_Type.GOAWAY, 0, 0, payload)

    def _control_frame(self, kind: _Type, flags: int, stream: int, payload: bytes = b"") -> None:
        self._control.append(_FRAME.pack(len(payload) << 8 | kind, flags, stream) + payload)

    def _open(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Begin the connection; a client opens the stream at once, in the same write."""
        settings = {
            _Setting.HEADER_TABLE_SIZE: 0,
            _Setting.INITIAL_WINDOW_SIZE: _LARGEST_WINDOW,
            _Setting.MAX_FRAME_SIZE: _OUR_MAX_FRAME,
            _Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
        }
        if self._client:
            settings[_Setting.ENABLE_PUSH] = 0
            self._control.append(PREFACE)
        else:
            settings[_Setting.MAX_CONCURRENT_STREAMS] = 1
        payload = b"".join(_SETTING.pack(*pair) for pair in settings.items())
        self._control_frame(_Type.SETTINGS, 0, 0, payload)
        if self._client:
            self._control.append(self._header_block(headers, last=False))
        self._control_frame(
            _Type.WINDOW_UPDATE, 0, 0, _UINT.pack(_LARGEST_WINDOW - _DEFAULT_WINDOW)
        )

    def _header_block(self, headers: Iterable[tuple[str, str]], *, last: bool) -> bytes:
        # Never indexed and never Huffman-coded: no state, and easy to recognise.
        block = self._encoder.encode([(*pair, True) for pair in headers], huffman=False)
        frames = []
        kind, flags = _Type.HEADERS, _Flag.END_STREAM if last else _Flag(0)
        while True:
            part, block = block[: self._max_frame], block[self._max_frame :]
            if not block:
                flags |= _Flag.END_HEADERS
            frames.append(_FRAME.pack(len(part) << 8 | kind, flags, self._id) + part)
            if not block:
                return b"".join(frames)
            kind, flags = _Type.CONTINUATION, _Flag(0)

    def _send_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Send a header block now; before any data."""
        self._control.append(self._header_block(headers, last=False))

    def _send_last(self, trailers: Iterable[tuple[str, str]] = ()) -> None:
        """End this side of the stream after what is queued, with *trailers* if there are any."""
        if self._over or self._queued_end is not None:
            return
        trailers = list(trailers)
        if trailers:
            self._queued_end = self._header_block(trailers, last=True)
        else:
            self._queued_end = _FRAME.pack(_Type.DATA, _Flag.END_STREAM, self._id)

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
            frames += (_FRAME.pack(size << 8, 0, self._id), head[:size])
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
        partly = self._rest or self._data_left or self._skip_left or self._block is not None
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
        if size - position < _FRAME_BYTES:
            if self._expect_settings and size > position and data[position]:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, _foreign(data[position:]))
            return 0
        head, flags, stream = _FRAME.unpack_from(data, position)
        length: int = head >> 8
        kind = head & 0xFF
        stream &= _LARGEST_WINDOW
        if self._expect_settings:
            if kind != _Type.SETTINGS or flags & _Flag.ACK or stream:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, _foreign(data[position:]))
            self._expect_settings = False
        if length > _OUR_MAX_FRAME:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if self._block is not None and kind != _Type.CONTINUATION:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        body = position + _FRAME_BYTES
        if kind == _Type.DATA:
            if flags & _Flag.PADDED and size <= body:
                return 0
            padding = data[body] if flags & _Flag.PADDED else None
            return _FRAME_BYTES + self._begin_data(length, flags, stream, padding)
        if kind > _Type.CONTINUATION:
            self._skip_left = length
            return _FRAME_BYTES
        if length > MAX_HEADER_BYTES:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, f"a control frame of {length} bytes")
        if size - body < length:
            return 0
        self._control_received(_Type(kind), flags, stream, data[body : body + length])
        return _FRAME_BYTES + length

    def _begin_data(self, length: int, flags: int, stream: int, padding: int | None) -> int:
        """Take the head of a DATA frame; return how many bytes of its body belong to it."""
        head = 0 if padding is None else 1
        after = padding or 0
        _expect(head + after <= length, ErrorCode.PROTOCOL_ERROR, "more padding than data")
        if stream == self._id and stream:
            _expect(not self._ended, ErrorCode.STREAM_CLOSED, "data after the end")
            self._count(length)
            self._data_left = length - head - after
            self._skip_left = after
            self._ends_stream = bool(flags & _Flag.END_STREAM)
        elif 0 < stream <= self._refused:
            self._skip_left = length - head
        else:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"data on stream {stream}")
        return head

    def _count(self, size: int) -> None:
        """Count what came in, and fill the windows in time: with one stream TCP holds back."""
        self._uncredited += size
        if self._uncredited >= _CREDIT_BYTES:
            increment = _UINT.pack(self._uncredited)
            self._control_frame(_Type.WINDOW_UPDATE, 0, 0, increment)
            self._control_frame(_Type.WINDOW_UPDATE, 0, self._id, increment)
            self._uncredited = 0

    def _control_received(self, kind: _Type, flags: int, stream: int, payload: bytes) -> None:
        match kind:
            case _Type.HEADERS:
                self._begin_block(flags, stream, payload)
            case _Type.CONTINUATION:
                self._continue_block(flags, stream, payload)
            case _Type.SETTINGS:
                self._settings_received(flags, stream, payload)
            case _Type.PING:
                _expect(len(payload) == 8, ErrorCode.FRAME_SIZE_ERROR, "a PING of a wrong length")
                _expect(not stream, ErrorCode.PROTOCOL_ERROR, "a PING on a stream")
                if not flags & _Flag.ACK:
                    self._control_frame(_Type.PING, _Flag.ACK, 0, payload)
            case _Type.WINDOW_UPDATE:
                self._credit_received(stream, payload)
            case _Type.RST_STREAM:
                _expect(
                    len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "a RST_STREAM of a wrong length"
                )
                self._expect_known(stream)
                if stream == self._id:
                    self._lost(_UINT.unpack(payload)[0], "")
            case _Type.GOAWAY:
                self._go_away_received(stream, payload)
            case _Type.PUSH_PROMISE:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a PUSH_PROMISE")
            case _:
                # PRIORITY says nothing to one stream.
                _expect(
                    len(payload) == 5, ErrorCode.FRAME_SIZE_ERROR, "a PRIORITY of a wrong length"
                )

    def _expect_known(self, stream: int) -> None:
        known = stream and (stream == self._id or stream <= self._refused)
        _expect(bool(known), ErrorCode.PROTOCOL_ERROR, f"a frame for stream {stream}")

    def _lost(self, code: int, text: str) -> None:
        self._drop_queue()
        self._over = True
        self._reset_received(code, text)

    def _go_away_received(self, stream: int, payload: bytes) -> None:
        _expect(
            len(payload) >= 8 and not stream,
            ErrorCode.FRAME_SIZE_ERROR,
            "a GOAWAY without its body",
        )
        last, code = _TWO_UINTS.unpack_from(payload)
        self.going_away = True
        # A server that did not take the stream says so; another code means that all is over.
        if code or (self._client and last & _LARGEST_WINDOW < self._id):
            unused = code == ErrorCode.NO_ERROR
            text = payload[8:].decode(errors="replace")
            self._lost(ErrorCode.REFUSED_STREAM if unused else code, text)

    def _settings_received(self, flags: int, stream: int, payload: bytes) -> None:
        _expect(not stream, ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & _Flag.ACK:
            _expect(not payload, ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with a body")
            return
        _expect(len(payload) % 6 == 0, ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        for name, value in _SETTING.iter_unpack(payload):
            match name:
                case _Setting.HEADER_TABLE_SIZE:
                    # Nothing is indexed, but a smaller table must be acknowledged in a block.
                    self._encoder.header_table_size = min(value, 4096)
                case _Setting.INITIAL_WINDOW_SIZE:
                    _expect(value <= _LARGEST_WINDOW, ErrorCode.FLOW_CONTROL_ERROR, "a huge window")
                    self._window += value - self._initial_window
                    self._initial_window = value
                case _Setting.MAX_FRAME_SIZE:
                    allowed = _DEFAULT_MAX_FRAME <= value <= _LARGEST_MAX_FRAME
                    _expect(allowed, ErrorCode.PROTOCOL_ERROR, f"a maximum frame size of {value}")
                    self._max_frame = value
                case _:
                    pass
        self._control_frame(_Type.SETTINGS, _Flag.ACK, 0)

    def _credit_received(self, stream: int, payload: bytes) -> None:
        _expect(len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of a wrong length")
        increment = _UINT.unpack(payload)[0] & _LARGEST_WINDOW
        _expect(increment > 0, ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        if not stream:
            self._connection_window += increment
        else:
            self._expect_known(stream)
            if stream == self._id:
                self._window += increment
        fits = max(self._window, self._connection_window) <= _LARGEST_WINDOW
        _expect(fits, ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2 GiB")

    # header blocks

    def _begin_block(self, flags: int, stream: int, payload: bytes) -> None:
        start, end = 0, len(payload)
        if flags & _Flag.PADDED and payload:
            start, end = 1, end - payload[0]
        if flags & _Flag.PRIORITY:
            start += 5
        _expect(start <= end, ErrorCode.PROTOCOL_ERROR, "a HEADERS frame shorter than its padding")
        self._block = bytearray(payload[start:end])
        self._block_stream = stream
        self._block_ends_stream = bool(flags & _Flag.END_STREAM)
        self._continuations = 0
        if flags & _Flag.END_HEADERS:
            self._end_block()

    def _continue_block(self, flags: int, stream: int, payload: bytes) -> None:
        block = self._block
        if block is None or stream != self._block_stream:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        block += payload
        self._continuations += 1
        bounded = len(block) <= MAX_HEADER_BYTES and self._continuations <= _MAX_CONTINUATIONS
        _expect(bounded, ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & _Flag.END_HEADERS:
            self._end_block()

    def _end_block(self) -> None:
        block, self._block = bytes(self._block or b""), None
        try:
            headers = [(str(name), str(value)) for name, value in self._decoder.decode(block)]
        except HPACKError as exc:
            raise ProtocolError(ErrorCode.COMPRESSION_ERROR, f"a header block: {exc}") from exc
        stream = self._block_stream
        if not self._client:
            if not self._id and stream % 2:
                self._id = stream
            elif stream % 2 and stream > max(self._id, self._refused):
                # One stream was promised, and one is allowed.
                self._refused = stream
                refusal = _UINT.pack(ErrorCode.REFUSED_STREAM)
                self._control_frame(_Type.RST_STREAM, 0, stream, refusal)
                return
        self._expect_known(stream)
        if stream == self._id:
            _expect(not self._ended, ErrorCode.STREAM_CLOSED, "headers after the end")
            self._ended = self._block_ends_stream
            self._headers_received(headers, last=self._ended)


def _expect(condition: bool, code: ErrorCode, text: str) -> None:  # noqa: FBT001
    if not condition:
        raise ProtocolError(code, f"the peer sent {text}")


def _foreign(data: bytes) -> str:
    return f"the peer does not speak HTTP/2: it sent {data[:40]!r}"
