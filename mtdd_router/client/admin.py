"""ShardAdminService, called as plain functions on plain values."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from mtdd_router.types import Placement, ShardInfo, ShardPlacements, TenantState

__all__ = ["ShardAdmin"]


class ShardAdmin:
    """The administration of the shard server at *address*.

    Args:
        address: ``host:port`` or ``unix:/path``.
        shard: the shard's name, for messages.
        timeout: of each call, in seconds.

    Every method raises ShardUnavailable if the server or its PostgreSQL cannot
    be reached, and ShardRefused, with the server's own words, if it refuses.
    """

    def __init__(self, address: str, *, shard: str = "", timeout: float = 10.0) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def close(self) -> None: ...

    def info(self) -> ShardInfo: ...

    def create_namespace(self, placement: Placement) -> Placement: ...

    def drop_namespace(self, tenant: str) -> bool: ...

    def drop_orphan(self, name: str) -> bool: ...

    def update_placement(
        self,
        tenant: str,
        *,
        expected_epoch: int,
        name: str = "",
        state: TenantState | None = None,
        epoch: int = 0,
    ) -> Placement: ...

    def placements(self, *, tenant: str = "", orphans: bool = False) -> ShardPlacements: ...

    def sizes(self, tenants: Iterable[str] = ()) -> Mapping[str, int]: ...
