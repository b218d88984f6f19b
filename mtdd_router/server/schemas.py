"""The schemas of tenants: which migrations they have, and what their catalogs hold."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from psycopg import sql

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.placements import PLACEMENT_COLUMNS, placement_from_row
from mtdd_router.server.schema_facts import FACTS, FINGERPRINTS, FINGERPRINTS_ON_SHARD
from mtdd_router.types import Placement, SchemaDetail, SchemaFact, SchemaState

__all__ = ["ConnectTo", "Schemas", "find_placements"]

ConnectTo = Callable[[str], AbstractAsyncContextManager[AsyncConnection]]
"""Opens a connection to another database of the shard."""

_Looked = tuple[str, tuple[SchemaFact, ...]]
"""A fingerprint and facts."""

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
        in_schemas = [p for p in placements if p.isolation.has_schema]
        async with _planned_for_catalogs(self._connection):
            states = await self._in_schemas(in_schemas, detail)
        for placement in placements:
            if not placement.isolation.has_schema:
                states.append(await self._in_database(placement, detail))
        return states

    async def _in_schemas(
        self, placements: list[Placement], detail: SchemaDetail
    ) -> list[SchemaState]:
        cursor = await self._connection.execute(
            "SELECT * FROM mtdd.migration_states(%s)", [[p.tenant for p in placements]]
        )
        digests: dict[str, str] = {}
        known: dict[str, tuple[str, ...]] = {}
        async for tenant, digest, names in cursor:
            digests[tenant] = digest
            if names is not None:
                known[digest] = tuple(names)
        looked: dict[str, _Looked] = {}
        if detail is not SchemaDetail.APPLIED:
            looked = await _look(
                self._connection,
                [p.namespace for p in placements],
                [p.role for p in placements],
                detail,
                on_shard=True,
            )
        return [
            self._state(p.tenant, known.get(digests.get(p.tenant, ""), ()), looked.get(p.namespace))
            for p in placements
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
            looked: dict[str, _Looked] = {}
            if detail is not SchemaDetail.APPLIED:
                looked = await _look(connection, [_PUBLIC], [placement.role], detail)
        return self._state(placement.tenant, tuple(sorted(applied)), looked.get(_PUBLIC))

    def _state(
        self, tenant: str, applied: tuple[str, ...], looked: "_Looked | None"
    ) -> SchemaState:
        fingerprint, facts = looked or ("", ())
        return SchemaState(
            tenant=tenant,
            applied=applied,
            postgres_major=self._connection.info.server_version // 10_000,
            fingerprint=fingerprint,
            facts=facts,
        )


async def _look(
    connection: AsyncConnection,
    namespaces: Sequence[str],
    roles: Sequence[str],
    detail: SchemaDetail,
    *,
    on_shard: bool = False,
) -> dict[str, _Looked]:
    """Return fingerprint and facts by namespace, as far as *detail* wants them."""
    names = {"namespaces": list(namespaces), "roles": list(roles)}
    query = sql.SQL(FINGERPRINTS_ON_SHARD if on_shard else FINGERPRINTS)
    cursor = await connection.execute(query.format(**names))
    fingerprints: dict[str, str] = dict(await cursor.fetchall())
    facts: dict[str, list[SchemaFact]] = {}
    if detail is SchemaDetail.FACTS:
        cursor = await connection.execute(sql.SQL(FACTS).format(**names))
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
