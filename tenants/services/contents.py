"""What a tenant holds: what a deletion would lose."""

from dataclasses import dataclass
from typing import Final

from django.db import Error, connections

from mtdd_router.context import maintenance
from mtdd_router.errors import MTDDError, ShardError
from tenants.models import Tenant
from tenants.services.identity import admin_of

__all__ = ["Contents", "measure_contents"]

# The tenant's role owns its tables, and nothing else. PostgreSQL's estimates are of
# the last vacuum or of a moment ago, whichever knows of more.
_TABLES: Final = """
    SELECT oid::regclass::text, pg_catalog.pg_relation_size(oid),
           greatest(reltuples, pg_catalog.pg_stat_get_live_tuples(oid), 0)::bigint
    FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'p') AND pg_catalog.pg_get_userbyid(relowner) = current_user
"""
# Small tables are counted: a new tenant's are not estimated yet.
_COUNTED_BYTES: Final = 1 << 20
_COUNTED_TABLES: Final = 500
_TIMEOUT: Final = 3.0


@dataclass(frozen=True, slots=True)
class Contents:
    """How much there is; *rows* is an estimate. None is what is not known, *error* why."""

    size_bytes: int | None = None
    tables: int | None = None
    rows: int | None = None
    error: str = ""


def measure_contents(tenant: Tenant) -> Contents:
    """Return how much the tenant holds, or why that is not known."""
    try:
        admin = admin_of(tenant.shard, timeout=_TIMEOUT)
        size_bytes = admin.sizes([tenant.name]).get(tenant.name)
    except ShardError as exc:
        return Contents(error=str(exc))
    try:
        tables, rows = _count(tenant.name)
    except (MTDDError, Error) as exc:
        return Contents(size_bytes, error=str(exc))
    return Contents(size_bytes, tables, rows)


def _count(tenant: str) -> tuple[int, int]:
    """Return how many tables there are, and about how many rows."""
    with maintenance(), connections[tenant].cursor() as cursor:
        cursor.execute(_TABLES)
        tables = cursor.fetchall()
        small = [name for name, size, _ in tables if size <= _COUNTED_BYTES][:_COUNTED_TABLES]
        rows = sum(estimate for name, _, estimate in tables if name not in small)
        if small:
            # PostgreSQL has quoted the names itself.
            counts = " UNION ALL ".join(f"SELECT count(*) AS n FROM {name}" for name in small)
            cursor.execute(f"SELECT sum(n)::bigint FROM ({counts}) AS counted")
            rows += cursor.fetchone()[0]
    return len(tables), rows
