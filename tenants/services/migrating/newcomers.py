"""Bringing new tenants to the newest state: Django the first one, its recipe the others.

Recipes are kept by this process, for each shard and isolation; one that has none yet
tries that of another. Invariant: a tenant that does not become what Django made of the
first is rolled back, and left to Django.
"""

from typing import Final

from django.core.signals import setting_changed

from mtdd_router.client.admin import ShardAdmin
from tenants.models import Tenant
from tenants.services.migrating.batches import Limits, apply_to_new
from tenants.services.migrating.planning import NEWEST
from tenants.services.migrating.recipes import Recipe
from tenants.services.migrating.signals import number_of_receivers
from tenants.services.migrating.single import run_django

__all__ = ["migrate_newcomer"]

_Key = tuple[object, str]


class _Recipes:
    """What this process knows of new tenants."""

    def __init__(self) -> None:
        # None where every tenant is Django's to migrate.
        self._recipes: dict[_Key, Recipe | None] = {}
        self._receivers = (0, 0)

    def find(self, key: _Key) -> Recipe | None:
        """Return the recipe to try."""
        # Who listens now was perhaps not told of when a recipe was made.
        if self._receivers != number_of_receivers():
            self._recipes.clear()
        if key in self._recipes:
            return self._recipes[key]
        return next(filter(None, self._recipes.values()), None)

    def is_useless(self, key: _Key) -> bool:
        """Whether it is known that there is none to make."""
        return key in self._recipes and self._recipes[key] is None

    def keep(self, key: _Key, recipe: Recipe | None) -> None:
        """Note a recipe that has worked, or been made."""
        self._recipes[key] = recipe if recipe is not None and recipe.replayable else None
        self._receivers = number_of_receivers()

    def forget(self, **_: object) -> None:
        """Settings have changed, as they do in tests: other apps, other migrations."""
        self._recipes.clear()


_known: Final = _Recipes()
setting_changed.connect(_known.forget)


def migrate_newcomer(tenant: Tenant, admin: ShardAdmin) -> None:
    """Apply all migrations to *tenant*, whose namespace is empty; the caller holds its lock.

    Raises:
        MigrationFailed: naming the tenant; it may be half way.
    """
    key = (tenant.shard_id, tenant.isolation)
    limits = Limits()
    recipe = _known.find(key)
    if recipe is not None and apply_to_new(tenant, recipe, admin, limits):
        _known.keep(key, recipe)
    elif _known.is_useless(key):
        run_django(tenant, NEWEST, limits)
    else:
        _known.keep(key, run_django(tenant, NEWEST, limits, for_others=True, new=True))
