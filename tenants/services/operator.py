"""Who does something, for ledgers that people read."""

import getpass
import os
import socket

__all__ = ["operator"]


def operator() -> str:
    """Return the user, machine and process that this is."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"
