"""Noticing that a client does not acknowledge what is sent to it.

TCP's keepalive probes only while nothing is outstanding. Otherwise the system sends
again and again, for a quarter of an hour, and the client's transaction would keep its
locks for as long. A limit on that (TCP_USER_TIMEOUT) would also end clients that live
but do not read for a while; so the server looks itself, where the system tells: on Linux.

Source: tcp(7), struct tcp_info in linux/tcp.h.
"""

import asyncio
import socket
import sys
from struct import Struct
from typing import Final

__all__ = ["is_silent"]

_SILENCE_MS: Final = 30_000
_UNANSWERED: Final = 5
_INFO: Final = Struct("=2xB53xI")
"""Retransmissions in a row, and milliseconds since the last acknowledgement."""
_TELLS: Final = sys.platform == "linux"


def is_silent(transport: asyncio.Transport) -> bool:
    """Whether the peer has acknowledged nothing for half a minute, though asked repeatedly."""
    connection = transport.get_extra_info("socket")
    if not _TELLS or connection is None or connection.family == socket.AF_UNIX:
        return False
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    retransmissions, silence_ms = _INFO.unpack(info)
    return bool(retransmissions >= _UNANSWERED and silence_ms >= _SILENCE_MS)
