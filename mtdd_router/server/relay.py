"""Connections of other gRPC clients, passed on to this process's gRPC server.

Bytes pass in both directions as they are, with back-pressure and half-close, but for what
``frame_gate`` keeps back; a connection with a frame that no client sends is closed.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from mtdd_router.server.frame_gate import FrameGate
from mtdd_router.server.logs import get_logger
from mtdd_router.server.peers import Peer, RelayedPeers
from mtdd_router.wire.http2 import ProtocolError

__all__ = ["Relay"]

_log = get_logger(__name__)


class Relay(asyncio.Protocol):
    """The client's side of a relayed connection; takes over a transport.

    Args:
        transport: the client's, while reading from it is paused.
        received: what was read from it so far, from the preface on.
        peers: where the gRPC server learns who that is.
    """

    def __init__(self, transport: asyncio.Transport, received: bytes, peers: RelayedPeers) -> None:
        self._transport = transport
        self._received = received
        self._far: _FarSide | None = None
        self._gate = FrameGate()
        self._lost = False
        self._peers = peers
        self._name = ""

    async def connect(self, path: str, peer: Peer) -> None:
        """Connect to the gRPC server at the unix socket *path* for *peer*, and begin."""
        loop = asyncio.get_running_loop()
        try:
            with self._peers.named(peer) as (connection, self._name):
                await loop.sock_connect(connection, path)
                _, far = await loop.create_unix_connection(
                    lambda: _FarSide(self._transport, self._forget), sock=connection
                )
        except OSError:
            self._transport.abort()
            return
        if self._lost:
            far.transport.abort()
            return
        self._far = far
        received, self._received = self._received, b""
        self.data_received(received)
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self._far is not None
        try:
            data = self._gate.passed(data)
        except ProtocolError as exc:
            _log.info("protocol_error", error=str(exc))
            self._transport.abort()
            return
        if data:
            self._far.transport.write(data)

    def eof_received(self) -> bool:
        if self._far is not None:
            self._far.transport.write_eof()
        # TLS knows no half-closed connection.
        return self._transport.can_write_eof()

    def pause_writing(self) -> None:
        if self._far is not None:
            self._far.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._far is not None:
            self._far.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._lost = True
        if self._far is not None:
            self._far.transport.close()

    def _forget(self) -> None:
        self._peers.forget(self._name)


class _FarSide(asyncio.Protocol):
    """The gRPC server's side."""

    transport: asyncio.Transport

    def __init__(self, near: asyncio.Transport, closed: Callable[[], None]) -> None:
        self._near = near
        self._closed = closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._near.write(data)

    def eof_received(self) -> bool:
        if self._near.can_write_eof():
            self._near.write_eof()
            return True
        return False

    def pause_writing(self) -> None:
        self._near.pause_reading()

    def resume_writing(self) -> None:
        self._near.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closed()
        self._near.close()
