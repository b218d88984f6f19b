"""The address that a shard server listens on, and its exclusive reservation.

Invariant: at most one shard server holds an address. Its workers share a port
with SO_REUSEPORT, which would let a second server join in silently; so the
parent process first binds the port alone, then holds it for its workers.
"""

import contextlib
import socket
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtdd_router.errors import ConfigurationError
from mtdd_router.wire.address import Address

__all__ = ["AddressInUse", "Reservation", "only_ipv6", "reserve"]

# Linux gives connections only to sockets that listen. Elsewhere one that is merely bound
# may get them, so the port is held by the workers alone.
_HOLDING_IS_HARMLESS: Final = sys.platform.startswith("linux")


class AddressInUse(Exception):
    """The address cannot be listened on."""


@dataclass(slots=True)
class Reservation:
    """The addresses to bind, held until closed."""

    addresses: tuple[Address, ...]
    sockets: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        """Give the address back."""
        for held in self.sockets:
            held.close()
        for address in self.addresses:
            if address.is_unix:
                with contextlib.suppress(FileNotFoundError):
                    Path(address.path).unlink()


def reserve(address: Address) -> Reservation:
    """Make sure that nobody else listens on *address*, and hold it.

    A port of 0 becomes a real one, and a name becomes its addresses.

    Raises:
        AddressInUse: if somebody else holds it, or it may not be held.
        ConfigurationError: if there cannot be such an address here.
    """
    if address.is_unix:
        _claim_socket_file(Path(address.path))
        return Reservation((address,))
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as exc:
        raise ConfigurationError(
            f"address: {address}: the host name cannot be resolved ({exc.strerror})"
        ) from exc
    port = address.port
    held: dict[Address, socket.socket] = {}
    failures: list[str] = []
    for family, _, _, _, sockaddr in found:
        host = str(sockaddr[0])
        if any(known.host == host for known in held):
            continue
        try:
            bound = _bind(family, host, port)
        except OSError as exc:
            failures.append(f"{host}: {exc.strerror}")
            continue
        port = int(bound.getsockname()[1])
        held[Address(host, port)] = bound
    if not held or (failures and not _only_missing_families(address, held)):
        for bound in held.values():
            bound.close()
        raise AddressInUse(f"cannot listen on {address}: {'; '.join(failures)}")
    if not _HOLDING_IS_HARMLESS:
        for bound in held.values():
            bound.close()
        return Reservation(tuple(held))
    return Reservation(tuple(held), tuple(held.values()))


def _only_missing_families(address: Address, held: dict[Address, socket.socket]) -> bool:
    """Whether a name that is partly bound is good enough: localhost without IPv6 is."""
    return address.host == "localhost" and any(known.host == "127.0.0.1" for known in held)


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """Bind *port* alone first, then in the way that the workers can share."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        only_ipv6(probe)
        # A former server's connections may linger in TIME_WAIT; a living holder still refuses.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        port = int(probe.getsockname()[1])
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        only_ipv6(bound)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def only_ipv6(sock: socket.socket) -> None:
    """Leave IPv4 to a socket of its own, if *sock* is one of IPv6."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _claim_socket_file(path: Path) -> None:
    """Refuse a path that is taken by a living server or by something else."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ConfigurationError(
                f"address: unix:{path}: the folder {path.parent} does not exist"
            ) from None
        return
    except OSError as exc:
        raise ConfigurationError(f"address: unix:{path}: {exc.strerror}") from exc
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"address: unix:{path}: a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            # Left by a server that was killed.
            path.unlink()
            return
    raise AddressInUse(f"cannot listen on unix:{path}: another server listens there")
