"""What Django's settings say about connections, where the OPTIONS of a database do not.

Invariant: read once, and anew after a setting has changed. A tenant's connection is opened so
often that asking Django for what is not set, time and again, was a tenth of it.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed

__all__ = ["Defaults", "defaults"]

_PREFIX: Final = "MTDD_"


@dataclass(frozen=True, slots=True)
class Defaults:
    """The values of settings, or what holds without them.

    Attributes:
        token: MTDD_SHARD_TOKEN.
        tls: MTDD_SHARD_TLS.
        key: MTDD_SHARD_KEY.
        connect_timeout: MTDD_CONNECT_TIMEOUT.
        statement_timeout: MTDD_STATEMENT_TIMEOUT.
        kept_connections: MTDD_KEPT_CONNECTIONS.
    """

    token: str = field(repr=False)
    tls: Mapping[str, Any] | None
    key: Mapping[str, Any] | None
    connect_timeout: float
    statement_timeout: float
    kept_connections: int


@functools.cache
def defaults() -> Defaults:
    """Return what the settings say now."""
    return Defaults(
        token=getattr(settings, "MTDD_SHARD_TOKEN", ""),
        tls=getattr(settings, "MTDD_SHARD_TLS", None),
        key=getattr(settings, "MTDD_SHARD_KEY", None),
        connect_timeout=getattr(settings, "MTDD_CONNECT_TIMEOUT", 5.0),
        statement_timeout=getattr(settings, "MTDD_STATEMENT_TIMEOUT", 0.0),
        kept_connections=getattr(settings, "MTDD_KEPT_CONNECTIONS", 64),
    )


def _forget_on_change(*, setting: str, **_: object) -> None:
    if setting.startswith(_PREFIX):
        defaults.cache_clear()


setting_changed.connect(_forget_on_change, dispatch_uid="mtdd_router.backend.defaults")
