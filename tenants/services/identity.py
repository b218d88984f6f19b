"""Who answers at a shard's address."""

import socket
from typing import Final

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import TLS, Endpoint
from mtdd_router.client.tokens import TokenSigner
from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import MTDDError, ShardRefused, ShardUnavailable
from mtdd_router.types import ShardInfo
from tenants.errors import NotAShardServer
from tenants.models import Shard

__all__ = ["admin_of", "identify"]

_IDENTIFY_TIMEOUT: Final = 5.0
_CALL_TIMEOUT: Final = 30.0
_PROBE_TIMEOUT: Final = 1.0

# RFC 9113, 3.4: what a client says first; the empty SETTINGS frame belongs to it.
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
# A server's first frame is SETTINGS, type 4, after three bytes of length.
_TYPE_OFFSET: Final = 3
_SETTINGS: Final = 4


def admin_of(shard: Shard, *, timeout: float = _CALL_TIMEOUT) -> ShardAdmin:
    """Return the administration of *shard*; *timeout*, of each call, in seconds."""
    endpoint = Endpoint(
        shard.address,
        shard.name,
        mtdd_settings.shard_token,
        TLS.of(mtdd_settings.shard_tls),
        TokenSigner.of(mtdd_settings.shard_key),
        shard.shard_id or "",
    )
    return ShardAdmin(endpoint=endpoint, timeout=timeout)


def identify(
    address: str, *, shard: str, shard_id: str = "", timeout: float | None = None
) -> ShardInfo:
    """Ask the server at *address* who it is; *shard_id* is who it should be, if that is known.

    Raises:
        NotAShardServer: if something answers there that is no shard server.
        ShardUnavailable: if nothing answers, or its PostgreSQL is down.
    """
    candidate = Shard(name=shard, address=address, shard_id=shard_id)
    limit = timeout or _IDENTIFY_TIMEOUT
    try:
        if mtdd_settings.shard_key is not None and not shard_id:
            # A token has to name the shard, so it is asked first, without one.
            candidate.shard_id = admin_of(candidate, timeout=limit).identity()
        info = admin_of(candidate, timeout=limit).info()
    except ShardRefused as exc:
        raise NotAShardServer(f"{address} cannot be used as shard {shard!r}: {exc}") from exc
    except ShardUnavailable as exc:
        raise _explain(address, shard, exc) from exc
    if not info.shard_id:
        raise NotAShardServer(f"What answers at {address} is a shard server without an id.")
    return info


def _explain(address: str, shard: str, exc: ShardUnavailable) -> MTDDError:
    """Tell an address where nothing listens from one where something else does."""
    try:
        # Behind TLS nothing can be told from outside; the error says what failed.
        speaks = _speaks_http2(address) or mtdd_settings.shard_tls is not None
    except OSError:
        return ShardUnavailable(
            f"Nothing answers at {address}, the address of shard {shard!r}; start its shard "
            "server (`manage.py run_shard`), or correct the address."
        )
    if speaks:
        return exc
    return NotAShardServer(
        f"Something listens at {address}, but it does not speak gRPC: it is not a shard "
        "server, it demands TLS (MTDD_SHARD_TLS), or it hangs. Check the address."
    )


def _speaks_http2(address: str) -> bool:
    """Whether what listens there answers as every gRPC server does.

    Raises:
        OSError: if nothing listens.
    """
    with _connect(address) as connection:
        try:
            connection.sendall(_HTTP2_PREFACE)
            answer = b""
            while len(answer) <= _TYPE_OFFSET and (more := connection.recv(16)):
                answer += more
        except OSError:
            return False
    return len(answer) > _TYPE_OFFSET and answer[_TYPE_OFFSET] == _SETTINGS


def _connect(address: str) -> socket.socket:
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_TIMEOUT)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PROBE_TIMEOUT)
    try:
        connection.connect(address.removeprefix("unix:"))
    except OSError:
        connection.close()
        raise
    return connection
