"""The placements of this shard, cached.

Invariants: a cached placement is as PostgreSQL has it, or its change is a
notification still under way; without the control connection nothing is cached;
a tenant that is not here is never cached.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from mtdd_router.errors import InvalidTenantName, ShardUnavailable
from mtdd_router.server.control import ControlConnection
from mtdd_router.server.logs import get_logger
from mtdd_router.types import Isolation, Placement, TenantState, validate_tenant_name

__all__ = ["PLACEMENT_COLUMNS", "PlacementTable", "placement_from_row"]

PLACEMENT_COLUMNS: Final = "tenant, isolation, namespace, role, epoch, state"

log = get_logger(__name__)


def placement_from_row(row: tuple[Any, ...]) -> Placement:
    """Return the placement of a row of PLACEMENT_COLUMNS."""
    tenant, isolation, namespace, role, epoch, state = row
    return Placement(
        tenant=tenant,
        isolation=Isolation(isolation),
        namespace=namespace,
        role=role,
        epoch=epoch,
        state=TenantState(state),
    )


class PlacementTable:
    """Which tenants live on this shard."""

    def __init__(self, control: ControlConnection) -> None:
        self._control = control
        self._cache: dict[str, Placement] = {}
        self._names: dict[int, str] = {}
        # Rises with each notification and loss: what was read before may be stale.
        self._changes = 0
        self._wanted: dict[str, asyncio.Future[Placement | None]] = {}
        self._reader: asyncio.Task[None] | None = None
        control.watch(self)

    def get(self, tenant: str) -> Placement | None:
        """Return the cached placement; None means that ``lookup`` must be asked."""
        return self._cache.get(tenant)

    async def lookup(self, tenant: str, *, fresh: bool = False) -> Placement | None:
        """Return the placement of *tenant*, or None if it does not live here.

        Args:
            tenant: the tenant's name.
            fresh: read it from PostgreSQL now, whatever is cached.

        Raises:
            ShardUnavailable: if PostgreSQL cannot be asked.
        """
        if not fresh and (placement := self._cache.get(tenant)) is not None:
            return placement
        try:
            validate_tenant_name(tenant)
        except InvalidTenantName:
            # It cannot live here, and PostgreSQL might not even take it as text.
            return None
        wanted = self._wanted.get(tenant)
        if wanted is None:
            wanted = self._wanted[tenant] = asyncio.get_running_loop().create_future()
            if self._reader is None:
                self._reader = asyncio.create_task(self._read_wanted())
        # Others may wait for the same read, so one that gives up must not end it.
        return await asyncio.shield(wanted)

    def forget(self, tenant: str) -> None:
        """Drop *tenant* from the cache, now; its placement was just changed here."""
        self._changes += 1
        self._cache.pop(tenant, None)

    # The control connection's watcher

    def connected(self) -> None:
        """Nothing is known yet."""

    def lost(self) -> None:
        """Notifications may be missed: forget everything."""
        self._changes += 1
        self._cache.clear()
        self._names.clear()

    def notified(self, payload: str) -> None:
        """A placement was made, changed or removed; *payload* is its number."""
        self._changes += 1
        if not payload.isascii() or not payload.isdecimal():
            self._cache.clear()
            self._names.clear()
            return
        name = self._names.pop(int(payload), None)
        if name is not None:
            self._cache.pop(name, None)

    # Reading

    async def _read_wanted(self) -> None:
        """Read what is wanted, in batches: what comes in during one is the next."""
        try:
            while self._wanted:
                batch, self._wanted = self._wanted, {}
                await self._answer(batch)
        finally:
            self._reader = None

    async def _answer(self, batch: Mapping[str, asyncio.Future[Placement | None]]) -> None:
        try:
            found = await self._read(list(batch))
        except BaseException as exc:
            failure = exc
            if not isinstance(exc, ShardUnavailable):
                failure = ShardUnavailable("The placements of this shard cannot be read.")
                log.exception("placements_unreadable")
            for waiting in batch.values():
                if not waiting.done():
                    waiting.set_exception(failure)
                    # Whoever waited may have given up.
                    waiting.exception()
            if not isinstance(exc, Exception):
                raise
            return
        for tenant, waiting in batch.items():
            if not waiting.done():
                waiting.set_result(found.get(tenant))

    async def _read(self, tenants: list[str]) -> dict[str, Placement]:
        async with self._control.use() as connection:
            before = self._changes
            cursor = await connection.execute(
                f"SELECT {PLACEMENT_COLUMNS}, id FROM mtdd.placement WHERE tenant = ANY(%s)",
                [tenants],
            )
            rows = await cursor.fetchall()
            found = {row[0]: placement_from_row(row[:-1]) for row in rows}
            # A change that was committed before this read is notified before it ends, one
            # committed later is notified later: only what happened in between is in doubt.
            if self._changes == before and self._control.connected:
                self._cache.update(found)
                self._names.update((row[-1], row[0]) for row in rows)
        return found
