"""What HTTP/2's frames are made of: RFC 9113, sections 4 to 7."""

from enum import IntEnum
from struct import Struct
from typing import Final

__all__ = [
    "FRAME",
    "FRAME_BYTES",
    "MAX_HEADER_BYTES",
    "PREFACE",
    "SETTING",
    "TWO_UINTS",
    "UINT",
    "ErrorCode",
    "Flag",
    "FrameType",
    "ProtocolError",
    "Setting",
    "error_name",
    "expect",
    "frame",
]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_HEADER_BYTES: Final = 1 << 16
"""Of one header block, compressed and decompressed; of any other control frame too."""

FRAME: Final = Struct("!IBI")
"""Length and type in one number, flags, stream."""
FRAME_BYTES: Final = FRAME.size
SETTING: Final = Struct("!HI")
UINT: Final = Struct("!I")
TWO_UINTS: Final = Struct("!II")


# Plain numbers, since each frame is compared with them.


class FrameType:
    """The types of frames."""

    DATA: Final = 0
    HEADERS: Final = 1
    PRIORITY: Final = 2
    RST_STREAM: Final = 3
    SETTINGS: Final = 4
    PUSH_PROMISE: Final = 5
    PING: Final = 6
    GOAWAY: Final = 7
    WINDOW_UPDATE: Final = 8
    CONTINUATION: Final = 9


class Flag:
    """The flags of frames; two share a bit, on different types."""

    END_STREAM: Final = 0x1
    ACK: Final = 0x1
    END_HEADERS: Final = 0x4
    PADDED: Final = 0x8
    PRIORITY: Final = 0x20


class Setting:
    """The names of settings."""

    HEADER_TABLE_SIZE: Final = 1
    ENABLE_PUSH: Final = 2
    MAX_CONCURRENT_STREAMS: Final = 3
    INITIAL_WINDOW_SIZE: Final = 4
    MAX_FRAME_SIZE: Final = 5
    MAX_HEADER_LIST_SIZE: Final = 6


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


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return FRAME.pack(len(payload) << 8 | kind, flags, stream) + payload


def expect(condition: bool, code: ErrorCode, text: str) -> None:  # noqa: FBT001
    """Raise ProtocolError unless *condition* holds; *text* says what the peer sent."""
    if not condition:
        raise ProtocolError(code, f"the peer sent {text}")
