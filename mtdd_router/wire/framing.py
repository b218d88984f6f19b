"""How PostgreSQL frames a message: a type byte, a length, a body.

Source: PostgreSQL manual, "Message Formats", protocol 3.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

__all__ = ["HEADER", "HEADER_BYTES", "compose", "messages", "whole_messages"]

HEADER: Final = Struct("!cI")
HEADER_BYTES: Final = HEADER.size


def compose(kind: bytes, *parts: bytes) -> bytes:
    """Return the message of type *kind* with the joined *parts* as its body."""
    body = b"".join(parts)
    return HEADER.pack(kind, len(body) + 4) + body


def messages(buffer: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, body) of each whole message at the start of *buffer*."""
    position, size = 0, len(buffer)
    while size - position >= HEADER_BYTES:
        kind, length = HEADER.unpack_from(buffer, position)
        end = position + 1 + length
        if end > size:
            return
        yield kind, buffer[position + HEADER_BYTES : end]
        position = end


def whole_messages(buffer: bytes | bytearray) -> int:
    """Return how many bytes at the start of *buffer* are whole messages."""
    position, size = 0, len(buffer)
    while size - position >= HEADER_BYTES:
        _, length = HEADER.unpack_from(buffer, position)
        if position + 1 + length > size:
            break
        position += 1 + length
    return position
