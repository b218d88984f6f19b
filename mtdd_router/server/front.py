"""What listens on the shard server's addresses, and decides who serves a connection.

A call of our own client promises, with a header, that its connection carries
that one stream; then ``streams`` serves it right here. Every other connection is
relayed to the gRPC server of this process, which listens on a private socket only.

Invariants: TLS ends here, before a byte is looked at; what is kept of an undecided
connection is bounded in size, and in time until it has shown that it speaks HTTP/2.
"""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, cast

from mtdd_router.server.address import AddressInUse, only_ipv6
from mtdd_router.server.config import ServerConfig
from mtdd_router.server.peers import RelayedPeers, peer_of
from mtdd_router.server.relay import Relay
from mtdd_router.wire.address import Address
from mtdd_router.wire.grpc_stream import ONE_CALL_HEADER, ServerStream
from mtdd_router.wire.http2 import MAX_HEADER_BYTES, PREFACE, ProtocolError

__all__ = ["Front", "TakeOver", "listening_socket"]

_BACKLOG: Final = 1024
_HANDSHAKE_SECONDS: Final = 10.0
# An empty SETTINGS frame. Many clients send nothing more before they have seen one.
_SETTINGS: Final = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
# A client that vanished without a word is noticed in 40 seconds; see ``silence`` too.
_KEEPALIVE_IDLE, _KEEPALIVE_INTERVAL, _KEEPALIVE_COUNT = 20, 5, 4
_MOST_DESCRIPTORS: Final = 1 << 20
# Of a connection until its first request: more than the largest headers need.
_UNDECIDED_BYTES: Final = 2 * MAX_HEADER_BYTES

TakeOver = Callable[[asyncio.Transport, ServerStream, list[bytes], ProtocolError | None], None]
"""Serves the connection of one call; see ``streams``."""


class Front:
    """The listening sockets of one worker.

    Args:
        config: for TLS and the size of messages.
        grpc_path: the unix socket of this process's gRPC server.
        take_over: serves the connection of one call.
        paths: what can be called so.
        peers: where the gRPC server learns who is behind a connection.
    """

    def __init__(
        self,
        config: ServerConfig,
        grpc_path: Path,
        take_over: TakeOver,
        paths: Collection[str],
        peers: RelayedPeers,
    ) -> None:
        self.max_message_bytes = config.max_message_bytes
        self.take_over = take_over
        self.paths = paths
        self._grpc_path = str(grpc_path)
        self._peers = peers
        self._tls = _tls_context(config)
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._undecided: set[_Arrival] = set()
        self._relays: set[asyncio.Task[None]] = set()

    def bind(self, addresses: Sequence[Address]) -> None:
        """Bind all addresses.

        Raises:
            AddressInUse: if one cannot be listened on.
        """
        for address in addresses:
            self._sockets.append(listening_socket(address))

    async def start(self) -> None:
        """Listen."""
        _allow_many_connections()
        loop = asyncio.get_running_loop()
        limit = None if self._tls is None else _HANDSHAKE_SECONDS
        for bound in self._sockets:
            is_unix = bound.family == socket.AF_UNIX
            create = loop.create_unix_server if is_unix else loop.create_server
            server = await create(
                lambda: _Arrival(self),
                sock=bound,
                backlog=_BACKLOG,
                ssl=self._tls,
                ssl_handshake_timeout=limit,
            )
            self._servers.append(server)

    def close(self) -> None:
        """Listen no more, and drop the connections that are not decided yet."""
        for server in self._servers:
            server.close()
        for arrival in list(self._undecided):
            arrival.drop()
        for relay in list(self._relays):
            relay.cancel()

    def arrived(self, arrival: "_Arrival") -> None:
        """Count a connection as undecided."""
        self._undecided.add(arrival)

    def decided(self, arrival: "_Arrival") -> None:
        """Count it no more."""
        self._undecided.discard(arrival)

    def relay(self, transport: asyncio.Transport, received: bytes) -> None:
        """Pass a connection on to the gRPC server."""
        transport.pause_reading()
        relay = Relay(transport, received, self._peers)
        peer = peer_of(transport.get_extra_info("peercert"))
        transport.set_protocol(relay)
        task = asyncio.get_running_loop().create_task(relay.connect(self._grpc_path, peer))
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)


class _Arrival(asyncio.Protocol):
    """A connection whose first request has not been read yet."""

    _transport: asyncio.Transport
    _limit: asyncio.TimerHandle

    def __init__(self, front: Front) -> None:
        self._front = front
        self._received = b""
        self._stream = ServerStream(max_message_bytes=front.max_message_bytes)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._limit = loop.call_later(_HANDSHAKE_SECONDS, self._late)
        self._front.arrived(self)
        self._transport.write(_SETTINGS)

    def data_received(self, data: bytes) -> None:
        self._received += data
        messages: list[bytes] = []
        error = None
        try:
            messages = self._stream.receive(data)
        except ProtocolError as exc:
            error = exc
        if self._stream.metadata is not None:
            self._decide(messages, error)
        elif error is not None:
            self._refuse()
        elif len(self._received) > _UNDECIDED_BYTES:
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._leave()

    def drop(self) -> None:
        """Close the connection."""
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        self._limit.cancel()
        self._front.decided(self)

    def _decide(self, messages: list[bytes], error: ProtocolError | None) -> None:
        if self._stream.path in self._front.paths and _is_alone(self._stream):
            self._leave()
            self._front.take_over(self._transport, self._stream, messages, error)
        else:
            self._relay()

    def _relay(self) -> None:
        self._leave()
        self._front.relay(self._transport, self._received)

    def _refuse(self) -> None:
        """Tell the peer what is wrong with it, and close."""
        self._leave()
        while data := self._stream.outgoing():
            self._transport.write(data)
        self._transport.close()

    def _late(self) -> None:
        if len(self._received) >= len(PREFACE) + len(_SETTINGS):
            # It speaks HTTP/2, and may rest as long as it likes, or send a PING: gRPC knows.
            self._relay()
        else:
            self.drop()


def _is_alone(stream: ServerStream) -> bool:
    """Whether ``streams`` can serve the call; gRPC answers everything else."""
    headers = dict(stream.metadata or ())
    name, value = ONE_CALL_HEADER
    return (
        headers.get(name) == value
        and headers.get("content-type", "").startswith("application/grpc")
        and headers.get("grpc-encoding", "identity") == "identity"
    )


def listening_socket(address: Address) -> socket.socket:
    """Return a socket bound to *address*, which other workers can share.

    Raises:
        AddressInUse: if it cannot be bound.
    """
    family = socket.AF_INET
    if address.is_unix:
        family = socket.AF_UNIX
    elif ":" in address.host:
        family = socket.AF_INET6
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if address.is_unix:
            # Of a worker that crashed: that no other server listens there, its parent made sure.
            Path(address.path).unlink(missing_ok=True)
            bound.bind(address.path)
        else:
            only_ipv6(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _keep_alive(bound)
            bound.bind((address.host, address.port))
    except OSError as exc:
        bound.close()
        raise AddressInUse(f"cannot listen on {address}: {exc.strerror}") from exc
    bound.setblocking(False)
    return bound


def _keep_alive(listening: socket.socket) -> None:
    """Let the system probe silent clients; accepted connections inherit it."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # What Linux calls TCP_KEEPIDLE is TCP_KEEPALIVE on macOS.
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    if idle is not None:
        listening.setsockopt(socket.IPPROTO_TCP, idle, _KEEPALIVE_IDLE)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_COUNT)


def _tls_context(config: ServerConfig) -> ssl.SSLContext | None:
    if config.tls_certificate is None or config.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # HTTP/2 forbids the others of TLS 1.2 (RFC 9113, appendix A).
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(config.tls_certificate, config.tls_key)
    if config.tls_client_ca is not None:
        context.load_verify_locations(config.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _allow_many_connections() -> None:
    """Raise the limit of open files as far as may be: each session is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS allows less than it says.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
