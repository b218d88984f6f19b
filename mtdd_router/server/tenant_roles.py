"""The roles of tenants: what makes them, ends their sessions, and drops them.

Invariants: nothing is made of, or done to, a role that does not carry the shard's mark.
The server's login role may become each of them, without having their rights before it
does. A role that logs in itself can reach one database.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from psycopg import sql

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.tenant_logins import TenantLogins
from mtdd_router.types import Isolation

__all__ = ["AlreadyExists", "NotPossible", "TenantRoles"]

_PATIENCE: Final = 5.0
_GRANTS_HAVE_OPTIONS: Final = 160000
# Of a role that is nobody's member, PUBLIC's rights are all it has.
_OPEN_DATABASES: Final = """
SELECT d.datname::text, d.datname = current_database()
  FROM pg_catalog.pg_database d,
       pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
 WHERE d.datallowconn AND a.grantee = 0 AND a.privilege_type = 'CONNECT'
 ORDER BY 1
"""
_SESSIONS: Final = (
    " FROM pg_catalog.pg_stat_activity WHERE usename = %s AND backend_type = 'client backend'"
)


class AlreadyExists(Exception):
    """Something of that name is there, and is not what was asked for."""


class NotPossible(Exception):
    """The shard is not in a state that allows this."""


class TenantRoles:
    """The roles of one shard's tenants, on a connection that does nothing else meanwhile.

    Args:
        connection: to the shard's own database.
        mark: what the comments of the shard's roles are.
        logins: how tenants with strict isolation log in.
    """

    def __init__(self, connection: AsyncConnection, mark: str, logins: TenantLogins) -> None:
        self._connection = connection
        self._mark = mark
        self._logins = logins

    async def making(self, role: str, isolation: Isolation) -> list[sql.Composable]:
        """Return what makes the role if it is not there, and lets the login role switch to it.

        Raises:
            AlreadyExists: if it is not the shard's own.
            NotPossible: if it could log in elsewhere.
        """
        name = sql.Identifier(role)
        strict = isolation is Isolation.STRICT
        comment, may_switch = await self._facts(role)
        statements: list[sql.Composable] = []
        # An outer join with none is no comment either: pg_has_role tells them apart.
        if may_switch is None:
            attributes = self._logins.attributes(role) if strict else sql.SQL("NOLOGIN")
            statements.append(sql.SQL("CREATE ROLE {} {}").format(name, attributes))
            statements.append(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, self._mark))
        elif comment != self._mark:
            raise AlreadyExists(
                f"Role {role!r} exists and was not made by this shard server; "
                "give the tenant another role, or drop that one yourself."
            )
        # The login role switches to it, but should not have its rights without switching.
        if not may_switch:
            options = " WITH INHERIT FALSE, SET TRUE" if self._grants_have_options else ""
            statements.append(sql.SQL("GRANT {} TO CURRENT_USER" + options).format(name))
        if strict and not await self._is_let_in():
            database = sql.Identifier(self._connection.info.dbname)
            statements.append(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
        return statements

    async def make(self, role: str, isolation: Isolation) -> None:
        """Make the role, as `making` says."""
        await self._run_all(await self.making(role, isolation))

    async def shut(self, role: str) -> None:
        """Let the role log in no more, wait for its running statements, and end its sessions.

        Raises:
            NotPossible: if a transaction still runs after some seconds.
        """
        name = sql.Identifier(role)
        if await self._comment(role) != self._mark:
            return
        await self._run_all([sql.SQL("ALTER ROLE {} NOLOGIN").format(name)])
        try:
            async with asyncio.timeout(_PATIENCE):
                while await self._is_busy(role):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise NotPossible(
                f"Role {role!r} is in use: a transaction still runs after {_PATIENCE:g} s."
            ) from None
        async with self._as(role):
            await self._connection.execute(
                f"SELECT pg_catalog.pg_terminate_backend(pid, 2000){_SESSIONS}", [role]
            )

    async def require_closed_databases(self) -> None:
        """Make sure that a role of a tenant's could log in to no other database.

        Raises:
            NotPossible: naming those that let everybody in, and what closes them.
        """
        cursor = await self._connection.execute(_OPEN_DATABASES)
        others = [name for name, own in await cursor.fetchall() if not own]
        if others:
            names = sql.SQL(", ").join(map(sql.Identifier, others)).as_string()
            raise NotPossible(
                "Strict isolation needs roles that can connect to this database alone, but "
                f"everybody may connect to {', '.join(others)}; as their owner, run: "
                f"REVOKE CONNECT ON DATABASE {names} FROM PUBLIC; and grant it to whom it is for."
            )

    # internals

    @property
    def _grants_have_options(self) -> bool:
        return self._connection.info.server_version >= _GRANTS_HAVE_OPTIONS

    async def _facts(self, role: str) -> tuple[str, bool | None]:
        """Return the role's comment, and whether the login role may switch; None if none is."""
        cursor = await self._connection.execute(
            "SELECT coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), ''),"
            " pg_catalog.pg_has_role(r.oid, %s) OR l.rolsuper AND r.oid IS NOT NULL"
            " FROM pg_catalog.pg_roles l LEFT JOIN pg_catalog.pg_roles r ON r.rolname = %s"
            " WHERE l.rolname = current_user",
            ["SET" if self._grants_have_options else "MEMBER", role],
        )
        row = await cursor.fetchone()
        assert row is not None
        return row[0], row[1]

    async def _comment(self, role: str) -> str | None:
        """Return the comment of *role*, empty if it has none, None if there is no such role."""
        cursor = await self._connection.execute(
            "SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_authid'), '')"
            " FROM pg_catalog.pg_roles WHERE rolname = %s",
            [role],
        )
        row = await cursor.fetchone()
        return None if row is None else str(row[0])

    async def _is_let_in(self) -> bool:
        """Whether everybody may connect to the shard's own database."""
        cursor = await self._connection.execute(_OPEN_DATABASES)
        return any(own for _, own in await cursor.fetchall())

    async def _is_busy(self, role: str) -> bool:
        async with self._as(role):
            cursor = await self._connection.execute(
                f"SELECT{_SESSIONS} AND state IS DISTINCT FROM 'idle' LIMIT 1", [role]
            )
            return bool(cursor.rowcount)

    @contextlib.asynccontextmanager
    async def _as(self, role: str) -> AsyncIterator[None]:
        """Become the role, which alone sees and ends its sessions."""
        async with self._connection.transaction():
            await self._run_all([sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role))])
            yield

    async def _run_all(self, statements: list[sql.Composable]) -> None:
        if statements:
            await self._connection.execute(sql.SQL("; ").join(statements))
