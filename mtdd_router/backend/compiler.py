"""The SQL compilers: Django's own for PostgreSQL; only deletions are looked at.

``row.delete(using="abc")`` deletes the row with that primary key in abc, whatever tenant
*row* came from. Django asks no router and no manager about it, and a receiver of
`pre_delete` would end its fast deletions for everybody. So the compiler looks who calls.

Invariants: Django's collector of rows to delete is recognised by its code, and each is
looked at once, in a tenant only. A test notices if a version of Django deletes otherwise.
"""

import sys
from typing import Any, Final

from django.db.backends.postgresql.compiler import (
    SQLAggregateCompiler,
    SQLCompiler,
    SQLInsertCompiler,
    SQLUpdateCompiler,
)
from django.db.backends.postgresql.compiler import SQLDeleteCompiler as _SQLDeleteCompiler
from django.db.models.deletion import Collector

from mtdd_router.errors import CrossTenantError

__all__ = [
    "SQLAggregateCompiler",
    "SQLCompiler",
    "SQLDeleteCompiler",
    "SQLInsertCompiler",
    "SQLUpdateCompiler",
]

_DELETE: Final = Collector.delete.__code__
# execute_sql, do_query, delete_batch, delete; and one for whoever subclasses one of them.
_DEPTH: Final = 6
_CHECKED: Final = "_mtdd_checked"


class SQLDeleteCompiler(_SQLDeleteCompiler):
    """The compiler of DELETE."""

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        """Return the statement.

        Raises:
            CrossTenantError: naming both tenants, if rows of another are being deleted.
        """
        connection: Any = self.connection
        if connection.tenant:
            _check_collected(connection.alias)
        return super().as_sql(*args, **kwargs)


def _check_collected(alias: str) -> None:
    frame = sys._getframe(2)  # noqa: SLF001 - CPython's
    for _ in range(_DEPTH):
        if frame.f_code is _DELETE:
            break
        if frame.f_back is None:
            return
        frame = frame.f_back
    else:
        return
    collector = frame.f_locals["self"]
    if _CHECKED in vars(collector):
        return
    setattr(collector, _CHECKED, True)
    for model, rows in collector.data.items():
        for row in rows:
            if row._state.db not in {alias, None}:
                raise CrossTenantError(
                    f"This {model._meta.label} is of {row._state.db!r}; deleted in tenant "
                    f"{alias!r}, it would be the row that has its key there."
                )
