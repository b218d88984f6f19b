"""The schemas of tenants: which migrations they have, and what their catalogs hold."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from psycopg import sql

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.placements import PLACEMENT_COLUMNS, placement_from_row
from mtdd_router.server.schema_facts import FACTS, FINGERPRINTS
from mtdd_router.types import Isolation, Placement, SchemaDetail, SchemaFact, SchemaState

__all__ = ["ConnectTo", "Schemas", "find_placements"]

ConnectTo = Callable[[str], AbstractAsyncContextManager[AsyncConnection]]
"""Opens a connection to another database of the shard."""

# What a database-isolated tenant's tables are in.
_PUBLIC: Final = "public"


async def find_placements(connection: AsyncConnection, tenants: Sequence[str]) -> list[Placement]:
    """Return the placements of those of *tenants* that live here, in their order."""
    cursor = await connection.execute(
        f"SELECT {PLACEMENT_COLUMNS} FROM mtdd.placement WHERE tenant = ANY(%s)", [list(tenants)]
    )
    found = {row[0]: placement_from_row(row) for row in await cursor.fetchall()}
    return [found[tenant] for tenant in tenants if tenant in found]


class Schemas:
    """Reads schemas on the shard's own database, and on those of tenants.

    Args:
        connection: to the shard's own database.
        connect_to: opens others.
    """

    def __init__(self, connection: AsyncConnection, connect_to: ConnectTo) -> None:
        self._connection = connection
        self._connect_to = connect_to

    async def inspect(self, tenants: Sequence[str], detail: SchemaDetail) -> list[SchemaState]:
        """Return the states of those of *tenants* that live here."""
        placements = await find_placements(self._connection, tenants)
        in_schemas = [p for p in placements if p.isolation is Isolation.SCHEMA]
        async with _planned_for_catalogs(self._connection):
            states = await self._in_schemas(in_schemas, detail)
        for placement in placements:
            if placement.isolation is Isolation.DATABASE:
                states.append(await self._in_database(placement, detail))
        return states

    async def _in_schemas(
        self, placements: list[Placement], detail: SchemaDetail
    ) -> list[SchemaState]:
        cursor = await self._connection.execute(
            "SELECT * FROM mtdd.applied_migrations(%s)", [[p.tenant for p in placements]]
        )
        applied: dict[str, list[str]] = dict(await cursor.fetchall())
        names = {p.tenant: p.namespace for p in placements}
        looked = await _look(
            self._connection, list(names.values()), [p.role for p in placements], detail
        )
        return [
            self._state(tenant, applied.get(tenant) or [], looked.get(namespace))
            for tenant, namespace in names.items()
        ]

    async def _in_database(self, placement: Placement, detail: SchemaDetail) -> SchemaState:
        async with self._connect_to(placement.namespace) as connection:
            cursor = await connection.execute(
                "SELECT FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND NOT c.relrowsecurity"
                " AND c.oid = pg_catalog.to_regclass('public.django_migrations')"
            )
            applied: list[str] = []
            if cursor.rowcount:
                role = sql.Identifier(placement.role)
                async with connection.transaction():
                    await connection.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
                    cursor = await connection.execute(
                        "SELECT app || '.' || name FROM public.django_migrations"
                    )
                    applied = [row[0] for row in await cursor.fetchall()]
            looked = await _look(connection, [_PUBLIC], [placement.role], detail)
        return self._state(placement.tenant, applied, looked.get(_PUBLIC))

    def _state(
        self, tenant: str, applied: list[str], looked: "tuple[str, tuple[SchemaFact, ...]] | None"
    ) -> SchemaState:
        fingerprint, facts = looked or ("", ())
        return SchemaState(
            tenant=tenant,
            applied=tuple(sorted(applied)),
            postgres_major=self._connection.info.server_version // 10_000,
            fingerprint=fingerprint,
            facts=facts,
        )


async def _look(
    connection: AsyncConnection, namespaces: list[str], roles: list[str], detail: SchemaDetail
) -> dict[str, tuple[str, tuple[SchemaFact, ...]]]:
    """Return fingerprint and facts by namespace, as far as *detail* wants them."""
    if detail is SchemaDetail.APPLIED:
        return {}
    names: dict[str, Any] = {"namespaces": namespaces, "roles": roles}
    cursor = await connection.execute(FINGERPRINTS.encode(), names)
    fingerprints: dict[str, str] = dict(await cursor.fetchall())
    facts: dict[str, list[SchemaFact]] = {}
    if detail is SchemaDetail.FACTS:
        cursor = await connection.execute(FACTS.encode(), names)
        async for namespace, *fact in cursor:
            facts.setdefault(namespace, []).append(SchemaFact(*(part or "" for part in fact)))
    return {
        namespace: (fingerprint, tuple(facts.get(namespace, ())))
        for namespace, fingerprint in fingerprints.items()
    }


@asynccontextmanager
async def _planned_for_catalogs(connection: AsyncConnection) -> AsyncIterator[None]:
    """Compiling a query over catalogs takes longer than running it."""
    async with connection.transaction():
        await connection.execute("SET LOCAL jit = off")
        yield
