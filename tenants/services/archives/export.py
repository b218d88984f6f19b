"""A tenant as files that other programs read: SQL, or CSV.

Both are of one moment, and are written while the tenant is used.
"""

from pathlib import Path
from typing import Final
from urllib.parse import quote

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from mtdd_router.types import Isolation
from tenants.errors import DumpFailed
from tenants.services.archives.archive import settled_tenant
from tenants.services.archives.dumps import run_pg_dump
from tenants.services.archives.files import new_file, new_folder
from tenants.services.archives.relations import Relation, relations
from tenants.services.archives.transactions import snapshot
from tenants.services.audit import note
from tenants.services.locks import tenant_lock

__all__ = ["export_csv", "export_sql"]

_READABLE: Final = " ()[]{}=+,;@"


def export_sql(name: str, path: Path) -> None:
    """Write the tenant to a new file at *path*, as SQL that psql runs.

    The tenant's schema keeps its name, or it is ``public`` if it has a database.

    Raises:
        TenantDoesNotExist, TenantBusy, WrongTenantState: about the tenant.
        PathNotWritable: if there is a file already, or none can be made.
        ProgramMissing: if there is no pg_dump, or it is older than the shard.
        DumpFailed: if the tenant cannot be read; then there is no file.
    """
    with tenant_lock(name), new_file(path) as file:
        tenant = settled_tenant(name)
        note("export tenant", tenant=name, file=str(path))
        schema = tenant.namespace if Isolation(tenant.isolation).has_schema else ""
        with (
            snapshot(tenant) as connection,
            run_pg_dump(connection, schema, ["--format=plain"], label=name, to=file) as run,
        ):
            if failure := run.failure():
                raise DumpFailed(f"Tenant {name!r} could not be exported: {failure}")


def export_csv(name: str, folder: Path) -> dict[str, int]:
    """Write each of the tenant's tables to a file in a new *folder*.

    A file has a line of the columns' names. NULL is an empty field, and an empty text is
    a pair of quotes; COPY ... WITH (FORMAT csv, HEADER) reads it back. What PostgreSQL
    computes, as a generated column, is not in it.

    Returns:
        The number of rows by the file's name.

    Raises: as `export_sql`.
    """
    with tenant_lock(name), new_folder(folder) as unfinished:
        tenant = settled_tenant(name)
        note("export tenant", tenant=name, folder=str(folder))
        schema = tenant.namespace if Isolation(tenant.isolation).has_schema else ""
        with snapshot(tenant) as connection:
            # Rather an error than a file that lacks rows, which a policy hides.
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL row_security = off")
            return {
                file: _write(connection, table, unfinished / file)
                for table in relations(connection, schema)
                if not table.is_sequence and (file := _file_name(table, schema or "public"))
            }


def _file_name(table: Relation, schema: str) -> str:
    name = table.name if table.schema == schema else f"{table.schema}.{table.name}"
    return f"{quote(name, safe=_READABLE)}.csv"


def _write(connection: BaseDatabaseWrapper, table: Relation, path: Path) -> int:
    statement = sql.SQL("COPY {} TO STDOUT WITH (FORMAT csv, HEADER)").format(
        sql.Identifier(table.schema, table.name)
    )
    with connection.cursor() as cursor, path.open("wb") as file:
        with cursor.copy(statement) as copy:
            for block in copy:
                file.write(block)
        rows: int = cursor.rowcount
    return rows
