"""How a connection to PostgreSQL begins, as its server reads it.

Source: PostgreSQL manual, "Message Formats": StartupMessage, SSLRequest,
GSSENCRequest, CancelRequest.
"""

import socket
from dataclasses import dataclass
from struct import Struct
from typing import Final

__all__ = ["Cancel", "Startup", "read_startup"]

_HEADER: Final = Struct("!II")
_PROTOCOL_3: Final = 3
_CANCEL: Final = 80877102
_ENCRYPTION: Final = frozenset((80877103, 80877104))
_NO_ENCRYPTION: Final = b"N"
_LARGEST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Startup:
    """A program wants to run statements."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A program wants to cancel what the connection with this *key* runs."""

    key: bytes


def read_startup(peer: socket.socket) -> Startup | Cancel:
    """Read what *peer* begins with; encryption is declined.

    Raises:
        ConnectionError: if that is nothing that a program of PostgreSQL begins with.
    """
    while True:
        length, code = _HEADER.unpack(_read(peer, _HEADER.size))
        if not _HEADER.size <= length <= _LARGEST:
            raise ConnectionError(f"a startup message of {length} bytes")
        body = _read(peer, length - _HEADER.size)
        if code == _CANCEL:
            return Cancel(body)
        if code >> 16 == _PROTOCOL_3:
            return Startup()
        if code not in _ENCRYPTION:
            raise ConnectionError(f"a startup message of protocol {code}")
        peer.sendall(_NO_ENCRYPTION)


def _read(peer: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = peer.recv(size - len(data))
        if not part:
            raise ConnectionError("the connection ended in its startup")
        data += part
    return bytes(data)
