"""Roles made ahead of the tenants that will have them.

Whenever a role is made, every session of PostgreSQL that has become some role reads all
memberships of its login role anew the next time: with many tenants that takes longer than
most statements. So a shard with more than a few makes roles in batches, in one transaction each,
and a new tenant then changes no role at all.

A session that reads memberships while a batch is committed may remember those of before, until
some role changes again (PostgreSQL forgets that it was told, in ``roles_is_member_of``). So a
role is changed again once all have read, and only then is a batch used.

Invariants: a spare role is like one made for a tenant, and nobody has it; it is given once,
in the transaction that makes the tenant; by then every session that was told of it a second
ago may become it.
"""

import secrets
from typing import Final

from psycopg import sql

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.tenant_roles import TenantRoles
from mtdd_router.types import Isolation

__all__ = ["MOST", "SETTLES", "TENANTS_PER_ROLE", "SpareRoles", "logs_in"]

SETTLES: Final = 1.0
"""After so many seconds every session has read which roles there are."""

MOST: Final = 512
"""So many roles are made ahead, or kept behind, at most."""

TENANTS_PER_ROLE: Final = 32
"""For so many tenants there is one: what a batch costs others grows no faster than what it brings.
"""

# With fewer tenants to read about, a role each makes tenants no slower.
_FEW_TENANTS: Final = 50
# So that most get one, of tenants that are made one after the other.
_FEWEST: Final = 64
# A batch is made when this part of all is left.
_LOW: Final = 2
_LOCK: Final = 0x6D747372
_COUNT: Final = """
SELECT (SELECT count(*) FROM mtdd.spare_role WHERE login = %s),
       (SELECT count(*) FROM mtdd.placement),
       pg_catalog.pg_try_advisory_xact_lock(%s)
"""
_SETTLED: Final = """
SELECT role FROM mtdd.spare_role
 WHERE NOT usable
   AND made_at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %s)
"""
_IDLE_MAKERS: Final = """
DELETE FROM mtdd.role_maker k USING pg_catalog.pg_roles r
 WHERE r.rolname = k.role
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                    WHERE m.member = r.oid OR m.grantor = r.oid)
RETURNING k.role
"""


class SpareRoles:
    """The spare roles of a shard, on a connection that does nothing else meanwhile."""

    def __init__(self, connection: AsyncConnection, roles: TenantRoles) -> None:
        self._connection = connection
        self._roles = roles

    async def refill(self, isolation: Isolation) -> int:
        """Make a batch if few are left; return how many were made, for `release` to be used."""
        login = logs_in(isolation)
        connection = self._connection
        async with connection.transaction():
            cursor = await connection.execute(_COUNT, [login, _LOCK])
            row = await cursor.fetchone()
            assert row is not None
            there, tenants, alone = row
            wanted = _batch_size(tenants)
            if not alone or not wanted or there * _LOW > wanted:
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

    async def release(self) -> int:
        """Let roles be used that were made `SETTLES` ago, by whomever; return how many were."""
        cursor = await self._connection.execute(_SETTLED, [SETTLES])
        settled = [role for (role,) in await cursor.fetchall()]
        if settled:
            # Who sees them usable must have been told before: this is committed by itself.
            await self._roles.touch(settled[0])
            await self._connection.execute(
                "UPDATE mtdd.spare_role SET usable = true WHERE role = ANY(%s)", [settled]
            )
        return len(settled)

    async def _drop_idle_makers(self) -> None:
        """Drop those whose roles are all gone."""
        cursor = await self._connection.execute(_IDLE_MAKERS)
        for (maker,) in await cursor.fetchall():
            await self._connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(maker)))


def _batch_size(tenants: int) -> int:
    """Return how many roles are made ahead on a shard with so many tenants."""
    if tenants < _FEW_TENANTS:
        return 0
    return min(max(tenants // TENANTS_PER_ROLE, _FEWEST), MOST)


def logs_in(isolation: Isolation) -> bool:
    """Whether the role of such a tenant is one that logs in."""
    return isolation is Isolation.STRICT
