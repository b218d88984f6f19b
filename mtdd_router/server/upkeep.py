"""What is done for tenants to come, and after those that are gone, while nobody waits for it.

A worker that has made or dropped tenants makes roles and schemas ahead, and drops roles that were
left behind, and schemas that nobody came for. Invariants: that is one thing at a time, on one
connection, so that calls find another; what fails is logged, and tried again later; nothing
depends on it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import psycopg

from mtdd_router.server.admin_connections import AdminConnections
from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.logs import describe, get_logger
from mtdd_router.server.namespaces import Namespaces, NotPossible
from mtdd_router.server.script_parts import SchemaDiffers
from mtdd_router.server.spare_roles import SETTLES
from mtdd_router.server.spare_schemas import script_of
from mtdd_router.types import Isolation, ScriptPart

__all__ = ["Upkeep"]

# After how many tenants made or dropped a worker looks at the roles made ahead or left behind.
_LOOKS_AFTER: Final = 8
# For so many seconds a script is not run ahead after that has failed.
_PAUSE: Final = 60.0

# PostgreSQL is given so long to end what is cancelled.
_STOP_SECONDS: Final = 5.0

log = get_logger(__name__)


class Upkeep:
    """The upkeep of one shard by one worker.

    Args:
        connections: those for administrative calls.
        namespaces: returns the shard's namespaces on one of them.
    """

    def __init__(
        self,
        connections: AdminConnections,
        namespaces: Callable[[AsyncConnection, UUID], Namespaces],
    ) -> None:
        self._connections = connections
        self._namespaces = namespaces
        self._turn = asyncio.Lock()
        self._changes = 0
        self._stopped = False
        self._roles: asyncio.Task[None] | None = None
        self._schemas: asyncio.Task[None] | None = None
        # Scripts that could not be run ahead, and until when they are not tried again.
        self._failed: dict[ScriptPart, float] = {}

    def see_to_roles(self, made: Isolation | None = None) -> None:
        """See to the roles of tenants to come or gone, now and then.

        *made* is the isolation of the tenant that was just made; None if one was dropped.
        """
        self._changes += 1
        if self._stopped or self._roles is not None:
            return
        if self._changes % _LOOKS_AFTER == 1:
            self._roles = asyncio.create_task(self._see_to_roles(made))

    def make_schemas(self, part: ScriptPart) -> None:
        """Make schemas for tenants to come by the same script as the last one."""
        if self._stopped or self._schemas is not None or script_of(part) is None:
            return
        if self._failed.get(part, 0.0) <= asyncio.get_running_loop().time():
            self._schemas = asyncio.create_task(self._make_schemas(part))

    async def stop(self) -> None:
        """Begin nothing more, and let PostgreSQL undo what is half way."""
        self._stopped = True
        tasks = [task for task in (self._roles, self._schemas) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)

    async def _see_to_roles(self, isolation: Isolation | None) -> None:
        try:
            # First what a worker did not come to that has ended.
            await self._settle_roles()
            if isolation is not None and await self._make_roles(isolation):
                await asyncio.sleep(SETTLES + 0.1)
                await self._settle_roles()
            while await self._drop_old_schema():
                pass
        except (psycopg.Error, NotPossible) as exc:
            log.warning("roles_not_seen_to", reason=describe(exc))
        finally:
            self._roles = None

    async def _settle_roles(self) -> None:
        async with self._use() as namespaces:
            await namespaces.release()
            if dropped := await namespaces.drop_retired():
                log.info("retired_roles_dropped", count=dropped)

    async def _make_roles(self, isolation: Isolation) -> int:
        async with self._use() as namespaces:
            loop = asyncio.get_running_loop()
            started = loop.time()
            made = await namespaces.refill(isolation)
        if made:
            duration_ms = round((loop.time() - started) * 1000, 3)
            log.info("spare_roles_made", count=made, duration_ms=duration_ms)
        return made

    # Each schema has its own turn: roles, or a call, wait for one at most.

    async def _make_schemas(self, part: ScriptPart) -> None:
        made = 0
        try:
            while await self._drop_old_schema():
                pass
            while await self._make_schema(part):
                made += 1
        except (psycopg.Error, SchemaDiffers) as exc:
            log.warning("spare_schemas_not_made", reason=describe(exc))
            # Otherwise PostgreSQL was lost, which says nothing of the script.
            if isinstance(exc, SchemaDiffers) or exc.sqlstate is not None:
                self._pause(part)
        finally:
            self._schemas = None
        if made:
            log.info("spare_schemas_made", count=made)

    async def _make_schema(self, part: ScriptPart) -> bool:
        async with self._use() as namespaces:
            return await namespaces.make_ahead(part)

    async def _drop_old_schema(self) -> bool:
        async with self._use() as namespaces:
            return await namespaces.drop_old()

    def _pause(self, part: ScriptPart) -> None:
        now = asyncio.get_running_loop().time()
        self._failed = {other: until for other, until in self._failed.items() if until > now}
        self._failed[part] = now + _PAUSE

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[Namespaces]:
        async with self._turn, self._connections.use() as (connection, shard_id):
            yield self._namespaces(connection, shard_id)
