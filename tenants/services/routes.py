"""Telling this process's cache of routes that a placement has changed.

Other processes learn of it from the shard server, which refuses a stale epoch.
"""

from mtdd_router.directory import directory
from mtdd_router.domains import domains
from tenants.models import Shard

__all__ = ["forget", "forget_tenants"]


def forget(*names: str) -> None:
    """Drop the routes of these tenants, and all domains, from the cache of this process."""
    for name in names:
        directory.forget(name)
    domains.forget()


def forget_tenants(shard: Shard) -> None:
    """Drop the routes of all tenants of *shard* from the cache of this process."""
    forget(*shard.tenants.values_list("name", flat=True).iterator())
