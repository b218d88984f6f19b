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
from mtdd_router.server.preexisting import GRANTS_HAVE_OPTIONS, Preexisting
from mtdd_router.server.tenant_logins import TenantLogins
from mtdd_router.types import Isolation

__all__ = ["AlreadyExists", "NotPossible", "TenantRoles", "not_ours"]

_PATIENCE: Final = 5.0
# Of a role that is nobody's member, PUBLIC's rights are all it has.
_OPEN_DATABASES: Final = """
SELECT d.datname::text, d.datname = current_database()
  FROM pg_catalog.pg_database d,
       pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
 WHERE d.datallowconn AND a.grantee = 0 AND a.privilege_type = 'CONNECT'
 ORDER BY 1
"""
# PostgreSQL fails where two change the rights to one database at the same time.
_ALONE: Final = sql.SQL(f"SELECT pg_catalog.pg_advisory_xact_lock({0x6D746463})")
_SESSIONS: Final = (
    " FROM pg_catalog.pg_stat_activity WHERE usename = %s AND backend_type = 'client backend'"
)


class AlreadyExists(Exception):
    """Something of that name is there, and is not what was asked for."""


class NotPossible(Exception):
    """The shard is not in a state that allows this."""


def not_ours(kind: str, name: str | None) -> NotPossible:
    """Return what tells that something does not carry the shard's mark."""
    return NotPossible(f"The {kind} {name!r} was not made by this shard server; it is left alone.")


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

    async def making(
        self, role: str, isolation: Isolation, there: Preexisting
    ) -> list[sql.Composable]:
        """Return what makes the role if it is not there, and lets the login role switch to it.

        Args:
            role: its name.
            isolation: of the tenant that has it.
            there: what there is of it.

        Raises:
            AlreadyExists: if it is not the shard's own.
            NotPossible: if it could log in elsewhere.
        """
        strict = isolation is Isolation.STRICT
        may_switch = there.may_switch
        statements: list[sql.Composable] = []
        if there.retired:
            statements += self._dropping_retired(role)
            may_switch = None
        if may_switch is None:
            statements += self._creating(role, isolation)
        elif there.comment != self._mark:
            raise AlreadyExists(
                f"Role {role!r} exists and was not made by this shard server; "
                "give the tenant another role, or drop that one yourself."
            )
        # The login role switches to it, but should not have its rights without switching.
        if not may_switch:
            statements.append(self._granting(role, sql.SQL("CURRENT_USER")))
        if strict and not await self._may_connect(there):
            statements += self._letting_in([role])
        return statements

    async def make(self, role: str, isolation: Isolation, there: Preexisting) -> None:
        """Make the role, as `making` says."""
        await self._run_all(await self.making(role, isolation, there))

    async def make_batch(self, names: list[str], isolation: Isolation, maker: str) -> None:
        """Make new roles, as `making` says, in the open transaction.

        Args:
            names: of roles that are not there.
            isolation: of the tenants that they will be given to.
            maker: a new role that makes them, if it is not empty. PostgreSQL looks through
                all roles that somebody administers before he makes one, so that a hundred
                take seconds where there are thousands; the new one administers none yet.
        """
        login = sql.Identifier(self._connection.info.user)
        statements: list[sql.Composable] = []
        if maker:
            statements += [
                sql.SQL("CREATE ROLE {} NOLOGIN CREATEROLE").format(sql.Identifier(maker)),
                sql.SQL("COMMENT ON ROLE {} IS {}").format(
                    sql.Identifier(maker), f"{self._mark}, maker of roles"
                ),
                self._granting(maker, login),
                sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(maker)),
            ]
        for name in names:
            statements += [*self._creating(name, isolation), self._granting(name, login)]
        statements.append(sql.SQL("SET LOCAL ROLE NONE"))
        if isolation is Isolation.STRICT and not await self._is_let_in():
            statements += self._letting_in(names)
        await self._run_all(statements)

    async def touch(self, role: str) -> None:
        """Change a role without any effect but that all sessions read memberships anew."""
        name = sql.Identifier(role)
        await self._run_all([sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(name)])

    @property
    def counts_members(self) -> bool:
        """Whether who makes a role is thereby its administrator, as from PostgreSQL 16 on."""
        return self._grants_have_options

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

    def shutting_out(self, role: str) -> list[sql.Composable]:
        """Return what takes the role's rights to the shard's own database."""
        database, name = sql.Identifier(self._connection.info.dbname), sql.Identifier(role)
        return [_ALONE, sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, name)]

    # internals

    def _letting_in(self, roles: list[str]) -> list[sql.Composable]:
        database = sql.Identifier(self._connection.info.dbname)
        names = sql.SQL(", ").join(map(sql.Identifier, roles))
        return [_ALONE, sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, names)]

    def _creating(self, role: str, isolation: Isolation) -> list[sql.Composable]:
        name = sql.Identifier(role)
        attributes: sql.Composable = sql.SQL("NOLOGIN")
        if isolation is Isolation.STRICT:
            attributes = self._logins.attributes(role)
        return [
            sql.SQL("CREATE ROLE {} {}").format(name, attributes),
            sql.SQL("COMMENT ON ROLE {} IS {}").format(name, self._mark),
        ]

    def _granting(self, role: str, to: sql.Composable) -> sql.Composable:
        """Return what lets *to* become the role, without its rights before that."""
        options = " WITH INHERIT FALSE, SET TRUE" if self._grants_have_options else ""
        return sql.SQL("GRANT {} TO {}" + options).format(sql.Identifier(role), to)

    @property
    def _grants_have_options(self) -> bool:
        return self._connection.info.server_version >= GRANTS_HAVE_OPTIONS

    def _dropping_retired(self, role: str) -> list[sql.Composable]:
        """Return what drops a role that was another tenant's, for one of the same name."""
        return [
            sql.SQL("DROP ROLE {}").format(sql.Identifier(role)),
            sql.SQL("DELETE FROM mtdd.retired_role WHERE role = {}").format(role),
        ]

    async def _may_connect(self, there: Preexisting) -> bool:
        """Whether the role may connect to the shard's own database, or might if it were there."""
        return await self._is_let_in() if there.may_connect is None else there.may_connect

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
