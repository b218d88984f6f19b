"""The login roles and databases that the stack's PostgreSQL servers begin with.

A shard's role is no superuser: it may create the roles, schemas and databases of
tenants, and nothing of a tenant is its own until it switches to the tenant's role.
"""

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql

__all__ = ["DATABASE", "REGISTRY_ROLE", "SHARD_ROLE", "provide_registry", "provide_shard"]

DATABASE: Final = "mtdd"
REGISTRY_ROLE: Final = "mtdd_registry"
SHARD_ROLE: Final = "mtdd_shard"
_INITIAL_DATABASES: Final = ("postgres", "template1")


def provide_registry(superuser_dsn: str, password: str) -> None:
    """Create or mend the registry's role and database.

    The role may create databases: Django makes a test database as it.
    """
    _provide(superuser_dsn, REGISTRY_ROLE, password, ("LOGIN", "CREATEDB"))


def provide_shard(superuser_dsn: str, password: str) -> None:
    """Create or mend a shard's role and database.

    Tenants with strict isolation log in themselves, so no database lets everybody in.
    """
    _provide(superuser_dsn, SHARD_ROLE, password, ("LOGIN", "CREATEROLE", "CREATEDB", "NOINHERIT"))
    closed = sql.SQL(", ").join(map(sql.Identifier, (*_INITIAL_DATABASES, DATABASE)))
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(closed))
        # From there, Django makes and drops the test databases of raw aliases.
        role = sql.Identifier(SHARD_ROLE)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE postgres TO {}").format(role))


def _provide(superuser_dsn: str, role: str, password: str, attributes: Sequence[str]) -> None:
    name = sql.Identifier(role)
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        if not _exists(connection, "pg_roles", "rolname", role):
            connection.execute(sql.SQL("CREATE ROLE {}").format(name))
        connection.execute(
            sql.SQL("ALTER ROLE {} {} PASSWORD {}").format(
                name, sql.SQL(" ".join(attributes)), sql.Literal(password)
            )
        )
        if not _exists(connection, "pg_database", "datname", DATABASE):
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), name)
            )


def _exists(
    connection: "psycopg.Connection[tuple[object, ...]]", catalogue: str, column: str, name: str
) -> bool:
    query = sql.SQL("SELECT 1 FROM {} WHERE {} = %s").format(
        sql.Identifier(catalogue), sql.Identifier(column)
    )
    return connection.execute(query, [name]).fetchone() is not None
