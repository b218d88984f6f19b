"""Running a part of a script, as a tenant, and committing it."""

import functools
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.pq import Escaping

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.schema_facts import FINGERPRINTS, FINGERPRINTS_ON_SHARD
from mtdd_router.server.statements import classify
from mtdd_router.types import Placement, ScriptPart

__all__ = [
    "FOR_NEW_TABLES",
    "Home",
    "SchemaDiffers",
    "last_rows",
    "leaves_state",
    "rows_of_each",
    "run_part",
]

# What is new is empty: to plan whether its indexes are better made by several processes, and each
# of the first checks of a foreign key by itself, takes a twentieth of a script's time.
FOR_NEW_TABLES: Final = (
    "SET LOCAL max_parallel_maintenance_workers = 0; SET LOCAL plan_cache_mode = force_generic_plan"
)
"""Settings of a transaction that makes a new tenant's tables."""

# What a database-isolated tenant's tables are in.
_PUBLIC = "public"
_LEAVE = "SET LOCAL ROLE NONE; SET LOCAL search_path = ''; SET LOCAL jit = off"

# What PostgreSQL says in a transaction that did not lead to the schema that was expected.
_DIFFERS: Final = "MTDD1"
_REQUIRE: Final = """
BEGIN
    IF (SELECT looked.fingerprint FROM ({fingerprints}) AS looked (namespace, fingerprint))
        IS DISTINCT FROM {expected}
    THEN
        RAISE 'The script would not have led to the schema that it is known to lead to.'
            USING ERRCODE = '{differs}';
    END IF;
END
"""


class SchemaDiffers(Exception):
    """The schema was, or became, another one than expected."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a tenant's objects are, in the database that a connection leads to.

    Attributes:
        schema: which holds them.
        role: whose they are.
        extension_schema: where extensions live, behind the tenant's own schema.
        on_shard: whether the database is the shard's own, and not the tenant's.
    """

    schema: str
    role: str
    extension_schema: str
    on_shard: bool

    @classmethod
    def of(cls, placement: Placement, extension_schema: str) -> "Home":
        """Return that of a tenant."""
        on_shard = placement.isolation.has_schema
        schema = placement.namespace if on_shard else _PUBLIC
        return cls(schema, placement.role, extension_schema, on_shard)

    @property
    def settings(self) -> tuple[str, str]:
        """What to SET for statements to run as the tenant."""
        names = (self.schema, self.extension_schema, self.role)
        schema, extension_schema, role = (sql.Identifier(name).as_string() for name in names)
        return f"search_path = {schema}, {extension_schema}", f"ROLE {role}"

    @property
    def enter(self) -> str:
        """What makes statements run as the tenant until the transaction ends."""
        return "; ".join(f"SET LOCAL {setting}" for setting in self.settings)


@functools.lru_cache(maxsize=8)
def leaves_state(part: ScriptPart) -> bool:
    """Whether the part may change the session beyond its transaction."""
    query = [part.settled.query] if part.settled else []
    return any(map(_leaves_state, [*query, *part.statements]))


async def run_part(
    connection: AsyncConnection, home: Home, part: ScriptPart, before: str, *, end: str = "COMMIT"
) -> None:
    """Run an atomic part in the open transaction, and commit.

    All of it is sent at once: PostgreSQL itself looks at the fingerprint, and does nothing
    behind a failure.

    Args:
        connection: in a transaction, or *before* begins one.
        home: where to run it.
        part: what to run; what it expects has been looked at.
        before: statements of the server's own, and what enters the tenant's home.
        end: what ends the transaction.

    Raises:
        SchemaDiffers: if it would not have led to the fingerprint of *part*.
    """
    # The end of the transaction leaves home, too.
    statements = [before, *part.statements]
    if part.fingerprint:
        statements += [_LEAVE, _require(part.fingerprint, home, connection)]
    try:
        await connection.execute(";\n".join((*statements, end)).encode())
    except psycopg.Error as exc:
        if exc.sqlstate == _DIFFERS:
            raise SchemaDiffers(exc.diag.message_primary) from exc
        raise


def _require(fingerprint: str, home: Home, connection: AsyncConnection) -> str:
    """Return the statement that fails unless a tenant's schema has that fingerprint."""
    escaping = Escaping(connection.pgconn)

    def literal(text: str) -> str:
        return bytes(escaping.escape_literal(text.encode())).decode()

    looked = (FINGERPRINTS_ON_SHARD if home.on_shard else FINGERPRINTS).format(
        namespaces=f"ARRAY[{literal(home.schema)}]", roles=f"ARRAY[{literal(home.role)}]"
    )
    body = _REQUIRE.format(fingerprints=looked, expected=literal(fingerprint), differs=_DIFFERS)
    return f"DO {literal(body)}"


async def last_rows(connection: AsyncConnection, statements: str) -> list[tuple[Any, ...]]:
    """Run *statements* at once, and return the rows of the last one that gives any."""
    return (await rows_of_each(connection, statements))[-1]


async def rows_of_each(connection: AsyncConnection, statements: str) -> list[list[tuple[Any, ...]]]:
    """Run *statements* at once, and return the rows of each that gives any."""
    cursor = await connection.execute(statements.encode())
    found = []
    more: bool | None = True
    while more:
        if cursor.description is not None:
            found.append(await cursor.fetchall())
        more = cursor.nextset()
    return found


def _leaves_state(statement: str) -> bool:
    known = classify(statement.encode())
    return known.pins or bool(known.refusal) or not known.parsed
