"""A folder for a unix socket that libpq connects to."""

import os
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["socket_folder"]

_PREFIX: Final = "mtdd"
_RANDOM_BYTES: Final = 8
_LONGEST_NAME: Final = ".s.PGSQL.65535"
# The smallest sun_path of the systems that Python runs on, macOS's, less its end.
_SOCKET_PATH_BYTES: Final = 103


def socket_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make a folder that nobody else can enter; as a context manager, removed after the block.

    It is where temporary files go, unless that makes too long a path for a socket.
    """
    base = Path(tempfile.gettempdir())
    longest = base / (_PREFIX + "x" * _RANDOM_BYTES) / _LONGEST_NAME
    fits = len(os.fsencode(longest)) <= _SOCKET_PATH_BYTES
    return tempfile.TemporaryDirectory(prefix=_PREFIX, dir=base if fits else "/tmp")  # noqa: S108
