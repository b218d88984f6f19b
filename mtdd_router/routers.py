"""The database router: which database a model's rows are in.

Invariants: a model of a tenant app is never looked for on `default` for want of a
tenant. What a row's alias says wins over what a queryset was made in, and that over
the running work's tenant, so that nothing crosses to another tenant by context.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import current_tenant
from mtdd_router.errors import TenantRequired

__all__ = ["TenantRouter"]


class TenantRouter:
    """Send tenant apps to tenants and everything else to `default`.

    Put it first in DATABASE_ROUTERS.
    """

    def db_for_read(
        self,
        model: type[Model],
        instance: Model | None = None,
        tenant: str | None = None,
        **_hints: Any,
    ) -> str | None:
        """Return the alias for *model*, or None to leave it to other routers.

        *instance* is Django's hint: the row from which a relation is followed.
        *tenant* is this package's: the tenant in which the queryset was made.

        Raises:
            TenantRequired: naming the model of a tenant app, if no tenant is known.
        """
        label = _home(model)
        if not mtdd_settings.is_tenant_app(label):
            # Django would look for a shared row in the database of the tenant's row.
            if instance is not None and mtdd_settings.is_tenant_alias(instance._state.db or ""):
                return DEFAULT_DB_ALIAS
            return None
        alias = _alias_of(instance) or tenant or current_tenant()
        if alias is None and not mtdd_settings.is_shared_app(label):
            raise TenantRequired(
                f"{model._meta.label} belongs to a tenant, and none is named: "
                "use .mtdd(name), .using(name) or tenant_context(name)."
            )
        return alias

    db_for_write = db_for_read

    def allow_relation(self, obj1: Model, obj2: Model, **_hints: Any) -> bool | None:
        """Refuse relations between two tenants; allow those to rows that all tenants share.

        A shared row is one of an app that is only on `default`. A row on `default` of
        an app that is in both is refused: in the tenant, its key is another row's.
        """
        one, two = obj1._state.db, obj2._state.db
        if one == two or one is None or two is None:
            return None
        tenants = [mtdd_settings.is_tenant_alias(alias) for alias in (one, two)]
        if all(tenants):
            return False
        if not any(tenants):
            return None
        shared = obj2 if tenants[0] else obj1
        return not mtdd_settings.is_tenant_app(_home(type(shared)))

    def allow_migrate(self, db: str, app_label: str, **_hints: Any) -> bool | None:
        """Give tenants the tables of tenant apps, and static aliases all others."""
        tenant_app = mtdd_settings.is_tenant_app(app_label)
        if mtdd_settings.is_tenant_alias(db):
            return tenant_app
        if mtdd_settings.is_raw_alias(db):
            return None
        return False if tenant_app and not mtdd_settings.is_shared_app(app_label) else None


def _home(model: type[Model]) -> str:
    """Return the label of the app that has the model's table; a proxy has none of its own."""
    # Django's cache in the database asks for a model that is none, and has no such attribute.
    concrete = getattr(model._meta, "concrete_model", None) or model
    return concrete._meta.app_label


def _alias_of(instance: Model | None) -> str | None:
    """Return the alias that a row of a tenant app carries; a shared row says nothing."""
    alias = instance._state.db if instance is not None else None
    if instance is None or alias is None:
        return None
    if mtdd_settings.is_tenant_alias(alias) or mtdd_settings.is_raw_alias(alias):
        return alias
    label = _home(type(instance))
    in_both = mtdd_settings.is_tenant_app(label) and mtdd_settings.is_shared_app(label)
    return alias if in_both else None
