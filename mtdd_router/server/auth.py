"""Who may do what: permissions from a call's bearer token.

Invariant: with any token configured, a call without a right one may do
nothing. Without tokens everything is allowed; the configuration permits that
only where no other machine can connect, or where client certificates are
demanded.
"""

import enum
import hmac
from collections.abc import Callable, Iterable
from typing import Final

from mtdd_router.server.config import ServerConfig

__all__ = ["ALL", "Authorize", "Metadata", "Permission", "make_authorize"]

_HEADER: Final = "authorization"
_SCHEME: Final = "bearer"

Metadata = Iterable[tuple[str, str | bytes]] | None


class Permission(enum.Enum):
    """What a caller may do."""

    DATA = "data"
    """Run statements on tenants."""
    ADMIN = "admin"
    """Manage namespaces, reach whole databases and tenants that are not active."""


ALL: Final = frozenset(Permission)
_NONE: Final[frozenset[Permission]] = frozenset()
_DATA_ONLY: Final = frozenset({Permission.DATA})

Authorize = Callable[[Metadata], frozenset[Permission]]
"""Returns the permissions of a call from its metadata; never raises."""


def make_authorize(config: ServerConfig) -> Authorize:
    """Return the function that decides on calls under *config*."""
    if not config.has_tokens:
        return _allow_all
    tokens = [
        (token.get_secret_value().encode(), permissions)
        for token, permissions in ((config.admin_token, ALL), (config.data_token, _DATA_ONLY))
        if token is not None
    ]

    def authorize(metadata: Metadata) -> frozenset[Permission]:
        shown = _bearer(metadata)
        granted = _NONE
        # Every token is compared, so that the time tells nothing.
        for token, permissions in tokens:
            if hmac.compare_digest(token, shown):
                granted = permissions
        return granted

    return authorize


def _allow_all(metadata: Metadata) -> frozenset[Permission]:  # noqa: ARG001
    return ALL


def _bearer(metadata: Metadata) -> bytes:
    for key, value in metadata or ():
        if key.lower() == _HEADER:
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            scheme, _, token = text.partition(" ")
            if scheme.lower() == _SCHEME:
                return token.strip().encode("utf-8", "surrogateescape")
    return b""
