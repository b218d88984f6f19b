"""What PostgreSQL must offer before a shard server works on it.

A wrong setting or a missing right is an ``UnfitPostgres`` that says which
statement mends it; a PostgreSQL that cannot be reached now is not wrong, and
is waited for.
"""

import enum
from typing import Any, Final

from psycopg import sql

from mtdd_router.errors import ConfigurationError
from mtdd_router.server.config import ServerConfig
from mtdd_router.server.control import AsyncConnection, connect
from mtdd_router.server.logs import get_logger
from mtdd_router.server.postgres.startup import ConnectFailed, start

__all__ = ["Reach", "UnfitPostgres", "check_postgres", "check_rights"]

_OLDEST: Final = 150000
# SQLSTATEs of a refused login that waiting does not mend, and what does.
_REMEDIES: Final = {
    "28000": "mend the role's attributes or pg_hba.conf",
    "28P01": "give the right password",
    "3D000": "run: CREATE DATABASE {database};",
    "42501": "run: GRANT CONNECT ON DATABASE {database} TO {role};",
    "42704": "mend the connection string's options",
    "22023": "mend the connection string's options",
}

log = get_logger(__name__)

_FACTS: Final = """
SELECT current_user::text AS role,
       current_database()::text AS database,
       current_setting('server_version_num')::int AS version,
       current_setting('server_version') AS version_text,
       current_setting('server_encoding') AS encoding,
       pg_catalog.pg_is_in_recovery() AS standby,
       r.rolsuper AS superuser,
       r.rolcreaterole AS createrole,
       r.rolconnlimit AS connection_limit,
       pg_catalog.has_database_privilege(current_database(), 'CREATE') AS may_create,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int AS connections,
       (SELECT n.nspowner::regrole::text FROM pg_catalog.pg_namespace n
         WHERE n.nspname = 'mtdd'
           AND NOT pg_catalog.pg_has_role(n.nspowner, 'USAGE')) AS foreign_owner
  FROM pg_catalog.pg_roles r
 WHERE r.rolname = current_user
"""


class UnfitPostgres(ConfigurationError):
    """This PostgreSQL, or the login role, cannot serve as a shard."""


class Reach(enum.Enum):
    """Whether PostgreSQL could be asked."""

    REACHED = "reached"
    DOWN = "down"


async def check_postgres(config: ServerConfig) -> Reach:
    """Check the login, the database and the rights, once.

    Raises:
        UnfitPostgres: with one line for each problem.
    """
    dsn = config.postgres
    try:
        # This reader of the protocol tells the SQLSTATE of a refused login; libpq does not.
        started = await start(dsn, dsn.database, {})
    except ConnectFailed as exc:
        if (remedy := _REMEDIES.get(exc.sqlstate)) is not None:
            remedy = remedy.format(database=_quoted(dsn.database), role=_quoted(dsn.user))
            raise UnfitPostgres(
                f"dsn: PostgreSQL refuses {dsn.describe()}: {exc}; {remedy}"
            ) from exc
        log.warning("postgres_unavailable", reason=f"{exc} ({dsn.describe()})")
        return Reach.DOWN
    started.writer.close()
    async with await connect(config.dsn.get_secret_value(), dsn.connect_timeout) as connection:
        await check_rights(connection, config)
    return Reach.REACHED


async def check_rights(connection: AsyncConnection, config: ServerConfig) -> None:
    """Check version, encoding and the login role's rights.

    Raises:
        UnfitPostgres: with one line for each problem, and the statement that mends it.
    """
    cursor = await connection.execute(_FACTS)
    row = await cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    facts = dict(zip([column.name for column in cursor.description], row, strict=True))
    if problems := _problems(facts, config):
        raise UnfitPostgres("\n".join(problems))
    if facts["superuser"]:
        log.warning(
            "login_role_is_superuser",
            role=facts["role"],
            advice="use a role with CREATEROLE and the CREATE right on the database instead",
        )


def _problems(facts: dict[str, Any], config: ServerConfig) -> list[str]:
    role, database = _quoted(facts["role"]), _quoted(facts["database"])
    problems = []
    if facts["version"] < _OLDEST:
        problems.append(f"dsn: PostgreSQL {facts['version_text']} is too old; 15 is the oldest")
    if facts["encoding"] != "UTF8":
        problems.append(
            f"dsn: database {database} is encoded in {facts['encoding']}; "
            "create one WITH ENCODING 'UTF8'"
        )
    if facts["standby"]:
        problems.append(f"dsn: database {database} is on a standby; name the primary")
    if not facts["superuser"]:
        if not facts["createrole"]:
            problems.append(
                f"dsn: role {role} may not create roles; run: ALTER ROLE {role} CREATEROLE;"
            )
        if not facts["may_create"]:
            problems.append(
                f"dsn: role {role} may not create schemas in database {database}; "
                f"run: GRANT CREATE ON DATABASE {database} TO {role};"
            )
        if facts["foreign_owner"] is not None:
            problems.append(
                f"dsn: schema mtdd belongs to role {facts['foreign_owner']}, not to {role}; "
                f"log in as {facts['foreign_owner']}, which also owns the tenants' roles"
            )
    allowed = facts["connections"]
    if facts["connection_limit"] >= 0:
        allowed = min(allowed, facts["connection_limit"])
    if config.pool_size > allowed:
        problems.append(
            f"pool_size: {config.pool_size} is more than the {allowed} connections that "
            f"PostgreSQL allows role {role}; lower it, or raise max_connections"
        )
    return problems


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()
