"""Querysets that know their tenant: ``.mtdd(name)``, and the tenant they were made in.

Invariants: nothing of Django is patched; a queryset's class is a generated subclass of
its own class. Naming a tenant sets the queryset's alias. Being made in a tenant only
sets a router hint, so that a row's own tenant still wins where a relation is followed.
Where it is to run is also remembered by its query, which may become part of another.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final, Self, TypeVar, cast

from django.db.models import Model, QuerySet
from django.db.models.sql import Query

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import TenantScope, current_tenant
from mtdd_router.errors import CrossTenantError, TenantRequired
from mtdd_router.generated import give_role, plain_class, tenant_class
from mtdd_router.queries import TenantQuery, check_query, scope_of
from mtdd_router.rows import alias_of, name_of, stays
from mtdd_router.writes import check_saved, check_updated

__all__ = [
    "TENANT_QUERY",
    "TenantQuerySet",
    "bind_to_context",
    "bind_to_row",
    "named_tenant",
    "tenant_queryset",
]

M = TypeVar("M", bound=Model)

_PLAIN_QUERY: Final[Any] = QuerySet.query
TENANT_QUERY: Final = tenant_class(Query, TenantQuery)


class TenantQuerySet(QuerySet[M, M]):
    """A queryset of a tenant app."""

    _db: str | None
    _hints: dict[str, Any]
    _query: Query
    _for_write: bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if plain_class(cls) not in {cls, QuerySet}:
            # Its own methods may make another queryset of its class by hand.
            cls.__init__ = _init_and_bind  # type: ignore[method-assign]

    def mtdd(self, tenant: str | None = None) -> Self:
        """Return this queryset, to be run in *tenant*, whatever the context is.

        Raises:
            InvalidTenantName: if *tenant* cannot name a tenant.
            TenantRequired: without an argument; querysets over all tenants come later.
            CrossTenantError: if this follows a relation from a row of another tenant.
        """
        return self.using(named_tenant(tenant, self.model))

    def using(self, alias: str | None) -> Self:
        """Return this queryset, to be run where *alias* leads.

        Raises:
            CrossTenantError: if this follows a relation from a row of another tenant.
        """
        queryset = super().using(alias)
        _remember_alias(queryset)
        return queryset

    def contains(self, obj: Model) -> bool:
        """Return whether *obj* is among the rows; a row of another tenant never is."""
        return super().contains(obj) and stays(obj, self.db)

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        """Insert *objs*.

        Raises:
            CrossTenantError: if one of them is, or refers to, a row of another tenant.
        """
        rows = list(objs)
        alias = self._written_alias()
        for row in rows:
            check_saved(row, alias)
        return super().bulk_create(rows, *args, **kwargs)

    def update(self, **values: Any) -> int:
        """Update all rows.

        Raises:
            CrossTenantError: naming both tenants, if one of *values* is or has a row of another.
        """
        # Django makes a query of another class of it.
        query = cast(TenantQuery, self.query.chain())
        query.remember_rows(values.values())
        alias = self._written_alias()
        check_query(query, alias)
        with scope_of(alias):
            return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(
        self, objs: Iterable[M], fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> int:
        """Update *fields* of *objs*.

        Raises:
            CrossTenantError: if one of them is, or refers to, a row of another tenant.
        """
        rows = tuple(objs)
        alias = self._written_alias()
        for row in rows:
            check_updated(row, alias)
        return super().bulk_update(rows, fields, *args, **kwargs)

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        query = super().resolve_expression(*args, **kwargs)
        # Django would refuse another alias, but not say which tenants they are.
        query._db = None  # noqa: SLF001 - set just now
        return query

    def __contains__(self, row: object) -> bool:
        """Return whether *row* is among the rows; Django's models compare by key alone."""
        if isinstance(row, Model) and not stays(row, self.db):
            return False
        rows: Iterable[object] = iter(self)
        return row in rows

    def __and__(self, other: QuerySet[M, M]) -> Self:
        return self._combined(super().__and__, other)

    def __or__(self, other: QuerySet[M, M]) -> Self:
        return self._combined(super().__or__, other)

    def __xor__(self, other: QuerySet[M, M]) -> Self:
        return self._combined(super().__xor__, other)

    def _combined(self, operator: Callable[[Any], Any], other: QuerySet[M, M]) -> Self:
        alias = cast(TenantQuery, self._query).mtdd_alias
        # Of what is sliced, Django makes another queryset, which is to have this tenant.
        with TenantScope(alias or current_tenant()):
            combined = operator(other)
        named = self._db is not None and vars(combined)["_db"] is None
        return cast(Self, combined.using(self._db) if named else combined)

    def _written_alias(self) -> str:
        self._for_write = True
        return self.db

    def _raw_delete(self, using: Any) -> Any:
        # Django makes a query of another class of it.
        check_query(self.query, using)
        with scope_of(using):
            return super()._raw_delete(using)

    def _add_hints(self, **hints: Any) -> None:
        # Clones share the dict of hints, which Django changes in place: with the queryset
        # of a Prefetch, rows of one tenant would be given the hints of the next.
        self._hints = {**self._hints, **hints}
        _remember_alias(self)

    def _set_query(self, query: Query) -> None:
        """Take over a query, with the tenant of it if this queryset was given none."""
        _PLAIN_QUERY.fset(self, query)
        give_role(query, TenantQuery)
        alias = cast(TenantQuery, query).mtdd_alias
        if alias is not None and self._db is None and alias_of(self._hints.get("instance")) is None:
            self._hints = {**self._hints, "tenant": alias}

    # The same getter, which is called a dozen times for each query, and another setter.
    query = _PLAIN_QUERY.setter(_set_query)


def named_tenant(tenant: str | None, model: type[Model]) -> str:
    """Return the name given to ``.mtdd()``.

    Raises:
        TenantRequired: if none was given.
        InvalidTenantName: if it cannot name a tenant.
    """
    if tenant is None:
        raise TenantRequired(
            f"{model._meta.label}.objects.mtdd() needs the name of a tenant, as in "
            '.mtdd("abc"). Querysets over all tenants are not available yet.'
        )
    return mtdd_settings.check_tenant_name(tenant)


def tenant_queryset(queryset: QuerySet[M, M]) -> TenantQuerySet[M]:
    """Give *queryset*, in place, a class that has ``.mtdd()``, and bind it to its tenant."""
    if not isinstance(queryset, TenantQuerySet):
        queryset.__class__ = tenant_class(type(queryset), TenantQuerySet)
    bound: TenantQuerySet[M] = queryset  # type: ignore[assignment]
    bind_to_context(bound)
    return bound


def _init_and_bind(self: Any, *args: Any, **kwargs: Any) -> None:
    super(TenantQuerySet, self).__init__(*args, **kwargs)
    # Of a clone, the query is bound already.
    if self.model is not None and not isinstance(vars(self)["_query"], TenantQuery):
        bind_to_context(self)


def bind_to_context(queryset: TenantQuerySet[M]) -> None:
    """Fix the running work's tenant, in place, on a queryset that has chosen none.

    Not while a module is being imported: a class attribute like
    ``queryset = Book.objects.all()``, imported during somebody's request, is meant for
    every later request too.
    """
    chosen = vars(queryset)  # Django's stubs hide these attributes.
    query, alias, hints = chosen["_query"], chosen["_db"], chosen["_hints"]
    if query.__class__ is Query:
        query.__class__ = TENANT_QUERY
    else:
        give_role(query, TenantQuery)
    if "instance" in hints:
        _remember_alias(queryset)
        return
    if alias is None:
        tenant = current_tenant()
        if tenant is not None and not _is_importing():
            chosen["_hints"] = hints = {**hints, "tenant": tenant}
        alias = hints.get("tenant")
    query.mtdd_alias = alias


def bind_to_row(queryset: TenantQuerySet[M], row: Model) -> None:
    """Fix the tenant of *row*, in place, as Django does where it follows a relation.

    Raises:
        CrossTenantError: naming both tenants, if the queryset was named another.
    """
    queryset._add_hints(instance=row)  # noqa: SLF001 - as Django's relations do


def _remember_alias(queryset: TenantQuerySet[M]) -> None:
    """Let the query of *queryset* know where it is to run.

    Raises:
        CrossTenantError: if it was named another tenant than that of the row it starts from.
    """
    chosen = vars(queryset)
    named, hints = chosen["_db"], chosen["_hints"]
    alias = named
    if hints:
        row = hints.get("instance")
        own = alias_of(row) if row is not None else None
        if named is None:
            alias = own or hints.get("tenant")
        elif own is not None and own != named:
            raise CrossTenantError(
                f"This follows a relation from a {type(row)._meta.label} of {name_of(own)}; "
                f"its rows cannot be looked for in {name_of(named)}."
            )
    chosen["_query"].mtdd_alias = alias


_IMPORT_GLOBALS: Final = vars(importlib._bootstrap)  # noqa: SLF001 - only to recognise its frames
# CPython's locks of the modules that are being imported: there are seldom any.
_module_locks: Final = _IMPORT_GLOBALS.get("_module_locks")


def _is_importing() -> bool:
    """Return whether the caller runs because a module is being imported."""
    if _module_locks is not None and not _module_locks:
        return False
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals is _IMPORT_GLOBALS:
            return True
        frame = frame.f_back
    return False
