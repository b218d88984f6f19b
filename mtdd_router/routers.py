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
from mtdd_router.errors import CrossTenantError, TenantRequired
from mtdd_router.rows import alias_of, home_of, name_of

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
        label = home_of(model)
        if not mtdd_settings.is_tenant_app(label):
            # Django would look for a shared row in the database of the tenant's row.
            if instance is not None and mtdd_settings.is_tenant_alias(instance._state.db or ""):
                return DEFAULT_DB_ALIAS
            return None
        alias = alias_of(instance) or tenant or current_tenant()
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

        Raises:
            CrossTenantError: naming both tenants, where Django would say which row only.
        """
        one, two = obj1._state.db, obj2._state.db
        if one == two or one is None or two is None:
            return None
        mine, other = alias_of(obj1), alias_of(obj2)
        if mine is not None and other is not None and mine != other:
            raise CrossTenantError(
                f"A {type(obj1)._meta.label} of {name_of(mine)} and a {type(obj2)._meta.label} "
                f"of {name_of(other)} cannot refer to each other."
            )
        tenants = [mtdd_settings.is_tenant_alias(alias) for alias in (one, two)]
        if not any(tenants):
            return None
        shared = obj2 if tenants[0] else obj1
        return not mtdd_settings.is_tenant_app(home_of(type(shared)))

    def allow_migrate(self, db: str, app_label: str, **_hints: Any) -> bool | None:
        """Give tenants the tables of tenant apps, and static aliases all others."""
        tenant_app = mtdd_settings.is_tenant_app(app_label)
        if mtdd_settings.is_tenant_alias(db):
            return tenant_app
        if mtdd_settings.is_raw_alias(db):
            return None
        return False if tenant_app and not mtdd_settings.is_shared_app(app_label) else None
