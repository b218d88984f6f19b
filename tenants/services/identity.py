"""Who answers at a shard's address."""

import socket
from contextlib import suppress
from typing import Final

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import ShardRefused, ShardUnavailable
from mtdd_router.types import ShardInfo
from tenants.errors import NotAShardServer
from tenants.models import Shard

__all__ = ["identify", "open_admin"]

_IDENTIFY_TIMEOUT: Final = 5.0
_CALL_TIMEOUT: Final = 30.0


def open_admin(shard: Shard, *, timeout: float = _CALL_TIMEOUT) -> ShardAdmin:
    """Return the administration of *shard*, for use in a ``with``; *timeout* in seconds."""
    return ShardAdmin(
        shard.address, shard=shard.name, timeout=timeout, token=mtdd_settings.shard_token
    )


def identify(address: str, *, shard: str, timeout: float | None = None) -> ShardInfo:
    """Ask the server at *address* who it is.

    Raises:
        NotAShardServer: if something answers there that is no shard server.
        ShardUnavailable: if nothing answers, or its PostgreSQL is down.
    """
    candidate = Shard(name=shard, address=address)
    try:
        with open_admin(candidate, timeout=timeout or _IDENTIFY_TIMEOUT) as admin:
            info = admin.info()
    except ShardRefused as exc:
        raise NotAShardServer(f"{address} cannot be used as shard {shard!r}: {exc}") from exc
    except ShardUnavailable as exc:
        raise _explain(address, shard, exc) from exc
    if not info.shard_id:
        raise NotAShardServer(f"What answers at {address} is a shard server without an id.")
    return info


def _explain(address: str, shard: str, exc: ShardUnavailable) -> Exception:
    if not _listens(address):
        return ShardUnavailable(
            f"Nothing answers at {address}, the address of shard {shard!r}; start its shard "
            "server (`manage.py run_shard`), or correct the address."
        )
    return exc


def _listens(address: str) -> bool:
    """Whether anything at all accepts connections there."""
    with suppress(OSError):
        if address.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as unix:
                unix.settimeout(1.0)
                unix.connect(address.removeprefix("unix:"))
                return True
        host, _, port = address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    return False
