"""Running scripts on tenants, as the tenants.

Invariants: an atomic part is committed only if its tenant had the expected migrations
when it began, and nobody can have applied others meanwhile, and if it led to the
expected schema. Of a part that is not atomic each statement is noted once it is done,
in its own transaction where it can run in one; so a repetition goes on behind it.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from time import monotonic
from typing import Final

import psycopg
from pglast import ast, parse_sql
from psycopg import sql

from mtdd_router.server.control import AsyncConnection, clean
from mtdd_router.server.schemas import ConnectTo, find_placements
from mtdd_router.server.script_parts import (
    Home,
    SchemaDiffers,
    leaves_state,
    rows_of_each,
    run_part,
)
from mtdd_router.types import Placement, ScriptOutcome, ScriptPart, applied_digest

__all__ = ["Scripts"]

_LOCKED: Final = "LOCK TABLE django_migrations IN SHARE ROW EXCLUSIVE MODE"
_APPLIED: Final = "SELECT app || '.' || name FROM django_migrations"
_IS_VALID: Final = (
    "SELECT x.indisvalid FROM pg_catalog.pg_class i"
    " JOIN pg_catalog.pg_index x ON x.indexrelid = i.oid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace"
    " WHERE n.nspname = %s AND i.relname = %s"
)


class Scripts:
    """Runs scripts.

    Args:
        connection: to the shard's own database.
        connect_to: opens connections to databases of tenants.
        extension_schema: where extensions live, behind the tenant's own schema.
        lock_timeout_ms: bounds each wait for a lock; zero does not.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        connect_to: ConnectTo,
        *,
        extension_schema: str,
        lock_timeout_ms: int = 0,
    ) -> None:
        self._connection = connection
        self._connect_to = connect_to
        self._extension_schema = extension_schema
        self._lock_timeout_ms = lock_timeout_ms

    async def run(
        self, tenants: Sequence[str], parts: Sequence[ScriptPart]
    ) -> AsyncIterator[ScriptOutcome]:
        """Run *parts* on each of *tenants*, and yield what became of it.

        Raises:
            psycopg.OperationalError: if PostgreSQL is lost; what is committed stays.
        """
        cleans = any(map(leaves_state, parts))
        placements = await find_placements(self._connection, tenants)
        for missing in sorted({*tenants} - {p.tenant for p in placements}):
            yield ScriptOutcome(missing, 0, 0.0, "It does not live on this shard.", differs=True)
        for placement in placements:
            async with self._at_home(placement) as connection:
                runner = _Runner(
                    connection,
                    self._connection,
                    placement,
                    Home.of(placement, self._extension_schema),
                    self._lock_timeout_ms,
                )
                outcome = await runner.run(parts)
                # The next tenant, and the next call, must not meet what a script has set.
                if cleans:
                    await clean(connection)
                yield outcome

    def _at_home(self, placement: Placement) -> AbstractAsyncContextManager[AsyncConnection]:
        if placement.isolation.has_schema:
            return nullcontext(self._connection)
        return self._connect_to(placement.namespace)


class _Runner:
    """A script on one tenant: *connection* leads to its database, *own* to the shard's."""

    def __init__(
        self,
        connection: AsyncConnection,
        own: AsyncConnection,
        placement: Placement,
        home: Home,
        lock_timeout_ms: int,
    ) -> None:
        self._connection = connection
        self._own = own
        self._placement = placement
        self._home = home
        self._timeout = f"lock_timeout = {lock_timeout_ms}"

    async def run(self, parts: Sequence[ScriptPart]) -> ScriptOutcome:
        started, done = monotonic(), 0
        failure, sqlstate, differs = "", "", False
        try:
            for part in parts:
                await (self._atomic(part) if part.atomic else self._stepwise(part))
                done += 1
        except SchemaDiffers as exc:
            failure, differs = str(exc), True
        except psycopg.Error as exc:
            if self._connection.broken or exc.sqlstate is None:
                raise
            failure, sqlstate = _describe(exc), exc.sqlstate
        return ScriptOutcome(
            self._placement.tenant, done, monotonic() - started, failure, sqlstate, differs
        )

    async def _atomic(self, part: ScriptPart) -> None:
        """Run a part in one transaction; what is read in it costs no waiting for the client."""
        connection = self._connection
        before = f"BEGIN; SET LOCAL {self._timeout}; {self._home.enter}"
        try:
            if part.expected:
                looks = f"{before}; {_LOCKED}; {_APPLIED}"
                if part.settled is not None:
                    looks = f"{looks}; {part.settled.query}"
                applied, *answers = await rows_of_each(connection, looks)
                if applied_digest([row[0] for row in applied]) != part.expected:
                    raise SchemaDiffers(  # noqa: TRY301 - what is raised is rolled back here
                        "Its migrations are no longer those that the script is for."
                    )
                before = ""
                if part.settled is not None and answers == [[(part.settled.answer,)]]:
                    needed = len(part.statements) - part.settled.statements
                    part = replace(part, statements=part.statements[:needed])
            await run_part(connection, self._home, part, before)
        except BaseException:
            if not connection.broken:
                await connection.execute(b"ROLLBACK")
            raise

    async def _stepwise(self, part: ScriptPart) -> None:
        """Run a part statement by statement, behind those that are done."""
        script = hashlib.md5("\n".join(part.statements).encode(), usedforsecurity=False).hexdigest()
        key = [self._placement.namespace, script]
        cursor = await self._own.execute(
            "SELECT statements FROM mtdd.script_progress WHERE namespace = %s AND script = %s", key
        )
        row = await cursor.fetchone()
        done = row[0] if row else 0
        for number, statement in enumerate(part.statements[done:], start=done + 1):
            tree = parse_sql(statement)[0].stmt
            assert tree is not None
            if _runs_outside(tree):
                await self._outside(statement, tree)
                await self._note(key, number)
            else:
                async with self._transaction():
                    await self._connection.execute(statement.encode())
                    await self._connection.execute(b"SET LOCAL ROLE NONE")
                    await self._note(key, number)
        await self._own.execute(
            "DELETE FROM mtdd.script_progress WHERE namespace = %s AND script = %s", key
        )

    async def _note(self, key: list[str], number: int) -> None:
        await self._own.execute(
            "INSERT INTO mtdd.script_progress (namespace, script, statements) VALUES (%s, %s, %s)"
            " ON CONFLICT (namespace, script) DO UPDATE SET statements = excluded.statements",
            [*key, number],
        )

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            await self._connection.execute(
                f"SET LOCAL {self._timeout}; {self._home.enter}".encode()
            )
            yield

    async def _outside(self, statement: str, tree: ast.Node) -> None:
        """Run what cannot run in a transaction, and may have been run half or whole before."""
        connection = self._connection
        try:
            for setting in (self._timeout, *self._home.settings):
                await connection.execute(f"SET {setting}".encode())
            if isinstance(tree, ast.IndexStmt) and tree.idxname:
                valid = await self._is_valid(tree.idxname)
                if valid:
                    return
                if valid is False:
                    name = sql.Identifier(tree.idxname)
                    await connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))
            elif isinstance(tree, ast.DropStmt) and await self._is_valid(_dropped(tree)) is None:
                return
            await connection.execute(statement.encode())
        finally:
            if not connection.broken:
                await connection.execute(b"SET ROLE NONE")
                await connection.execute(b"SET search_path = ''; SET lock_timeout = 0")

    async def _is_valid(self, index: str) -> bool | None:
        """Return whether the index is whole, or None without such an index."""
        cursor = await self._connection.execute(_IS_VALID, [self._home.schema, index])
        row = await cursor.fetchone()
        return None if row is None else bool(row[0])


def _dropped(tree: ast.DropStmt) -> str:
    """Return the name, without schema, of the one index that is dropped."""
    name: str = (tree.objects or ())[0][-1].sval
    return name


def _runs_outside(tree: ast.Node) -> bool:
    """Whether PostgreSQL refuses the statement in a transaction."""
    if isinstance(tree, (ast.IndexStmt, ast.DropStmt)):
        return bool(tree.concurrent)
    return isinstance(tree, (ast.VacuumStmt, ast.ReindexStmt))


def _describe(exc: psycopg.Error) -> str:
    diag = exc.diag
    parts = [diag.message_primary or str(exc), diag.message_detail, diag.context]
    return " ".join(part for part in parts if part)
