"""``.mtdd()`` on the managers of every tenant app, third-party ones included.

Invariants: Django's classes and the models' source stay as they are; each manager
*instance* of a tenant app's model gets a generated subclass of its own class, and the
model an equality that knows tenants.
Migrations see no difference: ``deconstruct()`` gives the original path, and such a
manager equals its plain twin both ways. Historical models of migrations, and models
of other apps, are left alone. The setting MTDD_TENANT_MANAGERS, read once at start,
switches it off for all or for some.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any, Final, TypeVar, cast

from django.apps import apps
from django.db.models import Model, QuerySet
from django.db.models.manager import BaseManager, Manager
from django.db.models.signals import class_prepared

from mtdd_router.conf import mtdd_settings
from mtdd_router.equality import give_equality
from mtdd_router.errors import ConfigurationError
from mtdd_router.generated import give_role, plain_class, tenant_class
from mtdd_router.owners import learn_callers, owner_of_call
from mtdd_router.querysets import (
    TENANT_QUERY,
    TenantQuerySet,
    bind_to_context,
    bind_to_row,
    tenant_queryset,
)
from mtdd_router.relations import give_descriptors, give_related
from mtdd_router.rows import home_of
from mtdd_router.writes import watch_saves

__all__ = ["TenantManager", "install", "is_wanted", "watch"]

M = TypeVar("M", bound=Model)


class TenantManager(BaseManager[M]):
    """A manager of a tenant app."""

    _mtdd_querysets: type[TenantQuerySet[M]] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Only what Django derives from a generated class is made by calling it.
        if plain_class(type(self)) is type(self):
            give_related(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        role = vars(cls).get("_mtdd_role")
        if role is not None and issubclass(role, TenantManager):
            plain: Any = plain_class(cls)
            for name, method in _own_methods(plain, role):
                setattr(cls, name, _binding(method))
            if plain.get_queryset is BaseManager.get_queryset:
                cls._mtdd_querysets = tenant_class(plain._queryset_class, TenantQuerySet)  # noqa: SLF001

    def mtdd(self, tenant: str | None = None) -> QuerySet[M, M]:
        """Return a queryset of *tenant*'s rows.

        Raises:
            InvalidTenantName: if *tenant* cannot name a tenant.
            TenantRequired: without an argument; querysets over all tenants come later.
            CrossTenantError: if this follows a relation from a row of another tenant.
        """
        queryset = tenant_queryset(self.get_queryset())
        return queryset.mtdd(tenant)

    def get_queryset(self) -> QuerySet[M, M]:
        """Return what the manager's own class returns, bound to the tenant it was made in.

        Raises:
            CrossTenantError: if it starts from a row of another tenant than it was named.
        """
        if self._mtdd_querysets is not None:
            # What Django does, with the subclass at once.
            chosen = vars(self)
            bound = self._mtdd_querysets(
                model=self.model,
                query=TENANT_QUERY(self.model),
                using=chosen["_db"],
                hints=chosen["_hints"],
            )
            bind_to_context(bound)
        else:
            queryset = super().get_queryset()
            if not isinstance(queryset, QuerySet) or vars(queryset)["_result_cache"] is not None:
                return queryset
            # A copy, for it may give everybody the same object.
            bound = tenant_queryset(queryset.all())
        # This one and the manager's method stand between Django's function and here.
        owner = owner_of_call(2)
        if owner is not None:
            bind_to_row(bound, owner)
        return bound

    def __eq__(self, other: object) -> bool:
        """Compare as plain managers.

        Django's own answer depends on which side is the subclass. The autodetector
        asks with either on either side, so here it does not.
        """
        if not isinstance(other, BaseManager):
            return NotImplemented
        mine, theirs = plain_class(type(self)), plain_class(type(other))
        related = issubclass(theirs, mine) or issubclass(mine, theirs)
        return related and vars(self)["_constructor_args"] == vars(other)["_constructor_args"]

    __hash__ = BaseManager.__hash__


def install(models: Iterable[type[Model]]) -> None:
    """Give the managers of *models* their ``.mtdd()``, and rows of two tenants their difference.

    Raises:
        ConfigurationError: naming the model, if a subclass of its manager cannot be made.
    """
    # All are listed before any is changed: a parent's managers are its children's too.
    plan = [(model, list(model._meta.managers)) for model in models]
    for model, managers in plan:
        try:
            _install(model, managers)
        except TypeError as exc:
            raise ConfigurationError(
                f"The managers of {model._meta.label} cannot be given .mtdd(): {exc}. "
                f"Add {model._meta.label!r} to MTDD_TENANT_MANAGERS to leave them alone."
            ) from exc
    for model, _ in plan:
        give_descriptors(model)
        give_equality(model)


def is_wanted(model: type[Model]) -> bool:
    """Return whether the managers of *model* should have ``.mtdd()``."""
    if model._meta.apps is not apps or not mtdd_settings.is_tenant_app(home_of(model)):
        return False
    wanted = mtdd_settings.tenant_managers
    if isinstance(wanted, Mapping):
        return bool(wanted.get(model._meta.label, True))
    if isinstance(wanted, Collection) and not isinstance(wanted, str):
        return model._meta.label not in wanted
    return bool(wanted)


def watch() -> None:
    """Serve the models that are there and want it, and those defined from now on."""
    learn_callers()
    watch_saves()
    install(filter(is_wanted, apps.get_models(include_auto_created=True)))
    class_prepared.connect(_on_class_prepared, dispatch_uid="mtdd_router.managers")


def _on_class_prepared(*, sender: type[Model], **_: Any) -> None:
    if is_wanted(sender):
        install([sender])
        if apps.models_ready:
            # Not before the models it refers to have their side of the relation.
            key = (sender._meta.app_label, sender._meta.model_name)
            apps.lazy_model_operation(_give_all_descriptors, key)


def _install(model: type[Model], managers: list[Any]) -> None:
    options = model._meta
    base = options.base_manager
    for manager in managers:
        # Inherited managers become the model's own, in the order in which they were,
        # so that the other children of an abstract parent keep theirs.
        manager._set_creation_counter()  # noqa: SLF001 - as Django's own state does
        give_role(manager, role_of(type(manager)))
    options.local_managers = managers
    for cached in ("managers", "managers_map", "default_manager", "base_manager"):
        vars(options).pop(cached, None)
    if base.auto_created and all(base is not manager for manager in managers):
        # Django makes it anew whenever the options' caches are emptied, so keep it.
        give_role(base, role_of(type(base)))
        options.base_manager = base
        options.FORWARD_PROPERTIES = options.FORWARD_PROPERTIES - {"base_manager"}


def role_of(manager_class: type[BaseManager[Any]]) -> type[BaseManager[Any]]:
    """Return what a manager of that class becomes besides, in a tenant app."""
    # Imported late: it stands on this module.
    from mtdd_router.sites import SITE_MANAGER, TenantSiteManager

    lineage = (f"{cls.__module__}.{cls.__qualname__}" for cls in manager_class.__mro__)
    return TenantSiteManager if SITE_MANAGER in lineage else TenantManager


def _give_all_descriptors(model: type[Model]) -> None:
    related = (field.related_model for field in model._meta.get_fields(include_hidden=True))
    for one in {model, *related}:
        if isinstance(one, type) and is_wanted(one):
            give_descriptors(one)


# What Django makes of a queryset's methods for managers; they ask `get_queryset`.
_FROM_QUERYSET: Final = cast(FunctionType, Manager.filter).__code__


def _own_methods(manager_class: type, role: type) -> Iterator[tuple[str, FunctionType]]:
    """Yield the public methods that were written for a manager, and that *role* leaves alone."""
    found = {name for cls in role.__mro__ if cls not in Manager.__mro__ for name in vars(cls)}
    for cls in manager_class.__mro__:
        # Django's own never build a queryset otherwise, and some look whether they are overridden.
        if cls in Manager.__mro__ or cls.__module__.startswith("django."):
            continue
        for name, method in vars(cls).items():
            if (
                name not in found
                and not name.startswith("_")
                and isinstance(method, FunctionType)
                and method.__code__ is not _FROM_QUERYSET
            ):
                found.add(name)
                yield name, method


def _binding(method: FunctionType) -> Callable[..., Any]:
    """Return *method*, whose result is bound to the tenant it was made in.

    It may build a queryset without asking `get_queryset`.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        if (
            isinstance(result, QuerySet)
            and not isinstance(result, TenantQuerySet)
            and vars(result)["_result_cache"] is None
            and is_wanted(result.model)
        ):
            # A copy, for the method may give everybody the same object.
            return tenant_queryset(result.all())
        return result

    return call
