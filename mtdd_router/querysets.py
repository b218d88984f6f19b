"""Querysets that know their tenant: ``.mtdd(name)``, and the tenant they were made in.

Invariants: nothing of Django is patched; a queryset's class is a generated subclass of
its own class, with the same name and module, one for each class. Naming a tenant sets
the queryset's alias. Being made in a tenant only sets a router hint, so that a row's
own tenant still wins where a relation is followed. Pickles name the original class.
"""

import copyreg
import importlib
import inspect
from collections.abc import Callable
from types import new_class
from typing import Any, Final, Self, TypeVar, cast

from django.db.models import Model, QuerySet

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import current_tenant
from mtdd_router.errors import CrossTenantError, TenantRequired

__all__ = ["TenantQuerySet", "bind_to_context", "named_tenant", "tenant_class", "tenant_queryset"]

M = TypeVar("M", bound=Model)
T = TypeVar("T")


class TenantQuerySet(QuerySet[M, M]):
    """A queryset of a tenant app."""

    def mtdd(self, tenant: str | None = None) -> Self:
        """Return this queryset, to be run in *tenant*, whatever the context is.

        Raises:
            InvalidTenantName: if *tenant* cannot name a tenant.
            TenantRequired: without an argument; querysets over all tenants come later.
            CrossTenantError: if this follows a relation from a row of another tenant.
        """
        name = named_tenant(tenant, self.model)
        instance = vars(self)["_hints"].get("instance")
        alias = instance._state.db if isinstance(instance, Model) else None
        if alias not in {None, name} and mtdd_settings.is_tenant_alias(str(alias)):
            raise CrossTenantError(
                f"This is a relation of a {type(instance)._meta.label} of tenant {alias!r}; "
                f"its rows cannot be looked for in tenant {name!r}."
            )
        return self.using(name)


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
    """Give *queryset*, in place, a class that has ``.mtdd()``."""
    if not isinstance(queryset, TenantQuerySet):
        queryset.__class__ = tenant_class(type(queryset), TenantQuerySet)
    return cast(TenantQuerySet[M], queryset)


def bind_to_context(queryset: TenantQuerySet[M]) -> None:
    """Fix the running work's tenant, in place, on a new queryset that has chosen none.

    Not while a module is being imported: a class attribute like
    ``queryset = Book.objects.all()``, imported during somebody's request, is meant for
    every later request too.
    """
    chosen = vars(queryset)  # Django's stubs hide both attributes.
    if chosen["_db"] is None and "instance" not in chosen["_hints"]:
        tenant = current_tenant()
        if tenant is not None and not _is_importing():
            chosen["_hints"] = {**chosen["_hints"], "tenant": tenant}


def tenant_class(base: type[T], role: type[T]) -> type[T]:
    """Return the subclass of *base* that has the methods of *role*; one for each *base*.

    Name, qualified name and module are those of *base*: so Django writes the path of
    the original class into migrations.
    """
    made = _made.get(base)
    if made is None:
        made = _made.setdefault(base, _make_class(base, role))
    return cast(type[T], made)


_made: Final[dict[type, type]] = {}


def plain_class(cls: type) -> type:
    """Return the class from which *cls* was generated, or *cls* itself."""
    return cast(type, vars(cls).get("_mtdd_plain_class", cls))


def _make_class(base: type, role: type) -> type:
    body = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "_mtdd_plain_class": base,
    }
    made = new_class(base.__name__, (role, base), {}, lambda namespace: namespace.update(body))
    # For this very class, not for what Django derives from it; serves `copy` as well.
    copyreg.pickle(made, cast(Callable[[Any], tuple[Any, ...]], _reduce))
    return made


def _reduce(instance: object) -> tuple[Any, ...]:
    made = type(instance)
    base, role = plain_class(made), made.__mro__[1]
    return _rebuild, (base, role), instance.__getstate__()


def _rebuild(base: type, role: type) -> object:
    made: Any = tenant_class(base, role)
    return made.__new__(made)


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
