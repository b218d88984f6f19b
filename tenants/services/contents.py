"""What a tenant holds: what a deletion would lose."""

from dataclasses import dataclass
from typing import Final

from django.db import Error, connections

from mtdd_router.context import maintenance
from mtdd_router.errors import MTDDError, ShardError
from tenants.models import Tenant
from tenants.services.identity import open_admin

__all__ = ["Contents", "measure_contents"]

# The tenant's role owns its tables, and nothing else.
_COUNT: Final = """
    SELECT count(*),
           coalesce(sum(greatest(reltuples, pg_stat_get_live_tuples(oid), 0)), 0)::bigint
    FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'p') AND pg_catalog.pg_get_userbyid(relowner) = current_user
"""
_TIMEOUT: Final = 3.0


@dataclass(frozen=True, slots=True)
class Contents:
    """How much there is; *rows* is PostgreSQL's estimate. None is what is not known."""

    size_bytes: int | None = None
    tables: int | None = None
    rows: int | None = None
    error: str = ""


def measure_contents(tenant: Tenant) -> Contents:
    """Return how much the tenant holds, or why that is not known."""
    try:
        with open_admin(tenant.shard, timeout=_TIMEOUT) as admin:
            size_bytes = admin.sizes([tenant.name]).get(tenant.name)
    except ShardError as exc:
        return Contents(error=str(exc))
    try:
        with maintenance(), connections[tenant.name].cursor() as cursor:
            cursor.execute(_COUNT)
            tables, rows = cursor.fetchone()
    except (MTDDError, Error) as exc:
        return Contents(size_bytes, error=str(exc))
    return Contents(size_bytes, tables, rows)
