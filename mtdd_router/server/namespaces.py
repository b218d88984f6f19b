"""Making and removing the roles, schemas and databases of tenants.

Invariants: with schema isolation a placement and what it names come and go in
one transaction. A database cannot be made in one, so its placement comes first
(state creating) and goes last (state deleting), and every step may be repeated.
Nothing is dropped that does not carry the shard's mark.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import errors as pg_errors
from psycopg import sql
from psycopg.pq import TransactionStatus

from mtdd_router.server.control import (
    BEGIN,
    LOCK_TIMEOUT,
    AsyncConnection,
    clean,
    fetch_value,
)
from mtdd_router.server.identifiers import check_identifier, mark
from mtdd_router.server.placements import PLACEMENT_COLUMNS, placement_from_row
from mtdd_router.server.placing import Placed, placing
from mtdd_router.server.postgres.startup import ConnectFailed
from mtdd_router.server.preexisting import PREEXISTING, Preexisting
from mtdd_router.server.retired_roles import MANY_TENANTS, RetiredRoles, retiring
from mtdd_router.server.script_parts import (
    FOR_NEW_TABLES,
    Home,
    SchemaDiffers,
    last_rows,
    leaves_state,
    run_part,
)
from mtdd_router.server.spare_roles import SpareRoles
from mtdd_router.server.spare_schemas import (
    SpareInUse,
    SpareSchemas,
    giving,
    script_of,
    using_spare,
)
from mtdd_router.server.tenant_databases import TenantDatabases
from mtdd_router.server.tenant_logins import TenantLogins
from mtdd_router.server.tenant_roles import AlreadyExists, NotPossible, TenantRoles, not_ours
from mtdd_router.types import Filled, Isolation, Placement, ScriptPart, TenantState

__all__ = ["AlreadyExists", "Namespaces", "NotPossible"]

_Rows = list[tuple[Any, ...]]

# What there is of a schema and a role, whether the role has rights to this database, and
# whether the shard has many tenants. The mark of the schema's owner counts as well: a tenant
# may change the comments of what it owns.
_THERE: Final = f"""
SELECT (SELECT coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), '')
          FROM pg_catalog.pg_roles r WHERE r.rolname = %(role)s),
       o.rolname::text,
       pg_catalog.obj_description(n.oid, 'pg_namespace'),
       pg_catalog.shobj_description(o.oid, 'pg_authid'),
       EXISTS (SELECT FROM pg_catalog.pg_database d, pg_catalog.pg_roles r,
                      pg_catalog.aclexplode(d.datacl) a
                WHERE d.datname = current_database() AND r.rolname = %(role)s
                  AND a.grantee = r.oid),
       {MANY_TENANTS}
  FROM (VALUES (1)) one
  LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = %(schema)s
  LEFT JOIN pg_catalog.pg_roles o ON o.oid = n.nspowner
"""
_COMMIT: Final = sql.SQL("COMMIT")
_PREEXISTING: Final = "SELECT " + PREEXISTING.format(role="{role}", schema="{schema}")


class Namespaces:
    """Namespaces on a connection that does nothing else meanwhile."""

    def __init__(
        self,
        connection: AsyncConnection,
        shard_id: UUID,
        logins: TenantLogins,
        *,
        extension_schema: str,
    ) -> None:
        self.connection = connection
        self.shard_id = shard_id
        self.mark = mark(shard_id)
        self._logins = logins
        self._roles = TenantRoles(connection, self.mark, logins)
        self._databases = TenantDatabases(connection, self.mark)
        self._spares = SpareRoles(connection, self._roles)
        self._spare_schemas = SpareSchemas(connection, self.mark, extension_schema)
        self._retired = RetiredRoles(connection)
        self._extension_schema = extension_schema

    # Create

    async def create(self, placement: Placement) -> Placement:
        """Make the placement and what it names, and return it as stored.

        Raises:
            AlreadyExists: if the tenant, namespace or role is taken.
            NotPossible: if the tenant is being deleted, the login role lacks a right, or
                PostgreSQL does not let the tenant's role in.
            InvalidIdentifier: if a name is not valid.
        """
        self._check(placement)
        if placement.isolation is Isolation.DATABASE:
            return await self._create_database(placement)
        return (await self._create_schema(placement)).placement

    async def create_filled(
        self, placement: Placement, part: ScriptPart, *, compared: bool = False
    ) -> Filled:
        """Do as `create`, and run *part* in a schema that is new, in the same transaction.

        Args:
            placement: what to make.
            part: what to run, as the tenant's role; a schema in which it was run ahead will do.
            compared: whoever asks knows what *part* leads to here, and it is not compared.

        Raises:
            SchemaDiffers: if *part* did not lead to the schema that it should; nothing was made.
            AlreadyExists, NotPossible, InvalidIdentifier: as `create`.
        """
        self._check(placement)
        if placement.isolation is Isolation.DATABASE:
            raise NotPossible("A script runs where a schema is made, not where a database is.")
        script = script_of(part) if placement.isolation is Isolation.SCHEMA else None
        if compared:
            part = replace(part, fingerprint="")
        try:
            placed = await self._create_schema(placement, part, script)
        except SchemaDiffers:
            await self._clean_behind(part)
            raise
        await self._clean_behind(part)
        ran = placed.spare is None and placed.there.owner is None
        return Filled(placed.placement, ran=ran)

    async def _clean_behind(self, part: ScriptPart) -> None:
        if leaves_state(part):
            await clean(self.connection)

    def _check(self, placement: Placement) -> None:
        check_identifier("namespace", placement.namespace)
        check_identifier("role", placement.role)
        for name in (placement.namespace, placement.role):
            if name == self._extension_schema:
                raise AlreadyExists(f"The name {name!r} is used by the shard itself.")

    async def _create_schema(
        self, placement: Placement, part: ScriptPart | None = None, script: bytes | None = None
    ) -> Placed:
        """Make a placement with a schema, filled by *part*, or by the *script* run ahead."""
        if placement.isolation is Isolation.STRICT:
            return await self._create_strict(placement, part)
        try:
            return await self._place(placement, part, script)
        except SpareInUse:
            return await self._place(placement, part)

    async def _create_strict(self, placement: Placement, part: ScriptPart | None) -> Placed:
        await self._roles.require_closed_databases()
        is_new = await self.find(placement.tenant) is None
        placed = await self._place(placement, part)
        role = placed.placement.role
        try:
            await self._logins.check(role, self.connection.info.dbname)
        except ConnectFailed as exc:
            if is_new:
                await self.drop(placement.tenant)
            raise NotPossible(
                f"PostgreSQL does not let role {role!r} in: {exc}. Strict isolation needs "
                "a line of pg_hba.conf that lets all roles in from here by scram-sha-256, as it "
                "does the shard server's own."
            ) from exc
        return placed

    async def _place(
        self, placement: Placement, part: ScriptPart | None, script: bytes | None = None
    ) -> Placed:
        async with self.transaction(first=placing(placement, script)) as rows:
            placed = await self._placed(placement, rows)
            stored = placed.placement
            # A repeated call finds both; an active tenant that lost its schema
            # must not silently get an empty one.
            if stored.state is TenantState.CREATING or stored.epoch == placement.epoch:
                await self._make_schema(placed, part)
        return placed

    async def refill(self, isolation: Isolation) -> int:
        """Make roles for tenants to come, if few are left; return how many `release` lets go."""
        return await self._spares.refill(isolation)

    async def release(self) -> int:
        """Let the roles be used that were made a while ago; return how many were."""
        return await self._spares.release()

    async def make_ahead(self, part: ScriptPart) -> bool:
        """Run *part* ahead for a tenant to come, if that is missing; return whether it was done.

        Raises:
            SchemaDiffers: if *part* does not lead where it should.
        """
        return await self._spare_schemas.make(part)

    async def drop_old(self) -> bool:
        """Drop a schema that has waited for too long; return whether there was one."""
        return await self._spare_schemas.drop_old()

    async def drop_retired(self) -> int:
        """Drop the roles of tenants that are gone, if they have become many."""
        return await self._retired.drop_some()

    async def _placed(self, placement: Placement, rows: _Rows) -> Placed:
        """Return the placement of the *rows* that `placing` gave, or the one that is there."""
        if rows:
            return Placed.from_row(rows[0])
        stored = await self.find(placement.tenant)
        if stored is None:
            raise AlreadyExists(
                f"Another tenant of this shard uses the namespace {placement.namespace!r} "
                f"or the role {placement.role!r}."
            )
        same = (stored.isolation, stored.namespace) == (placement.isolation, placement.namespace)
        if not same or stored.epoch < placement.epoch:
            raise AlreadyExists(
                f"Tenant {placement.tenant!r} lives on this shard already: namespace "
                f"{stored.namespace!r}, epoch {stored.epoch}, {stored.state.value}."
            )
        if stored.state is TenantState.DELETING:
            raise NotPossible(
                f"Tenant {placement.tenant!r} is being deleted; finish that before making it anew."
            )
        return Placed(stored, await self._there(stored))

    async def _there(self, placement: Placement) -> Preexisting:
        cursor = await self.connection.execute(
            sql.SQL(_PREEXISTING).format(role=placement.role, schema=placement.namespace)
        )
        row = await cursor.fetchone()
        assert row is not None
        return Preexisting(*row)

    async def find(self, tenant: str, *, lock: bool = False) -> Placement | None:
        """Return the stored placement of *tenant*."""
        cursor = await self.connection.execute(
            f"SELECT {PLACEMENT_COLUMNS} FROM mtdd.placement WHERE tenant = %s"
            + (" FOR UPDATE" if lock else ""),
            [tenant],
        )
        row = await cursor.fetchone()
        return None if row is None else placement_from_row(row)

    async def _make_schema(self, placed: Placed, part: ScriptPart | None) -> None:
        """Make role and schema of a placement, as far as they are not there, and commit."""
        placement, there = placed.placement, placed.there
        statements = await self._roles.making(placement.role, placement.isolation, there)
        if there.owner is not None and there.owner != placement.role:
            raise AlreadyExists(
                f"Schema {placement.namespace!r} exists and belongs to role {there.owner!r}; "
                "give the tenant another namespace."
            )
        if placed.spare is not None:
            with using_spare():
                await self._run_all([*statements, *giving(placed.spare, placement), _COMMIT])
            return
        if there.owner is not None:
            await self._run_all([*statements, _COMMIT])
            return
        schema, role = sql.Identifier(placement.namespace), sql.Identifier(placement.role)
        statements += [
            sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, role),
            sql.SQL("SET LOCAL ROLE {}").format(role),
            sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, self.mark),
        ]
        if part is None:
            await self._run_all([*statements, _COMMIT])
            return
        home = Home.of(placement, self._extension_schema)
        before = sql.SQL("; ").join([sql.SQL(FOR_NEW_TABLES), *statements, sql.SQL(home.enter)])
        try:
            await run_part(self.connection, home, part, before.as_string())
        except psycopg.Error as exc:
            if self.connection.broken or exc.sqlstate is None:
                raise
            raise SchemaDiffers(str(exc)) from exc

    # Create a database

    async def _create_database(self, placement: Placement) -> Placement:
        await self._databases.require_right_to_create()
        async with self._databases.alone_with(placement.namespace):
            creating = replace(placement, state=TenantState.CREATING)
            async with self.transaction(first=placing(creating, None)) as rows:
                placed = await self._placed(creating, rows)
                stored = placed.placement
                if stored.state is not TenantState.CREATING:
                    return stored
                await self._roles.make(stored.role, stored.isolation, placed.there)
            await self._databases.make(stored)
            return await self._finish_database(placement, stored)

    async def _finish_database(self, placement: Placement, stored: Placement) -> Placement:
        async with self.transaction():
            cursor = await self.connection.execute(
                "UPDATE mtdd.placement SET state = %s, changed_at = now()"
                f" WHERE tenant = %s AND epoch = %s AND state = 'creating'"
                f" RETURNING {PLACEMENT_COLUMNS}",
                [placement.state.value, stored.tenant, stored.epoch],
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotPossible(f"Tenant {stored.tenant!r} was changed while it was being created.")
        return placement_from_row(row)

    # Drop

    async def drop(self, tenant: str) -> bool:
        """Remove the placement of *tenant* and what it names; return whether it was there.

        Raises:
            NotPossible: if the namespace stays in use, or what it names is not ours.
        """
        placement = await self.find(tenant)
        if placement is None:
            return False
        # Nothing more begins there, so that what runs is waited for once.
        closing = sql.SQL(
            "BEGIN; UPDATE mtdd.placement SET state = 'deleting', changed_at = now()"
            " WHERE tenant = {} AND state <> 'deleting'; COMMIT"
        ).format(tenant)
        delete = sql.SQL("DELETE FROM mtdd.placement WHERE tenant = {}").format(tenant)
        in_schema = placement.isolation.has_schema
        statements = await self._drop_statements(
            placement.namespace if in_schema else None,
            placement.role,
            # One that could log in is changed for that before, and might as well go.
            may_retire=placement.isolation is not Isolation.STRICT,
        )
        first: list[sql.Composable] = [closing]
        if placement.isolation is not Isolation.SCHEMA:
            await self._run_all(first)
            first = []
        if not in_schema:
            async with self._databases.alone_with(placement.namespace):
                await self._databases.drop(placement.namespace)
        elif placement.isolation is Isolation.STRICT:
            await self._roles.shut(placement.role)
        with _in_use(f"Tenant {tenant!r}"):
            # What an exception leaves open ends with the connection.
            await self._run_all([*first, sql.SQL(BEGIN), delete, *statements, _COMMIT])
        return True

    async def drop_orphan(self, name: str) -> bool:
        """Remove the marked schema, database and role *name*; return whether any was there.

        Raises:
            NotPossible: if a placement names it, or it is not ours.
        """
        check_identifier("orphan", name)
        if await fetch_value(
            self.connection,
            "SELECT EXISTS (SELECT FROM mtdd.placement WHERE namespace = %s OR role = %s)"
            " OR EXISTS (SELECT FROM mtdd.spare_role WHERE role = %s)"
            " OR EXISTS (SELECT FROM mtdd.spare_schema s WHERE s.name = %s OR s.role = %s)",
            *[name] * 5,
        ):
            raise NotPossible(
                f"{name!r} belongs to a tenant of this shard, or will; delete the tenant."
            )
        dropped = False
        if await self._databases.owner(name) is not None:
            async with self._databases.alone_with(name):
                await self._databases.drop(name)
            dropped = True
        await self._roles.shut(name)
        async with self.transaction(f"{name!r}"):
            statements = await self._drop_statements(name, name)
            await self._run_all(statements)
        return dropped or bool(statements)

    async def _drop_statements(
        self, schema: str | None, role: str, *, may_retire: bool = False
    ) -> list[sql.Composable]:
        """Return what drops the schema, and drops or retires the role, as far as they are there.

        Raises:
            NotPossible: if one of them is not ours.
        """
        cursor = await self.connection.execute(_THERE, {"schema": schema, "role": role})
        row = await cursor.fetchone()
        assert row is not None
        role_comment, owner, *marks, has_rights, many_tenants = row
        statements = []
        if owner is not None:
            if self.mark not in marks:
                raise not_ours("schema", schema)
            statements = [
                sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner)),
                sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema or "")),
                sql.SQL("SET LOCAL ROLE NONE"),
            ]
        if role_comment is not None:
            if role_comment != self.mark:
                raise not_ours("role", role)
            name = sql.Identifier(role)
            statements += [
                # Large objects and rights, which no schema holds.
                sql.SQL("SET LOCAL ROLE {}").format(name),
                sql.SQL("DROP OWNED BY {} CASCADE").format(name),
                sql.SQL("SET LOCAL ROLE NONE"),
            ]
            if has_rights:
                # Only the database's owner takes them away.
                statements += self._roles.shutting_out(role)
            retires = may_retire and many_tenants
            statements.append(retiring(role) if retires else sql.SQL("DROP ROLE {}").format(name))
        return statements

    # Statements

    @asynccontextmanager
    async def transaction(
        self, who: str = "The namespace", *, first: sql.Composable | None = None
    ) -> AsyncIterator[_Rows]:
        """Open a transaction that does not wait long for locks, and yield the rows of *first*.

        That statement takes no round trip of its own. The block may commit with its last one.
        """
        with _in_use(who):
            try:
                yield await self._begin(first)
            except BaseException:
                # Whoever lends the connection closes it if that fails.
                with suppress(psycopg.Error):
                    await self.connection.execute("ROLLBACK")
                raise
            if self.connection.info.transaction_status is not TransactionStatus.IDLE:
                await self.connection.execute("COMMIT")

    async def _begin(self, first: sql.Composable | None) -> _Rows:
        if first is None:
            await self.connection.execute(BEGIN)
            return []
        batch = sql.SQL("; ").join([sql.SQL(BEGIN), first])
        return await last_rows(self.connection, batch.as_string(self.connection))

    async def run_alone(self, who: str, statement: sql.Composable) -> _Rows:
        """Run one statement in such a transaction, in one round trip, and return its rows."""
        batch = sql.SQL("; ").join([sql.SQL(BEGIN), statement, _COMMIT])
        with _in_use(who):
            # What an exception leaves open ends with the connection.
            cursor = await self.connection.execute(batch)
            while cursor.description is None:
                cursor.nextset()
            return await cursor.fetchall()

    async def _run_all(self, statements: list[sql.Composable]) -> None:
        """Run *statements* at once."""
        if statements:
            await self.connection.execute(sql.SQL("; ").join(statements))


@contextmanager
def _in_use(who: str) -> Iterator[None]:
    """Say that *who* is in use where a lock could not be had."""
    try:
        yield
    except (pg_errors.LockNotAvailable, pg_errors.DeadlockDetected) as exc:
        raise NotPossible(
            f"{who} is in use: a transaction still holds its tables after "
            f"{LOCK_TIMEOUT:g} s; freeze the tenant, end the transaction, and try again."
        ) from exc
