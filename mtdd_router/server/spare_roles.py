"""Roles made ahead of the tenants that will have them.

Whenever a role is made, every session of PostgreSQL that has become some role reads all
memberships of its login role anew the next time: with many tenants that takes longer than
most statements. So a shard with many makes roles in batches, in one transaction each,
and a new tenant then changes no role at all.

Invariants: a spare role is like one made for a tenant, and nobody has it; it is given once,
in the transaction that makes the tenant.
"""

import secrets
from typing import Final

from psycopg import sql

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.placements import PLACEMENT_COLUMNS
from mtdd_router.server.tenant_roles import TenantRoles
from mtdd_router.types import Isolation, Placement

__all__ = ["SpareRoles", "placing"]

# With fewer tenants the reading takes about a millisecond.
_FEW_TENANTS: Final = 1000
# So what a batch costs others grows no faster than what its tenants bring.
_TENANTS_PER_SPARE: Final = 64
_MOST: Final = 256
# A batch is made when this part of one is left.
_LOW: Final = 4
_LOCK: Final = 0x6D747372
_PLACING: Final = f"""
WITH spare AS (
    SELECT role FROM mtdd.spare_role WHERE login = {{login}} LIMIT 1 FOR UPDATE SKIP LOCKED
),
placed AS (
    INSERT INTO mtdd.placement ({PLACEMENT_COLUMNS})
    SELECT {{tenant}}, {{isolation}}, {{namespace}}, coalesce((SELECT role FROM spare), {{role}}),
           {{epoch}}, {{state}}
    ON CONFLICT DO NOTHING
    RETURNING {PLACEMENT_COLUMNS}
),
given AS (
    DELETE FROM mtdd.spare_role USING placed WHERE spare_role.role = placed.role
)
SELECT * FROM placed
"""
_COUNT: Final = """
SELECT (SELECT count(*) FROM mtdd.spare_role WHERE login = %s),
       (SELECT count(*) FROM mtdd.placement),
       pg_catalog.pg_try_advisory_xact_lock(%s)
"""
_IDLE_MAKERS: Final = """
DELETE FROM mtdd.role_maker k USING pg_catalog.pg_roles r
 WHERE r.rolname = k.role
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                    WHERE m.member = r.oid OR m.grantor = r.oid)
RETURNING k.role
"""


def placing(placement: Placement) -> sql.Composable:
    """Return what inserts the placement, with a spare role instead of its own if there is one.

    It returns the row of PLACEMENT_COLUMNS that is stored then, or none if what must be unique
    is taken.
    """
    return sql.SQL(_PLACING).format(
        login=_logs_in(placement.isolation),
        tenant=placement.tenant,
        isolation=placement.isolation.value,
        namespace=placement.namespace,
        role=placement.role,
        epoch=placement.epoch,
        state=placement.state.value,
    )


class SpareRoles:
    """The spare roles of a shard, on a connection that does nothing else meanwhile."""

    def __init__(self, connection: AsyncConnection, roles: TenantRoles) -> None:
        self._connection = connection
        self._roles = roles

    async def refill(self, isolation: Isolation) -> int:
        """Make a batch if few are left; return how many were made."""
        login = _logs_in(isolation)
        connection = self._connection
        async with connection.transaction():
            cursor = await connection.execute(_COUNT, [login, _LOCK])
            row = await cursor.fetchone()
            assert row is not None
            there, tenants, alone = row
            wanted = min(tenants // _TENANTS_PER_SPARE, _MOST)
            if not alone or tenants < _FEW_TENANTS or there * _LOW > wanted:
                return 0
            names = [f"mtdd_role_{secrets.token_hex(8)}" for _ in range(wanted - there)]
            await self._drop_idle_makers()
            maker = f"mtdd_maker_{secrets.token_hex(8)}" if self._roles.counts_members else ""
            await self._roles.make_batch(names, isolation, maker)
            if maker:
                await connection.execute("INSERT INTO mtdd.role_maker VALUES (%s)", [maker])
            await connection.execute(
                "INSERT INTO mtdd.spare_role (role, login)"
                " SELECT role, %s FROM pg_catalog.unnest(%s::text[]) AS role",
                [login, names],
            )
        return len(names)

    async def _drop_idle_makers(self) -> None:
        """Drop those whose roles are all gone."""
        cursor = await self._connection.execute(_IDLE_MAKERS)
        for (maker,) in await cursor.fetchall():
            await self._connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(maker)))


def _logs_in(isolation: Isolation) -> bool:
    return isolation is Isolation.STRICT
