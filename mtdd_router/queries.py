"""Queries that know whose rows are in them, and are refused anywhere else.

A query's text says nothing of tenants: a subquery, or a row given as a value, brings
only keys. So each query remembers where it is to run and of which tenants its rows are,
and this is compared with the connection for which it is compiled, subqueries included.

Invariants: what a query remembers is copied wherever Django copies the query, and
pickled with it. No compiler is handed out for the wrong tenant. An UPDATE and a DELETE are
made of it by queries of other classes; the queryset checks them.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from django.db import DEFAULT_DB_ALIAS
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import TenantScope, current_tenant
from mtdd_router.errors import CrossTenantError
from mtdd_router.generated import give_role
from mtdd_router.rows import NO_ROWS, aliases_in, name_of

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["TenantCompiler", "TenantQuery", "check_query", "scope_of"]


class TenantQuery(Query):
    """A query on the rows of a tenant app.

    Attributes:
        mtdd_alias: where it is to run, if that is known.
        mtdd_rows: the aliases of the rows that were given to it as values.
    """

    model: "type[Model]"
    mtdd_alias: str | None = None
    mtdd_rows: frozenset[str] = frozenset()

    def build_lookup(self, lookups: Any, lhs: Any, rhs: Any) -> Any:
        if rhs.__class__ not in NO_ROWS:
            if isinstance(rhs, Iterator):
                rhs = list(rhs)
            self.remember_rows(rhs)
        return _build_lookup(self, lookups, lhs, rhs)

    def add_annotation(self, annotation: Any, *args: Any, **kwargs: Any) -> None:
        self.remember_rows(annotation)
        super().add_annotation(annotation, *args, **kwargs)

    def combine(self, rhs: Query, connector: str) -> None:
        """Add the conditions of *rhs*, which must be of the same tenant.

        Raises:
            CrossTenantError: naming both tenants.
        """
        super().combine(rhs, connector)
        if isinstance(rhs, TenantQuery):
            self.mtdd_rows |= rhs.mtdd_rows
            if rhs.mtdd_alias is not None:
                self.mtdd_alias = self.mtdd_alias or rhs.mtdd_alias
                check_query(rhs, self.mtdd_alias)

    def remember_rows(self, values: object) -> None:
        """Remember of which tenants the rows among *values* are."""
        aliases = aliases_in(values)
        if aliases:
            self.mtdd_rows |= aliases

    def sql_with_params(self) -> Any:
        """Return the text that ``str(query)`` shows, as its own tenant would be sent it."""
        alias = self.mtdd_alias or next(iter(self.mtdd_rows), DEFAULT_DB_ALIAS)
        return self.get_compiler(alias).as_sql()

    def get_compiler(
        self,
        using: str | None = None,
        connection: Any = None,
        elide_empty: bool = True,  # noqa: FBT001, FBT002 - Django's signature
    ) -> Any:
        """Return what makes the statement.

        Raises:
            CrossTenantError: naming both tenants, if it would hold anything of another.
        """
        alias = using or (connection.alias if connection is not None else "")
        mine = self.mtdd_alias
        if (mine is not None and mine != alias) or self.mtdd_rows:
            check_query(self, alias)
        compiler = _get_compiler(self, using, connection, elide_empty)
        if (
            len(self.alias_map) > 1
            or self.order_by
            or (self.default_ordering and self.get_meta().ordering)
        ):
            give_role(compiler, TenantCompiler)
        return compiler


# Called for each query: `super()` would take longer than all that is done here.
_build_lookup: Final[Any] = Query.build_lookup
_get_compiler: Final[Any] = Query.get_compiler


class TenantCompiler(SQLCompiler):
    """The compiler of a query that is joined or ordered, of which it resolves parts itself.

    Joins along generic relations ask for the content type of a model in the context.
    """

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        """Return the statement.

        Raises:
            CrossTenantError: naming both tenants, if there is a row of another in its order.
        """
        alias = self.connection.alias
        with scope_of(alias):
            statement = super().as_sql(*args, **kwargs)
        check_query(self.query, alias)
        return statement


def scope_of(alias: str) -> AbstractContextManager[str | None]:
    """Return a context in which plain managers ask where *alias* leads."""
    home = alias if mtdd_settings.is_tenant_alias(alias) else None
    return nullcontext() if current_tenant() == home else TenantScope(home)


def check_query(query: Query, alias: str) -> None:
    """Let *query* pass if it may run on *alias*.

    Raises:
        CrossTenantError: naming both tenants.
    """
    if not isinstance(query, TenantQuery):
        return
    label = query.model._meta.label
    if query.mtdd_alias not in {None, alias}:
        raise CrossTenantError(
            f"A query on {label} of {name_of(str(query.mtdd_alias))} cannot be part of one on "
            f"{name_of(alias)}; name the same tenant for both, or evaluate it first."
        )
    for other in _others(query.mtdd_rows, alias):
        raise CrossTenantError(
            f"A query on {label} in {name_of(alias)} was given a row of {name_of(other)}, "
            "where the same key means another row."
        )


def _others(aliases: Iterable[str], alias: str) -> list[str]:
    return sorted(set(aliases) - {alias})
