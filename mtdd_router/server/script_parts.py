"""Running a part of a script, as a tenant, and committing it."""

import functools
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.schemas import fingerprints_query
from mtdd_router.server.statements import classify
from mtdd_router.types import Placement, ScriptPart

__all__ = ["Home", "SchemaDiffers", "last_rows", "leaves_state", "run_part"]

# What a database-isolated tenant's tables are in.
_PUBLIC = "public"
_LEAVE = "SET LOCAL ROLE NONE; SET LOCAL search_path = ''; SET LOCAL jit = off"


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
        path = sql.SQL(", ").join(map(sql.Identifier, (self.schema, self.extension_schema)))
        role = sql.Identifier(self.role)
        return f"search_path = {path.as_string()}", f"ROLE {role.as_string()}"

    @property
    def enter(self) -> str:
        """What makes statements run as the tenant until the transaction ends."""
        return "; ".join(f"SET LOCAL {setting}" for setting in self.settings)


@functools.lru_cache(maxsize=8)
def leaves_state(part: ScriptPart) -> bool:
    """Whether the part may change the session beyond its transaction."""
    return any(map(_leaves_state, part.statements))


async def run_part(connection: AsyncConnection, home: Home, part: ScriptPart, before: str) -> None:
    """Run an atomic part in the open transaction, and commit.

    Where nothing is to be looked at before that, one round trip does it all.

    Args:
        connection: in a transaction, or *before* begins one.
        home: where to run it.
        part: what to run; what it expects has been looked at.
        before: statements of the server's own, and what enters the tenant's home.

    Raises:
        SchemaDiffers: if it did not lead to the fingerprint of *part*; the transaction is open.
    """
    body = ";\n".join((before, *part.statements))
    if not part.fingerprint:
        # The end of the transaction leaves home, too.
        await connection.execute(f"{body};\nCOMMIT".encode())
        return
    wanted = fingerprints_query([home.schema], [home.role], on_shard=home.on_shard)
    rows = await last_rows(connection, f"{body};\n{_LEAVE};\n{wanted}")
    if rows != [(home.schema, part.fingerprint)]:
        raise SchemaDiffers(
            "The script would not have led to the schema that it is known to lead to."
        )
    await connection.execute(b"COMMIT")


async def last_rows(connection: AsyncConnection, statements: str) -> list[tuple[Any, ...]]:
    """Run *statements* at once, and return the rows of the last one."""
    cursor = await connection.execute(statements.encode())
    while cursor.nextset():
        pass
    return await cursor.fetchall()


def _leaves_state(statement: str) -> bool:
    known = classify(statement.encode())
    return known.pins or bool(known.refusal) or not known.parsed
