"""How the address of a shard server is written."""

import ipaddress
import os
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["Address"]

_UNIX: Final = "unix:"
# The size of sun_path less its end: on macOS, the least there is; Linux has 4 more.
_UNIX_PATH_MAX_BYTES: Final = 103


@dataclass(frozen=True, slots=True)
class Address:
    """``host:port`` or ``unix:/path``; port 0 lets the system choose one."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises:
            ValueError: saying what is malformed.
        """
        if text.startswith(_UNIX):
            path = text.removeprefix(_UNIX)
            if not path.startswith("/"):
                raise ValueError(f"{text!r} must name an absolute path, as in unix:/run/shard.sock")
            if len(os.fsencode(path)) > _UNIX_PATH_MAX_BYTES:
                raise ValueError(f"the socket's path is longer than {_UNIX_PATH_MAX_BYTES} bytes")
            return cls(path=path)
        host, colon, port = text.rpartition(":")
        if not colon or not host or "/" in text:
            raise ValueError(f"{text!r} is neither host:port nor unix:/path")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, as in [::1]:7401")
        if not port.isascii() or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{text!r}: the port must be a number from 0 to 65535")
        return cls(host=host, port=int(port))

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return bool(self.path)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.is_unix or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.is_unix:
            return _UNIX + self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
