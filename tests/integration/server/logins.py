"""Logging in as a tenant with strict isolation, past the shard server."""

import asyncio

import psycopg
from psycopg.conninfo import make_conninfo

from mtdd_router.server.control import ControlConnection
from mtdd_router.server.postgres.dsn import Dsn
from mtdd_router.server.tenant_logins import TenantLogins


def login_dsn(shard_dsn: str, role: str) -> str:
    """Return how the shard server logs in as *role*; *shard_dsn* is its own connection string."""

    async def password() -> str:
        own = ControlConnection(shard_dsn, channel="", prepare=lambda _: asyncio.sleep(0))
        logins = TenantLogins(Dsn.parse(shard_dsn), own)
        async with await psycopg.AsyncConnection.connect(shard_dsn) as connection:
            await logins.prepare(connection)
        return logins.dsn(role).password

    return make_conninfo(shard_dsn, user=role, password=asyncio.run(password()))
