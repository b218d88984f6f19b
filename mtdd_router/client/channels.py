"""The gRPC channels of this process, one set for each shard server.

Channels are made lazily. After a fork the child makes its own; the parent's are
kept, untouched, since closing them there would disturb the parent.
"""

import itertools
import os
import threading
from dataclasses import dataclass
from typing import Any, Final

import grpc

__all__ = ["Channels", "Endpoint", "channels_of"]

_MAX_MESSAGE_BYTES: Final = 1 << 30
_KEEPALIVE_MS: Final = 20_000
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # A server that vanished without a word is noticed in half a minute.
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS // 2),
    # Each channel connects for itself, so that several reach several workers.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In truth it bounds one attempt to connect, not the pause: a busy server needs its time.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A shard server, and how to talk to it.

    Attributes:
        address: ``host:port`` or ``unix:/path``.
        shard: the shard's name, for messages.
        token: the bearer token, or empty.
        root_certificates: PEM of the authorities for TLS; None for no TLS.
        client_certificate, client_key: PEM, for mutual TLS.
    """

    address: str
    shard: str = ""
    token: str = ""
    root_certificates: bytes | None = None
    client_certificate: bytes | None = None
    client_key: bytes | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata that each call carries."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def connect(self, **options: Any) -> grpc.Channel:
        """Return a new channel to this endpoint."""
        every = [*_OPTIONS, *options.items()]
        if self.root_certificates is None:
            return grpc.insecure_channel(self.address, options=every)
        credentials = grpc.ssl_channel_credentials(
            self.root_certificates, self.client_key, self.client_certificate
        )
        return grpc.secure_channel(self.address, credentials, options=every)


class Channels:
    """The channels to one endpoint, used in turn.

    Args:
        endpoint: the shard server.
        count: how many connections to spread sessions over.
    """

    def __init__(self, endpoint: Endpoint, count: int = 2) -> None:
        self._channels = [endpoint.connect() for _ in range(count)]
        self._turn = itertools.count()

    def next(self) -> grpc.Channel:
        """Return the next channel."""
        return self._channels[next(self._turn) % len(self._channels)]


_lock = threading.Lock()
_by_endpoint: dict[Endpoint, Channels] = {}
_parents: list[Channels] = []


def channels_of(endpoint: Endpoint) -> Channels:
    """Return this process's channels to *endpoint*."""
    channels = _by_endpoint.get(endpoint)
    if channels is None:
        with _lock:
            channels = _by_endpoint.get(endpoint)
            if channels is None:
                channels = _by_endpoint[endpoint] = Channels(endpoint)
    return channels


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a lock held by another thread of the parent stays locked
    _lock = threading.Lock()
    _parents.extend(_by_endpoint.values())
    _by_endpoint.clear()


os.register_at_fork(after_in_child=_after_fork)
