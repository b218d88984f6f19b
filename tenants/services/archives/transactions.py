"""The transaction that a program of PostgreSQL works in.

It is opened here, on the tenant's own connection, and the program goes on in it. So what
is done before and after is one with what the program does, and whatever fails, also the
process itself, leaves nothing.

An archive must not carry the name of a schema that is taken where it is restored, and
what pg_dump writes names its schema in every line. So PostgreSQL itself renames it,
inside the transaction: no other session ever sees the schema under that name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import Error, InternalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import sql

from mtdd_router.errors import TenantError
from mtdd_router.types import Isolation
from tenants.errors import DumpFailed, RestoreFailed
from tenants.models import Tenant
from tenants.services.migrating.aliases import migrating_connection
from tenants.services.migrating.batches import first_line

__all__ = ["restoring", "snapshot"]

_GRANTS_HAVE_OPTIONS: Final = 160000
_ATTEMPTS: Final = 100
# A transaction may have to wait for its program, or for another restore of the same archive.
_NO_LIMITS: Final = "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = 0"
_TRANSACTION_ID: Final = "SELECT pg_catalog.pg_current_xact_id()"
_LARGE_OBJECTS: Final = """
SELECT count(*) FROM pg_catalog.pg_largeobject_metadata m
 WHERE m.lomowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s)
"""
# As whom the login role was given the tenant's.
_GRANTED: Final = """
SELECT current_user::text, g.rolname::text
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
  JOIN pg_catalog.pg_roles g ON g.oid = m.grantor
  JOIN pg_catalog.pg_roles l ON l.oid = m.member
 WHERE r.rolname = %s AND l.rolname = current_user AND m.set_option
"""


@contextmanager
def snapshot(tenant: Tenant, schema: str = "") -> Iterator[BaseDatabaseWrapper]:
    """Give a connection that sees the tenant at one moment, and changes nothing.

    Args:
        tenant: whose lock the caller holds.
        schema: what the tenant's schema is called in this transaction, if it is one.

    Raises:
        DumpFailed: if pg_dump would leave something out, or the shard fails.
    """
    with _transaction(tenant, DumpFailed) as (connection, cursor):
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(_NO_LIMITS)
        cursor.execute(_LARGE_OBJECTS, [tenant.role])
        (large_objects,) = cursor.fetchone()
        if large_objects:
            raise DumpFailed(
                f"Tenant {tenant.name!r} has {large_objects} large objects, which belong to no "
                "table and would be lost; keep them in bytea columns, or unlink them."
            )
        if Isolation(tenant.isolation).has_schema:
            # It says whose the schema is on this shard, and would say so of any copy.
            _run(cursor, "COMMENT ON SCHEMA {} IS NULL", tenant.namespace)
            if schema:
                _rename(cursor, tenant, tenant.namespace, schema)
        yield connection
        transaction.set_rollback(True, using=tenant.name)


@contextmanager
def restoring(tenant: Tenant, schema: str = "") -> Iterator[BaseDatabaseWrapper]:
    """Give a connection that fills the tenant, all or nothing.

    Args:
        tenant: new, its schema empty.
        schema: what the tenant's schema is called until the transaction ends, if it is one.

    Raises:
        RestoreFailed: if what was restored has ended the transaction, or the shard fails.
    """
    with _transaction(tenant, RestoreFailed) as (connection, cursor):
        cursor.execute(_NO_LIMITS)
        cursor.execute(_TRANSACTION_ID)
        began = cursor.fetchone()
        if schema:
            _rename(cursor, tenant, tenant.namespace, schema)
        yield connection
        cursor.execute(_TRANSACTION_ID)
        if cursor.fetchone() != began:
            raise RestoreFailed("What was restored has ended its transaction.")
        if schema:
            _rename(cursor, tenant, schema, tenant.namespace)


@contextmanager
def _transaction(
    tenant: Tenant, failure: type[TenantError]
) -> Iterator[tuple[BaseDatabaseWrapper, CursorWrapper]]:
    try:
        with (
            migrating_connection(tenant.name) as connection,
            transaction.atomic(using=tenant.name, durable=True),
            connection.cursor() as cursor,
        ):
            try:
                yield connection, cursor
            except BaseException:
                # A program may have stopped in the middle of anything: nothing can follow.
                connection.close()
                raise
    except Error as exc:
        raise failure(
            f"Tenant {tenant.name!r} on shard {tenant.shard.name!r}: {first_line(exc)}"
        ) from exc


def _rename(cursor: CursorWrapper, tenant: Tenant, name: str, new_name: str) -> None:
    """Rename the tenant's schema.

    That takes a right on the database, which the login role has, and one on the schema,
    which the tenant's role has, so for a moment the login role inherits it.
    """
    cursor.execute("SET LOCAL ROLE NONE")
    cursor.execute("SELECT pg_catalog.pg_has_role(current_user, %s, 'USAGE')", [tenant.role])
    (inherits,) = cursor.fetchone()
    if not inherits:
        _inherit(cursor, tenant.role, inherit=True)
    _run(cursor, "ALTER SCHEMA {} RENAME TO {}", name, new_name)
    if not inherits:
        _inherit(cursor, tenant.role, inherit=False)
    _run(cursor, "SET LOCAL ROLE {}", tenant.role)


def _inherit(cursor: CursorWrapper, role: str, *, inherit: bool) -> None:
    """Let the login role have the rights of *role*, or no longer."""
    if cursor.db.pg_version >= _GRANTS_HAVE_OPTIONS:
        option = "TRUE" if inherit else "FALSE"
        cursor.execute(_GRANTED, [role])
        login, grantor = cursor.fetchone()
        # Whoever made the role: the login role itself, or one that made many ahead.
        _run(cursor, "SET LOCAL ROLE {}", grantor)
        _run(cursor, "GRANT {} TO {} WITH INHERIT " + option, role, login)
        cursor.execute("SET LOCAL ROLE NONE")
    else:
        _inherit_from_all(cursor, "INHERIT" if inherit else "NOINHERIT")


def _inherit_from_all(cursor: CursorWrapper, option: str) -> None:
    """Do it on the login role itself, as others may do at the same time.

    The second one waits until the first one's transaction ends, and then fails if that
    was committed: "tuple concurrently updated".
    """
    for attempt in range(_ATTEMPTS):
        try:
            with transaction.atomic(using=cursor.db.alias):
                cursor.execute(f"ALTER ROLE CURRENT_USER {option}")
        except InternalError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _run(cursor: CursorWrapper, statement: str, *names: str) -> None:
    # The statements are this module's own; names are quoted.
    cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
