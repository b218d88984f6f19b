"""Which tenant a row is of, and the refusal to let rows of two tenants meet.

Invariants: only the alias that a row carries (``_state.db``) tells; no database is asked.
A row that all tenants share is of no tenant. A row on `default` of an app that is in
both is of `default`: in a tenant, its key is another row's.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db.models import Model, Q, Value

from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import CrossTenantError

__all__ = [
    "NO_ROWS",
    "RowKey",
    "alias_of",
    "aliases_in",
    "home_of",
    "name_of",
    "refuse_others",
    "row_key",
    "stays",
]

RowKey = tuple[str | None, str, Any]

# What is looked at for nothing so often that it pays to say so first.
NO_ROWS: Final = frozenset(
    {int, str, bool, float, bytes, type(None), UUID, datetime, date, Decimal}
)


def home_of(model: type[Model]) -> str:
    """Return the label of the app that has the model's table; a proxy has none of its own."""
    # Django's cache in the database asks for a model that is none, and has no such attribute.
    concrete = getattr(model._meta, "concrete_model", None) or model
    return concrete._meta.app_label


def alias_of(row: Model | None) -> str | None:
    """Return the alias of the tenant that *row* is of; None for a new or a shared row."""
    alias = row._state.db if row is not None else None
    if row is None or alias is None:
        return None
    if mtdd_settings.is_tenant_alias(alias) or mtdd_settings.is_raw_alias(alias):
        return alias
    label = home_of(type(row))
    in_both = mtdd_settings.is_tenant_app(label) and mtdd_settings.is_shared_app(label)
    return alias if in_both else None


def name_of(alias: str) -> str:
    """Return how to call what *alias* leads to, for messages."""
    kind = "tenant" if mtdd_settings.is_tenant_alias(alias) else "database"
    return f"{kind} {alias!r}"


def row_key(row: Model) -> RowKey:
    """Return what tells *row* from every other, of any tenant: for sets and dicts.

    Django's models compare and hash by primary key alone, so that rows of two tenants
    with one key are one member of a set.

    Raises:
        TypeError: if the row has no primary key yet, as ``hash(row)`` does.
    """
    hash(row)
    concrete = row._meta.concrete_model or type(row)
    return row._state.db, concrete._meta.label, row.pk


def aliases_in(value: object) -> set[str]:
    """Return the aliases of the rows that *value*, a value for a query, holds.

    It may be a row, any collection of rows, or an expression; a collection is iterated
    over once. Subqueries are not entered: they are compiled, and answer for themselves.
    """
    if value.__class__ in NO_ROWS:
        return set()
    known: set[tuple[type, str | None]] = set()
    found = set()
    for row in _rows_in(value):
        kind = (type(row), row._state.db)
        if kind not in known:
            known.add(kind)
            alias = alias_of(row)
            if alias is not None:
                found.add(alias)
    return found


def refuse_others(row: Model, others: Iterable[object], deed: str) -> None:
    """Let only rows of the tenant of *row* pass, and what says of no tenant.

    Raises:
        CrossTenantError: naming both tenants, and *deed*, what was to be done.
    """
    alias = alias_of(row)
    for other in others if alias is not None else ():
        if isinstance(other, Model) and not stays(other, alias):
            raise CrossTenantError(
                f"Cannot {deed}: the {type(row)._meta.label} is of {name_of(str(alias))}, "
                f"the {type(other)._meta.label} of {name_of(str(alias_of(other)))}."
            )


def stays(row: Model, alias: str | None) -> bool:
    """Return whether *row* may be where *alias* leads: it is of there, or of no tenant."""
    return row._state.db == alias or alias_of(row) in {None, alias}


def _rows_in(value: Any) -> Iterator[Model]:
    if value.__class__ in NO_ROWS or isinstance(value, (str, bytes, Mapping)):
        return
    if isinstance(value, Model):
        yield value
    elif isinstance(value, Q):
        for child in value.children:
            yield from _rows_in(child[1] if isinstance(child, tuple) else child)
    elif hasattr(value, "resolve_expression"):
        yield from _rows_in_expression(value)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _rows_in(item)


def _rows_in_expression(expression: Any) -> Iterator[Model]:
    if isinstance(expression, Value):
        yield from _rows_in(expression.value)
    elif hasattr(expression, "get_source_expressions") and not hasattr(expression, "query"):
        for source in expression.get_source_expressions():
            yield from _rows_in(source)
