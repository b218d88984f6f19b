"""Schemas made ahead of the tenants that will have them, with their tables.

The script of a new tenant makes some fifty relations, which takes PostgreSQL longer than all else
of its creation. So a shard that makes roles ahead (`mtdd_router.server.spare_roles`) also runs
the script that its last tenants were made by in a few schemas: the next one by the same script
has one of them renamed.

Until then the login role owns the schema, which lets it rename it, and the spare role all that is
in it. Invariants: a spare schema is what its script is known to lead to; it is given once, in the
transaction that makes the tenant, with its role; until then nobody can reach either.
"""

import functools
import hashlib
import secrets
from dataclasses import replace
from typing import Final

from psycopg import sql

from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.script_parts import (
    FOR_NEW_TABLES,
    Home,
    last_rows,
    leaves_state,
    run_part,
)
from mtdd_router.types import Placement, ScriptPart

__all__ = ["KEPT", "MISSING", "SpareSchemas", "giving", "script_of"]

KEPT: Final = 8
"""So many are made ahead by a script."""

# Those by another script are kept for so long: two releases may run side by side.
_STALE_SECONDS: Final = 600.0
_LOCK: Final = 0x6D747373
# What tells a statement how its schema is called, which a new name would make wrong.
_NAMES_SCHEMAS: Final = (
    "current_schema",
    "search_path",
    "from current",
    "nspname",
    "regnamespace",
    "information_schema",
    "pg_identify",
)
MISSING: Final = "pg_catalog.to_regnamespace(pg_catalog.quote_ident(name)) IS NULL"
"""Whether somebody has dropped a spare schema."""

_STALE: Final = f"""
DELETE FROM mtdd.spare_schema WHERE name = (
    SELECT name FROM mtdd.spare_schema
     WHERE (script <> {{script}} OR {MISSING})
       AND made_at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => {{seconds}})
     LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING name, role
"""
# The lock is asked for once in the query, whatever it finds.
_ROLE: Final = f"""
WITH alone AS MATERIALIZED (SELECT pg_catalog.pg_try_advisory_xact_lock({{lock}}) AS yes)
DELETE FROM mtdd.spare_role WHERE role = (
    SELECT role FROM mtdd.spare_role
     WHERE NOT login AND usable AND (SELECT yes FROM alone)
       AND (SELECT count(*) FROM mtdd.spare_schema
             WHERE script = {{script}} AND NOT {MISSING}) < {{kept}}
     LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING role
"""
_BEGIN: Final = "BEGIN; SET LOCAL lock_timeout = '5s'"
_COMPARED: Final = "mtdd_compared"


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


def giving(spare: str, placement: Placement) -> list[sql.Composable]:
    """Return what makes the schema *spare*, which came with the placement's role, its own."""
    schema = sql.Identifier(placement.namespace)
    return [
        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(spare), schema),
        sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(schema, sql.Identifier(placement.role)),
    ]


class SpareSchemas:
    """The spare schemas of a shard, on a connection that does nothing else meanwhile."""

    def __init__(self, connection: AsyncConnection, mark: str, extension_schema: str) -> None:
        self._connection = connection
        self._mark = mark
        self._extension_schema = extension_schema

    async def make(self, part: ScriptPart) -> bool:
        """Make one more by *part*, if some are missing, and there is a role for it.

        Returns whether one was made. An exception leaves a transaction open, in which nothing is.

        Raises:
            SchemaDiffers: if *part* does not lead where it should.
        """
        script = script_of(part)
        if script is None:
            return False
        find = sql.SQL(f"{_BEGIN}; {_ROLE}").format(lock=_LOCK, script=script, kept=KEPT)
        rows = await last_rows(self._connection, find.as_string(self._connection))
        if not rows:
            await self._connection.execute("ROLLBACK")
            return False
        (role,) = rows[0]
        name = f"mtdd_spare_{secrets.token_hex(8)}"
        home = Home(name, role, self._extension_schema, on_shard=True)
        names = {"schema": sql.Identifier(name), "role": sql.Identifier(role)}
        before = [
            sql.SQL(FOR_NEW_TABLES),
            sql.SQL("CREATE SCHEMA {schema}").format(**names),
            sql.SQL("COMMENT ON SCHEMA {schema} IS {mark}").format(**names, mark=self._mark),
            sql.SQL("GRANT CREATE, USAGE ON SCHEMA {schema} TO {role}").format(**names),
            sql.SQL(
                "INSERT INTO mtdd.spare_schema (name, role, script) VALUES ({}, {}, {})"
            ).format(name, role, script),
            sql.SQL(home.enter),
        ]
        # It is compared as a tenant's, which it is for that long.
        owned = sql.SQL(
            f"SAVEPOINT {_COMPARED}; SET LOCAL ROLE NONE; ALTER SCHEMA {{schema}} OWNER TO {{role}}"
        ).format(**names)
        whole = replace(part, statements=(*part.statements, owned.as_string(self._connection)))
        await run_part(
            self._connection,
            home,
            whole,
            sql.SQL("; ").join(before).as_string(self._connection),
            end=f"ROLLBACK TO SAVEPOINT {_COMPARED}; COMMIT",
        )
        return True

    async def drop_stale(self, part: ScriptPart) -> bool:
        """Drop one that another script made long ago; return whether there was one."""
        find = sql.SQL(f"{_BEGIN}; {_STALE}").format(
            script=script_of(part) or b"", seconds=_STALE_SECONDS
        )
        rows = await last_rows(self._connection, find.as_string(self._connection))
        statements: list[sql.Composable] = []
        for name, role in rows:
            statements += [
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)),
                # It was never anybody's, and owns nothing now.
                sql.SQL(
                    "INSERT INTO mtdd.spare_role (role, login, usable) VALUES ({}, false, true)"
                ).format(role),
            ]
        await self._connection.execute(sql.SQL("; ").join([*statements, sql.SQL("COMMIT")]))
        return bool(rows)
