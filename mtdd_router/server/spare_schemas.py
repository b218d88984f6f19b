"""Schemas made ahead of the tenants that will have them, with their tables.

The script of a new tenant makes some fifty relations, which takes PostgreSQL longer than all else
of its creation. So a shard that makes roles ahead (`mtdd_router.server.spare_roles`) also runs
the script that its last tenants were made by in a few schemas: the next one by the same script
has one of them renamed.

Until then the login role owns the schema, which lets it rename it, and the spare role all that is
in it. Invariants: a spare schema is what its script is known to lead to; it is given once, in the
transaction that makes the tenant, with its role; until then nobody can reach either; and none is
given whose tables somebody has locked, as pg_dump does before it reads them by their names.
"""

import functools
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from psycopg import errors as pg_errors
from psycopg import sql

from mtdd_router.server.control import BEGIN, AsyncConnection
from mtdd_router.server.script_parts import (
    FOR_NEW_TABLES,
    Home,
    last_rows,
    leaves_state,
    run_part,
)
from mtdd_router.types import Placement, ScriptPart

__all__ = [
    "KEPT",
    "USABLE",
    "SpareInUse",
    "SpareSchema",
    "SpareSchemas",
    "giving",
    "script_of",
    "using_spare",
]

KEPT: Final = 8
"""So many are made ahead by a script."""

_IS_THERE: Final = (
    "(pg_catalog.to_regnamespace(pg_catalog.quote_ident(name)) IS NOT NULL"
    " AND pg_catalog.to_regrole(pg_catalog.quote_ident(role)) IS NOT NULL)"
)
_IS_OLD: Final = "(made_at <= pg_catalog.clock_timestamp() - interval '1 day')"

USABLE: Final = f"({_IS_THERE} AND NOT {_IS_OLD})"
"""Whether the schema of a row of mtdd.spare_schema may be given: somebody may have dropped it, or
its role, and one that has waited for a day is made anew."""

_LOCK: Final = 0x6D747373
# What tells a statement how its schema is called, which a new name would make wrong.
_NAMES_SCHEMAS: Final = (
    "current_schema",
    "search_path",
    "nspname",
    "schemaname",
    "table_schema",
    "regnamespace",
    "information_schema",
    "pg_get_",
    "pg_identify",
)
_OLD: Final = f"""
DELETE FROM mtdd.spare_schema WHERE name = (
    SELECT name FROM mtdd.spare_schema
     WHERE {_IS_OLD} LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING name, role, {_IS_THERE}
"""
# The lock is asked for once in the query, whatever it finds. What is the default for the login
# role's schemas is not for tenants'.
_ROLE: Final = f"""
WITH alone AS MATERIALIZED (SELECT pg_catalog.pg_try_advisory_xact_lock({{lock}}) AS yes)
DELETE FROM mtdd.spare_role WHERE role = (
    SELECT role FROM mtdd.spare_role
     WHERE NOT login AND usable AND (SELECT yes FROM alone)
       AND (SELECT count(*) FROM mtdd.spare_schema
             WHERE script = {{script}} AND {USABLE}) < {{kept}}
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl d
                        WHERE d.defaclobjtype = 'n'
                          AND d.defaclrole = pg_catalog.quote_ident(current_user)::regrole)
     LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING role
"""
_NOTE: Final = """
INSERT INTO mtdd.spare_schema (name, role, script, locked)
SELECT {name}, {role}, {script},
       coalesce((SELECT relname::text FROM pg_catalog.pg_class
                  WHERE relnamespace = pg_catalog.to_regnamespace({name}) AND relkind = 'r'
                  LIMIT 1), '')
"""
_COMPARED: Final = "mtdd_compared"


@dataclass(frozen=True, slots=True)
class SpareSchema:
    """A schema that was made ahead.

    Attributes:
        name: until it is given.
        locked: the table whose lock whoever gives it must have; empty if there is no table.
    """

    name: str
    locked: str


class SpareInUse(Exception):
    """Somebody reads a spare schema, as pg_dump does: it cannot be given now."""


@contextmanager
def using_spare() -> Iterator[None]:
    """Tell by `SpareInUse` that `giving` did not get the lock."""
    try:
        yield
    except pg_errors.LockNotAvailable as exc:
        raise SpareInUse from exc


@functools.lru_cache(maxsize=8)
def script_of(part: ScriptPart) -> bytes | None:
    """Return what a script is known by that may be run ahead, or None if it may not.

    That is one whose result is known, and does not tell how its schema is called.
    """
    if not part.fingerprint or leaves_state(part):
        return None
    texts = [part.fingerprint, *part.statements]
    if any(word in text.lower() for text in texts for word in _NAMES_SCHEMAS):
        return None
    return hashlib.sha256("\0".join(texts).encode()).digest()


def giving(spare: SpareSchema, placement: Placement) -> list[sql.Composable]:
    """Return what makes the schema *spare*, which came with the placement's role, its own."""
    names = {
        "spare": sql.Identifier(spare.name),
        "schema": sql.Identifier(placement.namespace),
        "role": sql.Identifier(placement.role),
    }
    locking = []
    if spare.locked:
        # Renaming a schema waits for nobody who reads its tables.
        locking = [
            sql.SQL("SET LOCAL ROLE {role}").format(**names),
            sql.SQL("LOCK TABLE {spare}.{table} NOWAIT").format(
                **names, table=sql.Identifier(spare.locked)
            ),
            sql.SQL("SET LOCAL ROLE NONE"),
        ]
    return [
        *locking,
        sql.SQL("ALTER SCHEMA {spare} RENAME TO {schema}").format(**names),
        sql.SQL("ALTER SCHEMA {schema} OWNER TO {role}").format(**names),
    ]


class SpareSchemas:
    """The spare schemas of a shard, on a connection that does nothing else meanwhile.

    An exception leaves a transaction open, in which nothing is.
    """

    def __init__(self, connection: AsyncConnection, mark: str, extension_schema: str) -> None:
        self._connection = connection
        self._mark = mark
        self._extension_schema = extension_schema

    async def make(self, part: ScriptPart) -> bool:
        """Make one more by *part*, if some are missing, and there is a role for it.

        Returns whether one was made.

        Raises:
            SchemaDiffers: if *part* does not lead where it should.
        """
        script = script_of(part)
        if script is None:
            return False
        find = sql.SQL(f"{BEGIN}; {_ROLE}").format(lock=_LOCK, script=script, kept=KEPT)
        rows = await last_rows(self._connection, find.as_string(self._connection))
        if not rows:
            await self._connection.execute("ROLLBACK")
            return False
        (role,) = rows[0]
        await self._fill(part, f"mtdd_spare_{secrets.token_hex(8)}", role, script)
        return True

    async def _fill(self, part: ScriptPart, name: str, role: str, script: bytes) -> None:
        """Run *part* in a new schema, in the open transaction, and commit."""
        home = Home(name, role, self._extension_schema, on_shard=True)
        names = {"schema": sql.Identifier(name), "role": sql.Identifier(role)}
        before = [
            sql.SQL(FOR_NEW_TABLES),
            sql.SQL("CREATE SCHEMA {schema}").format(**names),
            sql.SQL("COMMENT ON SCHEMA {schema} IS {mark}").format(**names, mark=self._mark),
            sql.SQL("GRANT CREATE, USAGE ON SCHEMA {schema} TO {role}").format(**names),
            sql.SQL(home.enter),
        ]
        behind = [
            sql.SQL("SET LOCAL ROLE NONE"),
            sql.SQL(_NOTE).format(name=name, role=role, script=script),
            # It is compared as a tenant's, which it is for that long.
            sql.SQL(f"SAVEPOINT {_COMPARED}"),
            sql.SQL("ALTER SCHEMA {schema} OWNER TO {role}").format(**names),
        ]
        more = (statement.as_string(self._connection) for statement in behind)
        await run_part(
            self._connection,
            home,
            replace(part, statements=(*part.statements, *more)),
            sql.SQL("; ").join(before).as_string(self._connection),
            end=f"ROLLBACK TO SAVEPOINT {_COMPARED}; COMMIT",
        )

    async def drop_old(self) -> bool:
        """Drop one that has waited for too long; return whether there was one."""
        rows = await last_rows(self._connection, f"{BEGIN}; {_OLD}")
        statements: list[sql.Composable] = []
        for name, role, is_there in rows:
            statements.append(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
            )
            if is_there:
                # It was never anybody's, and goes back to those that wait.
                statements += [
                    sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)),
                    sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)),
                    sql.SQL("SET LOCAL ROLE NONE"),
                    sql.SQL(
                        "INSERT INTO mtdd.spare_role (role, login, usable) VALUES ({}, false, true)"
                    ).format(role),
                ]
        await self._connection.execute(sql.SQL("; ").join([*statements, sql.SQL("COMMIT")]))
        return bool(rows)
