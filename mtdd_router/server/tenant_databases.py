"""The databases of tenants that have one of their own: made, emptied, dropped.

Invariants: nothing is dropped that does not carry the shard's mark, and nobody else makes
or drops a database meanwhile; every step may be repeated, for none is in a transaction.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from psycopg import errors as pg_errors
from psycopg import sql

from mtdd_router.server.control import AsyncConnection, fetch_value
from mtdd_router.server.tenant_roles import AlreadyExists, NotPossible, not_ours
from mtdd_router.types import Placement

__all__ = ["TenantDatabases"]

_PATIENCE: Final = 5.0
# The first half of the keys of advisory locks on tenants' databases.
_LOCK: Final = 0x6D746462


class TenantDatabases:
    """The databases of one shard's tenants, on a connection that does nothing else meanwhile.

    Args:
        connection: to the shard's own database.
        mark: what the comments of the shard's databases are.
    """

    def __init__(self, connection: AsyncConnection, mark: str) -> None:
        self._connection = connection
        self._mark = mark

    async def require_right_to_create(self) -> None:
        """Make sure that the login role may create databases.

        Raises:
            NotPossible: saying what lets it.
        """
        if not await fetch_value(
            self._connection,
            "SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user",
        ):
            user = await fetch_value(self._connection, "SELECT current_user::text")
            quoted = sql.Identifier(user or "").as_string()
            raise NotPossible(
                f"Role {quoted} may not create databases, which database isolation needs; "
                f"run: ALTER ROLE {quoted} CREATEDB;"
            )

    async def owner(self, name: str) -> str | None:
        """Return whose the database is, or None if there is none of that name."""
        value: str | None = await fetch_value(
            self._connection,
            "SELECT pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database"
            " WHERE datname = %s",
            name,
        )
        return value

    @asynccontextmanager
    async def alone_with(self, database: str) -> AsyncIterator[None]:
        """Let nobody else make or drop the database: no transaction can keep them from it.

        An exception has to close the connection, which ends the lock as well.
        """
        key = (_LOCK, database)
        await self._connection.execute(
            "SELECT pg_catalog.pg_advisory_lock(%s, pg_catalog.hashtext(%s))", key
        )
        yield
        await self._connection.execute(
            "SELECT pg_catalog.pg_advisory_unlock(%s, pg_catalog.hashtext(%s))", key
        )

    async def make(self, placement: Placement) -> None:
        """Make the tenant's database, as far as that is not done.

        Raises:
            AlreadyExists: if it is another role's.
        """
        database, role = sql.Identifier(placement.namespace), sql.Identifier(placement.role)
        owner = await self.owner(placement.namespace)
        if owner is None:
            options = await self._options()
            await self._run(
                # It lets everybody in, and cannot be closed in the same transaction.
                "CREATE DATABASE {} OWNER {} TEMPLATE template0 ALLOW_CONNECTIONS false {}",
                database,
                role,
                options,
            )
        elif owner != placement.role:
            raise AlreadyExists(
                f"Database {placement.namespace!r} exists and belongs to role {owner!r}; "
                "give the tenant another namespace."
            )
        login = sql.Identifier(
            await fetch_value(self._connection, "SELECT current_user::text") or ""
        )
        async with self._connection.transaction():
            await self._run("SET LOCAL ROLE {}", role)
            await self._run("COMMENT ON DATABASE {} IS {}", database, sql.Literal(self._mark))
            await self._run("REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
            await self._run("GRANT CONNECT ON DATABASE {} TO {}", database, login)
            await self._run("ALTER DATABASE {} ALLOW_CONNECTIONS true", database)

    async def drop(self, name: str) -> None:
        """Drop the database, if it is there.

        Raises:
            NotPossible: if it is in use, or not the shard's own.
        """
        owner = await self.owner(name)
        if owner is None:
            return
        await self._require_mark(name, owner)
        await self._empty(name)
        await self._run("SET ROLE {}", sql.Identifier(owner))
        try:
            await self._run("DROP DATABASE {}", sql.Identifier(name))
        except pg_errors.ObjectInUse as exc:
            raise NotPossible(f"Database {name!r} is in use; try again.") from exc
        finally:
            await self._connection.execute("RESET ROLE")

    # internals

    async def _options(self) -> sql.Composable:
        """Return the encoding and locale of this database: tenants sort alike everywhere."""
        locale = "datlocale" if self._connection.info.server_version >= 170000 else "daticulocale"
        cursor = await self._connection.execute(
            "SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype,"
            f" datlocprovider::text, {locale}"
            " FROM pg_catalog.pg_database WHERE datname = current_database()"
        )
        row = await cursor.fetchone()
        assert row is not None
        encoding, collate, ctype, provider, name = row
        options: list[sql.Composable] = [
            sql.SQL("ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(encoding, collate, ctype)
        ]
        if provider == "i":
            options.append(sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(name))
        elif provider == "b":
            options.append(sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(name))
        else:
            options.append(sql.SQL("LOCALE_PROVIDER libc"))
        return sql.SQL(" ").join(options)

    async def _require_mark(self, name: str, owner: str) -> None:
        """Refuse what is not ours. The owner's mark counts: a tenant may change its comments."""
        marked = await fetch_value(
            self._connection,
            "SELECT %s IN (pg_catalog.shobj_description(r.oid, 'pg_authid'),"
            " pg_catalog.shobj_description(d.oid, 'pg_database'))"
            " FROM pg_catalog.pg_database d, pg_catalog.pg_roles r"
            " WHERE d.datname = %s AND r.rolname = %s",
            self._mark,
            name,
            owner,
        )
        if not marked:
            raise not_ours("database", name)

    async def _empty(self, name: str) -> None:
        """Wait for running statements, then end the idle connections to the database.

        Raises:
            NotPossible: if a transaction still runs after the lock timeout.
        """
        busy = (
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity"
            " WHERE datname = %s AND state IS DISTINCT FROM 'idle'"
            " AND backend_type = 'client backend')"
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                while await fetch_value(self._connection, busy, name):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise NotPossible(
                f"Database {name!r} is in use: a transaction still runs after {_PATIENCE:g} s."
            ) from None
        await self._connection.execute(
            "SELECT pg_catalog.pg_terminate_backend(pid, 2000) FROM pg_catalog.pg_stat_activity"
            " WHERE datname = %s AND usename = session_user",
            [name],
        )

    async def _run(self, statement: str, *parts: sql.Composable) -> None:
        # The statements are this module's own; names come in quoted.
        await self._connection.execute(sql.SQL(statement).format(*parts))
