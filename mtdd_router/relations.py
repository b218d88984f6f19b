"""Relations stay in the tenant of the row that they start from.

Django asks the router when a row is assigned or added, and nobody when rows are removed,
set, or prefetched for rows of several tenants. So what it does this with, the managers of
relations and the descriptors on models, gets generated subclasses as managers do.

Invariants: a queryset that somebody gave to a Prefetch is never changed: it may serve
other requests, of other tenants, at the same time.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.manager import BaseManager

from mtdd_router.errors import CrossTenantError
from mtdd_router.generated import give_role, role_class
from mtdd_router.querysets import TenantQuerySet, bind_to_row
from mtdd_router.rows import alias_of, aliases_in, name_of, refuse_others

__all__ = ["TenantDescriptor", "TenantRelatedManager", "give_descriptors", "give_related"]

_RELATED = "_mtdd_related"


class _Prefetching:
    """Prefetches for rows of one tenant, from that tenant."""

    def get_prefetch_querysets(
        self, instances: Sequence[Model], querysets: Sequence[QuerySet[Any]] | None = None
    ) -> Any:
        """Return what Django's own method does.

        Raises:
            CrossTenantError: naming both tenants, if the rows are of two, or the queryset
                was named another.
        """
        aliases = sorted(aliases_in(instances))
        if len(aliases) > 1:
            raise CrossTenantError(
                "Related rows cannot be fetched at once for rows of "
                f"{name_of(aliases[0])} and {name_of(aliases[1])}: their keys mean others. "
                "Fetch them for the rows of each tenant."
            )
        if querysets is not None:
            querysets = [_of_row(queryset, instances[0]) for queryset in querysets]
        django: Any = super()
        return django.get_prefetch_querysets(instances, querysets)


class TenantDescriptor(_Prefetching):
    """A descriptor of a relation to one row."""


class TenantRelatedManager(_Prefetching, BaseManager[Any]):
    """The manager of a row's related rows."""

    instance: Model

    def add(self, *objs: Any, **options: Any) -> None:
        """Add rows.

        Raises:
            CrossTenantError: naming both tenants, if one is of another.
        """
        refuse_others(self.instance, objs, "add")
        django: Any = super()
        django.add(*objs, **options)

    add.alters_data = True  # type: ignore[attr-defined]

    def set(self, objs: Iterable[Any], **options: Any) -> None:
        """Replace the rows.

        Raises:
            CrossTenantError: naming both tenants, if one is of another.
        """
        rows = tuple(objs)
        refuse_others(self.instance, rows, "set")
        django: Any = super()
        django.set(rows, **options)

    set.alters_data = True  # type: ignore[attr-defined]  # noqa: A003

    def _apply_rel_filters(self, queryset: QuerySet[Any]) -> Any:
        django: Any = super()
        return django._apply_rel_filters(_of_row(queryset, self.instance))  # noqa: SLF001


class _WithRemove(TenantRelatedManager):
    """One of rows that can be there without being related."""

    def remove(self, *objs: Any, **options: Any) -> None:
        """Remove rows.

        Raises:
            CrossTenantError: naming both tenants, if one is of another.
        """
        refuse_others(self.instance, objs, "remove")
        django: Any = super()
        django.remove(*objs, **options)

    remove.alters_data = True  # type: ignore[attr-defined]


def give_related(manager: Any) -> None:
    """Give the manager of a relation, while it is made, the methods of this module.

    The subclass is kept by the class that Django made: of these there may be any number.
    """
    cls = type(manager)
    made = vars(cls).get(_RELATED)
    if made is None:
        role = _WithRemove if hasattr(cls, "remove") else TenantRelatedManager
        made = role_class(cls, role)
        setattr(cls, _RELATED, made)
    manager.__class__ = made


def give_descriptors(model: type[Model]) -> None:
    """Give the descriptors on *model* the methods of this module."""
    for descriptor in list(vars(model).values()):
        if hasattr(type(descriptor), "get_prefetch_querysets"):
            give_role(descriptor, TenantDescriptor)


def _of_row(queryset: QuerySet[Any], row: Model) -> QuerySet[Any]:
    """Return a copy of *queryset* that is bound to the tenant of *row*."""
    if not isinstance(queryset, TenantQuerySet):
        return queryset
    copied = queryset.all()
    bind_to_row(copied, row)
    # Django asks another database how to order it, if it is sliced and names none.
    alias = alias_of(row)
    return copied if alias is None else copied.using(alias)
