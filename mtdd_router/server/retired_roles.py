"""Roles of tenants that are gone, dropped in batches.

Dropping a role makes every session of PostgreSQL read all memberships anew, as making one
does (`mtdd_router.server.spare_roles`). So on a shard with many tenants the role of one that is
deleted stays for a while.

Invariants: a retired role owns nothing, has no rights here, and belongs to nobody; no tenant is
given it again.
"""

from typing import Final

from psycopg import errors as pg_errors
from psycopg import sql

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.spare_roles import MOST, TENANTS_PER_ROLE

__all__ = ["MANY_TENANTS", "RetiredRoles", "retiring"]

# With fewer the reading takes about a millisecond: to drop a role later takes longer in all.
_MANY: Final = 1000
MANY_TENANTS: Final = (
    f"(SELECT count(*) = {_MANY} FROM (SELECT FROM mtdd.placement LIMIT {_MANY}) p)"
)
"""The expression whether the shard has so many tenants that roles are retired."""

# Whoever drops them has them to himself.
_BATCH: Final = """
SELECT (SELECT count(*) FROM mtdd.placement),
       ARRAY(SELECT role FROM mtdd.retired_role LIMIT %s FOR UPDATE SKIP LOCKED)
"""
_FORGET: Final = "DELETE FROM mtdd.retired_role WHERE role = ANY(%s)"


def retiring(role: str) -> sql.Composable:
    """Return what retires a role that owns nothing any more."""
    return sql.SQL("INSERT INTO mtdd.retired_role (role) VALUES ({})").format(role)


class RetiredRoles:
    """The retired roles of a shard, on a connection that does nothing else meanwhile."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def drop_some(self) -> int:
        """Drop them if they are many for the tenants that there are; return how many were.

        One that cannot be dropped, as somebody gave it rights elsewhere, is retired no longer:
        it is an orphan, which `check_shards` tells.
        """
        connection = self._connection
        try:
            async with connection.transaction():
                roles = await self._due()
                if roles:
                    await connection.execute(sql.SQL("; ").join(map(_dropping, roles)))
                    await connection.execute(_FORGET, [roles])
                return len(roles)
        except pg_errors.DependentObjectsStillExist:
            return await self._drop_each()

    async def _drop_each(self) -> int:
        dropped = 0
        async with self._connection.transaction():
            roles = await self._due()
            for role in roles:
                try:
                    async with self._connection.transaction():
                        await self._connection.execute(_dropping(role))
                except pg_errors.DependentObjectsStillExist:
                    continue
                dropped += 1
            await self._connection.execute(_FORGET, [roles])
        return dropped

    async def _due(self) -> list[str]:
        cursor = await self._connection.execute(_BATCH, [MOST])
        row = await cursor.fetchone()
        assert row is not None
        tenants, roles = row
        return list(roles) if len(roles) >= _batch_size(tenants) else []


def _batch_size(tenants: int) -> int:
    """Return how many roles are dropped together on a shard with so many tenants."""
    return min(tenants // TENANTS_PER_ROLE, MOST) if tenants >= _MANY else 1


def _dropping(role: str) -> sql.Composed:
    return sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role))
