"""A shard server, and how to connect to it."""

import contextlib
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

from mtdd_router.client.tokens import TokenSigner
from mtdd_router.errors import ConfigurationError
from mtdd_router.wire.address import Address

__all__ = ["TLS", "Endpoint", "connect"]

_ALPN: Final = "h2"
# A peer that vanished without a word is noticed in half a minute, idle or not.
_IDLE_SECONDS: Final = 20
_PROBE_SECONDS: Final = 5
_PROBES: Final = 2
_DEAD_SECONDS: Final = _IDLE_SECONDS + _PROBE_SECONDS * _PROBES
# Where the system has them; macOS calls the first one TCP_KEEPALIVE.
_TCP_OPTIONS: Final = {
    "TCP_NODELAY": 1,
    "TCP_KEEPIDLE": _IDLE_SECONDS,
    "TCP_KEEPALIVE": _IDLE_SECONDS,
    "TCP_KEEPINTVL": _PROBE_SECONDS,
    "TCP_KEEPCNT": _PROBES,
    "TCP_USER_TIMEOUT": _DEAD_SECONDS * 1000,
}


@dataclass(frozen=True, slots=True)
class TLS:
    """How a connection is encrypted. Files are read anew for each connection.

    Attributes:
        authorities: the PEM file of the authorities to trust; empty for the system's.
        certificate: the PEM file of the client's certificate, for mutual TLS, or empty.
        key: the PEM file of its key; empty if that is in the same file.
    """

    authorities: str = ""
    certificate: str = ""
    key: str = ""

    @classmethod
    def of(cls, setting: Mapping[str, Any] | None) -> Self | None:
        """Return what a mapping of the attributes says; None for None, which is no TLS.

        Raises:
            ConfigurationError: naming what is wrong with it.
        """
        if setting is None:
            return None
        names = [field.name for field in fields(cls)]
        if not isinstance(setting, Mapping) or not set(setting) <= set(names):
            raise ConfigurationError(
                f"{setting!r} does not say how to encrypt: give a dict of {', '.join(names)}."
            )
        return cls(**{name: str(path) for name, path in setting.items()})

    def context(self) -> ssl.SSLContext:
        """Return what the ssl module needs.

        Raises:
            ConfigurationError: if a file cannot be read, or is not what it should be.
        """
        try:
            context = ssl.create_default_context(cafile=self.authorities or None)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key or None)
        except OSError as exc:
            raise ConfigurationError(f"The files of {self} cannot be used: {exc}") from exc
        context.set_alpn_protocols([_ALPN])
        return context


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A shard server.

    Attributes:
        address: ``host:port`` or ``unix:/path``.
        shard: the shard's name, for messages.
        token: the bearer token, or empty.
        tls: None for no TLS.
        signer: signs bearer tokens if *token* is empty; or None.
        shard_id: the shard's identity, which signed tokens name; without it none is shown.
    """

    address: str
    shard: str = ""
    token: str = field(default="", repr=False)
    tls: TLS | None = None
    signer: TokenSigner | None = None
    shard_id: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata that each call carries.

        Raises:
            ConfigurationError: if the token cannot be one, or would be shown to a network.
        """
        token = self.token
        if not token and self.signer is not None and self.shard_id:
            token = self.signer.token(self.shard_id)
        if not token:
            return ()
        if not (token.isascii() and token.isprintable()):
            raise ConfigurationError("A shard server's token holds printable ASCII only.")
        if self.tls is None and not Address.parse(self.address).is_local:
            raise ConfigurationError(
                f"The token for {self.address} would travel unencrypted, for everybody on the "
                "way to see: set MTDD_SHARD_TLS."
            )
        return (("authorization", f"Bearer {token}"),)


def connect(address: Address, tls: TLS | None, deadline: float) -> socket.socket:
    """Return a connection to *address*, with a timeout set.

    A name's addresses are tried in turn, each with its share of the time.

    Args:
        address: where to connect.
        tls: how to encrypt, or None.
        deadline: when to give up, on the monotonic clock.

    Raises:
        OSError: if there is no connection; ssl.SSLError is one.
    """
    context = None if tls is None else tls.context()
    open_socket = _connect_unix if address.is_unix else _connect_tcp
    raw = open_socket(address, deadline)
    if context is None:
        return raw
    try:
        raw.settimeout(left(deadline))
        secure = context.wrap_socket(raw, server_hostname=address.host or "localhost")
    except BaseException:
        raw.close()
        raise
    if secure.selected_alpn_protocol() != _ALPN:
        secure.close()
        raise ssl.SSLError("the server does not offer HTTP/2 over TLS")
    return secure


def left(deadline: float) -> float:
    """Return the seconds until *deadline*.

    Raises:
        TimeoutError: if there are none.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("no answer in time")
    return seconds


def _connect_unix(address: Address, deadline: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(left(deadline))
        connection.connect(address.path)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_tcp(address: Address, deadline: float) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    error: OSError | None = None
    for index, (family, kind, protocol, _, target) in enumerate(found):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left(deadline) / (len(found) - index))
            connection.connect(target)
        except OSError as exc:
            connection.close()
            error = exc
        except BaseException:
            connection.close()
            raise
        else:
            _tune(connection)
            return connection
    raise error or OSError(f"{address.host} has no address")


def _tune(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        if (option := getattr(socket, name, None)) is not None:
            # A tunnel or an emulation may know the name and not the thing.
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
