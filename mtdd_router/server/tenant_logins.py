"""How backend connections log in as tenants with strict isolation.

Invariants: the password of a tenant's role follows from a secret that only the shard's
own schema holds, and from the role's name; nobody is told it, and PostgreSQL itself is
only given what verifies it. Whatever became of the password in PostgreSQL, the server
sets it again when it is refused.
"""

import base64
import dataclasses
import hashlib
import hmac
import secrets
from typing import Final

from psycopg import sql

from mtdd_router.server.control import AsyncConnection, ControlConnection
from mtdd_router.server.logs import get_logger
from mtdd_router.server.postgres.dsn import Dsn
from mtdd_router.server.postgres.startup import ConnectFailed, start

__all__ = ["NO_SUCH_LOGIN", "TenantLogins"]

# The SQLSTATEs of a refused login that setting the password again may mend.
NO_SUCH_LOGIN: Final = frozenset(("28P01", "28000"))
_PURPOSE: Final = b"mtdd tenant login "
_SALT_BYTES: Final = 16
# The least that SCRAM clients take; a password of 256 random bits cannot be guessed anyway.
_ITERATIONS: Final = 4096

log = get_logger(__name__)


class TenantLogins:
    """The logins of one shard's tenants.

    Args:
        dsn: how the server itself logs in.
        control: to ask PostgreSQL on.
    """

    def __init__(self, dsn: Dsn, control: ControlConnection) -> None:
        self._dsn = dsn
        self._control = control
        self._secret = b""

    async def prepare(self, connection: AsyncConnection) -> None:
        """Read the shard's secret, on the connection that has made the schema mtdd."""
        cursor = await connection.execute("SELECT login_secret FROM mtdd.shard")
        row = await cursor.fetchone()
        assert row is not None
        self._secret = bytes(row[0])

    def dsn(self, role: str) -> Dsn:
        """Return how to log in as the tenant's role, or as the server itself if it is empty."""
        if not role:
            return self._dsn
        return dataclasses.replace(self._dsn, user=role, password=self._password(role))

    def attributes(self, role: str) -> sql.Composable:
        """Return the attributes of a role that can log in, as CREATE and ALTER ROLE take them."""
        return sql.SQL("LOGIN PASSWORD {}").format(_verifier(self._password(role)))

    async def check(self, role: str, database: str) -> None:
        """Log in as the tenant's role, once.

        Raises:
            ConnectFailed: with PostgreSQL's words.
        """
        started = await start(self.dsn(role), database, {})
        started.writer.close()

    async def renew(self, role: str) -> bool:
        """Set the role's password again, if a tenant has it; return whether that was done.

        Raises:
            ShardUnavailable: if PostgreSQL cannot be asked.
            psycopg.Error: if PostgreSQL refuses.
        """
        async with self._control.use() as connection:
            cursor = await connection.execute(
                "SELECT FROM mtdd.placement"
                " WHERE role = %s AND isolation = 'strict' AND state <> 'deleting'",
                [role],
            )
            if not cursor.rowcount:
                return False
            await connection.execute(
                sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(role), self.attributes(role))
            )
        log.warning("tenant_login_renewed", role=role)
        return True

    def _password(self, role: str) -> str:
        if not self._secret:
            raise ConnectFailed("the shard's secret is not known yet: PostgreSQL was not reached")
        return hmac.digest(self._secret, _PURPOSE + role.encode(), hashlib.sha256).hex()


def _verifier(password: str) -> str:
    """Return what PostgreSQL keeps of a password.

    Source: PostgreSQL manual, "pg_authid".
    """
    mechanism = "SCRAM-SHA-256"
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", hashlib.sha256)).digest()
    server = hmac.digest(salted, b"Server Key", hashlib.sha256)
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"{mechanism}${_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"
