"""Who is at the other end of a connection, as far as TLS has proved it.

A relayed connection reaches the gRPC server from a socket of this process, which is bound
to a name of its own; by that name the gRPC server's calls are told apart.

Invariant: a connection whose name is not known here has proved nothing.
"""

import contextlib
import itertools
import math
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["NOBODY", "Peer", "RelayedPeers", "peer_of"]

_NAME_KINDS: Final = frozenset(("DNS", "URI", "email"))
_UNIX: Final = "unix:"


@dataclass(frozen=True, slots=True)
class Peer:
    """What a client's certificate says.

    Attributes:
        names: its common name and its alternative names.
        expires: when it does, in seconds since the epoch.
    """

    names: tuple[str, ...] = ()
    expires: float = math.inf


NOBODY: Final = Peer()


def peer_of(certificate: Mapping[str, Any] | None) -> Peer:
    """Return what ``ssl.SSLSocket.getpeercert`` told; NOBODY for None."""
    if not certificate:
        return NOBODY
    names = [
        value
        for part in certificate.get("subject", ())
        for key, value in part
        if key == "commonName"
    ]
    names += [value for kind, value in certificate.get("subjectAltName", ()) if kind in _NAME_KINDS]
    return Peer(tuple(dict.fromkeys(names)), ssl.cert_time_to_seconds(certificate["notAfter"]))


class RelayedPeers:
    """The peers behind the connections that this worker relays to its gRPC server.

    Args:
        folder: where their sockets have their names, for a moment.
        worker: this worker's number.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._prefix = str(folder / f"peer-{worker}-")
        self._numbers = itertools.count()
        self._known: dict[str, Peer] = {}

    @contextlib.contextmanager
    def named(self, peer: Peer) -> Iterator[tuple[socket.socket, str]]:
        """Lend a socket to connect, and its name; whoever has it then calls ``forget``."""
        name = f"{self._prefix}{next(self._numbers)}"
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setblocking(False)
            connection.bind(name)
            self._known[name] = peer
            yield connection, name
        except BaseException:
            connection.close()
            self.forget(name)
            raise
        finally:
            # The socket keeps its name; others only need the file until it is connected.
            Path(name).unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """The connection of that name is closed."""
        self._known.pop(name, None)

    def of(self, told: str | Peer) -> Peer:
        """Return the peer of a call: as it is told, or by the address that gRPC tells."""
        if isinstance(told, Peer):
            return told
        return self._known.get(told.removeprefix(_UNIX), NOBODY)
