"""TCP ports of this machine for servers of the embedded stack.

A port is chosen before the server binds it, so it is taken from below the range
that the kernel gives to outgoing connections: nobody gets it by accident.
"""

import errno
import os
import secrets
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Final

from mtdd_router.embedded.errors import StackError

__all__ = ["HOST", "choose_port", "is_free", "was_taken"]

HOST: Final = "127.0.0.1"
_FIRST: Final = 20_000
_KERNEL_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
# The default of Linux. Other systems begin higher, macOS with 49,152.
_LOWEST_DEFAULT: Final = 32_768
_ATTEMPTS: Final = 200


def is_free(port: int) -> bool:
    """Tell whether a server could listen on *port* of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of a server that has just stopped (TIME_WAIT) are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def was_taken(port: int, log_end: str) -> bool:
    """Tell whether a server that wrote *log_end* and ended found *port* taken.

    By now it may be free again.
    """
    return os.strerror(errno.EADDRINUSE) in log_end or not is_free(port)


def choose_port(preferred: int | None = None, taken: Collection[int] = ()) -> int:
    """Return *preferred* if it is free and not *taken*, else another free port.

    Raises:
        StackError: if no free port is found.
    """
    if preferred is not None and preferred not in taken and is_free(preferred):
        return preferred
    last = _first_ephemeral_port() - 1
    for _ in range(_ATTEMPTS):
        # Not the module random: programs that seed it alike would meet on the same ports.
        port = _FIRST + secrets.randbelow(last - _FIRST + 1)
        if port not in taken and is_free(port):
            return port
    raise StackError(f"No free port was found on {HOST} between {_FIRST} and {last}.")


def _first_ephemeral_port() -> int:
    try:
        first = int(_KERNEL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LOWEST_DEFAULT
    # A machine may give nearly all ports to outgoing connections; then any will do.
    return first if first > _FIRST + _ATTEMPTS else 65_536
