"""Header blocks: compressed by the library hpack, split into frames and put together here."""

import logging
from collections.abc import Iterable
from typing import Final, NamedTuple

from hpack import Decoder, Encoder, HPACKError

from mtdd_router.wire.http2_frames import (
    MAX_HEADER_BYTES,
    ErrorCode,
    Flag,
    FrameType,
    ProtocolError,
    expect,
    frame,
)

__all__ = ["HeaderBlock", "HeaderReader", "HeaderWriter", "Headers"]

Headers = list[tuple[str, str]]

_TABLE_BYTES: Final = 4096
_MAX_CONTINUATIONS: Final = 16
_PRIORITY_BYTES: Final = 5

# Its debug lines hold every header, and so the tokens.
logging.getLogger("hpack").setLevel(logging.INFO)


class HeaderWriter:
    """Makes the frames of this side's header blocks."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def limit_table(self, size: int) -> None:
        """Note the size of the table that the peer allows, in bytes.

        Nothing is kept in it, but a block has to say that it was made smaller.
        """
        self._encoder.header_table_size = min(size, _TABLE_BYTES)

    def frames(
        self, headers: Iterable[tuple[str, str]], stream: int, *, max_frame: int, last: bool
    ) -> bytes:
        """Return the block of *headers*; with it the stream ends if it is the *last*.

        Names and values are neither indexed nor Huffman-coded, so that who looks at the
        bytes of a connection recognises them.
        """
        block = self._encoder.encode([(*pair, True) for pair in headers], huffman=False)
        kind, flags = FrameType.HEADERS, Flag.END_STREAM if last else 0
        frames = []
        while len(block) > max_frame:
            frames.append(frame(kind, flags, stream, block[:max_frame]))
            block = block[max_frame:]
            kind, flags = FrameType.CONTINUATION, 0
        return b"".join((*frames, frame(kind, flags | Flag.END_HEADERS, stream, block)))


class HeaderBlock(NamedTuple):
    """What a peer's header block says."""

    stream: int
    headers: Headers
    last: bool


class HeaderReader:
    """Puts the peer's header blocks together, and decodes them.

    Attributes:
        open: a block has begun and not ended; no other frame may come now.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_HEADER_BYTES)
        self._block = bytearray()
        self._stream = 0
        self._last = False
        self._continuations = 0
        self.open = False

    def begin(self, flags: int, stream: int, payload: bytes) -> HeaderBlock | None:
        """Take a HEADERS frame; return the block if it is whole."""
        start, end = 0, len(payload)
        if flags & Flag.PADDED and payload:
            start, end = 1, end - payload[0]
        if flags & Flag.PRIORITY:
            start += _PRIORITY_BYTES
        expect(start <= end, ErrorCode.PROTOCOL_ERROR, "a HEADERS frame shorter than its padding")
        self._block = bytearray(payload[start:end])
        self._stream = stream
        self._last = bool(flags & Flag.END_STREAM)
        self._continuations = 0
        return self._go_on(flags)

    def go_on(self, flags: int, stream: int, payload: bytes) -> HeaderBlock | None:
        """Take a CONTINUATION frame; return the block if it is whole."""
        belongs = self.open and stream == self._stream
        expect(belongs, ErrorCode.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        self._block += payload
        self._continuations += 1
        bounded = len(self._block) <= MAX_HEADER_BYTES and self._continuations <= _MAX_CONTINUATIONS
        expect(bounded, ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        return self._go_on(flags)

    def _go_on(self, flags: int) -> HeaderBlock | None:
        self.open = not flags & Flag.END_HEADERS
        if self.open:
            return None
        try:
            decoded = self._decoder.decode(bytes(self._block))
        except HPACKError as exc:
            raise ProtocolError(ErrorCode.COMPRESSION_ERROR, f"a header block: {exc}") from exc
        headers = [(str(name), str(value)) for name, value in decoded]
        return HeaderBlock(self._stream, headers, self._last)
