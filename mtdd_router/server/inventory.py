"""What is on a shard: facts, placements, sizes, and what does not fit together."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from psycopg import errors as pg_errors

from mtdd_router.server.namespaces import Namespaces
from mtdd_router.server.placements import PLACEMENT_COLUMNS, placement_from_row
from mtdd_router.types import Placement

__all__ = ["Facts", "Inventory"]

_FACTS: Final = """
SELECT s.shard_id, current_setting('server_version'), current_database()::text,
       (SELECT count(*) FROM mtdd.placement),
       CASE WHEN %s THEN
       pg_catalog.pg_database_size(current_database())
         + coalesce((SELECT sum(pg_catalog.pg_database_size(d.oid))
                       FROM mtdd.placement p
                       JOIN pg_catalog.pg_database d ON d.datname = p.namespace
                      WHERE p.isolation = 'database'), 0)::bigint
       ELSE 0 END
  FROM mtdd.shard s
"""

# By functions that look names up, for joining the catalogs takes longer to plan than to do.
_PAGE: Final = f"""
SELECT {PLACEMENT_COLUMNS},
       pg_catalog.to_regrole(pg_catalog.quote_ident(role)) IS NULL
       OR CASE isolation
          WHEN 'database' THEN NOT EXISTS (
               SELECT FROM pg_catalog.pg_database WHERE datname = namespace)
          ELSE pg_catalog.to_regnamespace(pg_catalog.quote_ident(namespace)) IS NULL
          END AS missing
  FROM mtdd.placement
 WHERE {{}}
 ORDER BY tenant COLLATE "C"
 LIMIT %(limit)s
"""
_PAGE_OF_SOME: Final = _PAGE.format('tenant = ANY(%(tenants)s) AND tenant COLLATE "C" > %(after)s')
_PAGE_OF_ALL: Final = _PAGE.format('tenant COLLATE "C" > %(after)s')

# The owner's mark counts as well: a tenant may change the comments of what it owns.
_ORPHANS: Final = """
WITH marked AS (
    SELECT r.oid, r.rolname
      FROM pg_catalog.pg_roles r
      JOIN pg_catalog.pg_shdescription c
        ON c.objoid = r.oid AND c.classoid = 'pg_catalog.pg_authid'::regclass
     WHERE c.description = %(mark)s
)
SELECT m.rolname::text FROM marked m
 WHERE NOT EXISTS (SELECT FROM mtdd.placement p WHERE p.role = m.rolname)
   AND NOT EXISTS (SELECT FROM mtdd.spare_role s WHERE s.role = m.rolname)
   AND NOT EXISTS (SELECT FROM mtdd.spare_schema f WHERE f.role = m.rolname)
   AND NOT EXISTS (SELECT FROM mtdd.retired_role g WHERE g.role = m.rolname)
UNION
SELECT n.nspname::text FROM pg_catalog.pg_namespace n
 WHERE (n.nspowner IN (SELECT oid FROM marked)
        OR pg_catalog.obj_description(n.oid, 'pg_namespace') = %(mark)s)
   AND NOT EXISTS (SELECT FROM mtdd.placement p
                    WHERE p.isolation <> 'database' AND p.namespace = n.nspname)
   AND NOT EXISTS (SELECT FROM mtdd.spare_schema f WHERE f.name = n.nspname)
UNION
SELECT d.datname::text FROM pg_catalog.pg_database d
 WHERE (d.datdba IN (SELECT oid FROM marked)
        OR pg_catalog.shobj_description(d.oid, 'pg_database') = %(mark)s)
   AND NOT EXISTS (SELECT FROM mtdd.placement p
                    WHERE p.isolation = 'database' AND p.namespace = d.datname)
ORDER BY 1
"""

_SIZES: Final = """
SELECT p.tenant,
       CASE p.isolation
       WHEN 'database' THEN (SELECT pg_catalog.pg_database_size(d.oid)
                               FROM pg_catalog.pg_database d WHERE d.datname = p.namespace)
       ELSE (SELECT sum({size})
               FROM pg_catalog.pg_namespace n
               JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
               {join}
              WHERE n.nspname = p.namespace {kinds})
       END::bigint
  FROM mtdd.placement p
 WHERE %(all)s OR p.tenant = ANY(%(tenants)s)
"""
_MEASURED: Final = _SIZES.format(
    size="pg_catalog.pg_total_relation_size(c.oid)",
    join="",
    kinds="AND c.relkind IN ('r', 'm', 'S')",
)
_ESTIMATED: Final = _SIZES.format(
    size="(c.relpages + coalesce(t.relpages, 0)) * current_setting('block_size')::bigint",
    join="LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid",
    kinds="",
)
# Measuring takes a lock that a running migration may hold.
_PATIENCE_MS: Final = 500


@dataclass(frozen=True, slots=True)
class Facts:
    """What PostgreSQL tells of the shard; the size is zero unless it was asked for."""

    shard_id: UUID
    postgres_version: str
    database_name: str
    tenants: int
    database_bytes: int


class Inventory:
    """Reads what is there; changes nothing."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._connection = namespaces.connection
        self._mark = namespaces.mark

    async def facts(self, *, size: bool) -> Facts:
        """Return what PostgreSQL tells of the shard; measuring it looks at each of its files."""
        cursor = await self._connection.execute(_FACTS, [size], prepare=True)
        row = await cursor.fetchone()
        assert row is not None
        return Facts(*row)

    async def page(
        self, tenants: list[str], *, after: str, limit: int
    ) -> tuple[list[Placement], list[str]]:
        """Return placements by name, and the tenants among them that miss role or namespace.

        Args:
            tenants: only theirs; all, if none is named.
            after: only of names behind this one.
            limit: at most so many.
        """
        cursor = await self._connection.execute(
            _PAGE_OF_SOME if tenants else _PAGE_OF_ALL,
            {"tenants": tenants, "after": after, "limit": max(limit, 1)},
        )
        rows = await cursor.fetchall()
        placements = [placement_from_row(row[:-1]) for row in rows]
        return placements, [row[0] for row in rows if row[-1]]

    async def orphans(self) -> list[str]:
        """Return the names of marked roles, schemas and databases without a placement."""
        cursor = await self._connection.execute(_ORPHANS, {"mark": self._mark})
        return [row[0] for row in await cursor.fetchall()]

    async def sizes(self, tenants: list[str]) -> dict[str, int]:
        """Return sizes in bytes, of all tenants if none is named.

        While a table is locked, as by a migration, PostgreSQL's own estimate
        from the last vacuum is taken instead.
        """
        parameters = {"all": not tenants, "tenants": tenants}
        try:
            async with self._connection.transaction():
                await self._connection.execute(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")
                cursor = await self._connection.execute(_MEASURED, parameters)
        except pg_errors.LockNotAvailable:
            cursor = await self._connection.execute(_ESTIMATED, parameters)
        return {tenant: size or 0 for tenant, size in await cursor.fetchall()}
