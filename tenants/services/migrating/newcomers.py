"""Making new tenants, at the newest state: Django the first one, its recipe the others.

Recipes are kept by this process, for each shard and isolation; one that has none yet
tries that of another. A recipe that is one script makes a tenant with its schema, in one
call, condensed first (``condensing``), and as it was recorded where that leads elsewhere; the
shard may have done so ahead.
Invariant: a tenant that does not become what Django made of the first is rolled back, and
left to Django. Of tenants made with their schema, and not ahead, the first by each script on each
shard is compared, and then the first in each minute: what could make a difference there is
the shard's, not theirs.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Final

from django.core.signals import setting_changed

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import ShardUnreachable
from mtdd_router.types import Isolation, Placement, ScriptPart
from tenants.models import Tenant
from tenants.services.agreement import adopt_role
from tenants.services.migrating.batches import Limits, apply_to_new
from tenants.services.migrating.condensing import condensed
from tenants.services.migrating.planning import NEWEST
from tenants.services.migrating.recipes import Recipe
from tenants.services.migrating.signals import number_of_receivers
from tenants.services.migrating.single import run_django

__all__ = ["NotBegun", "beginning", "make_newcomer"]

_Key = tuple[object, str]
_COMPARED_SECONDS: Final = 60.0

logger = logging.getLogger("tenants.migrating")


class NotBegun(ShardUnreachable):
    """The shard has not heard of the new tenant."""


class _Recipes:
    """What this process knows of new tenants."""

    def __init__(self) -> None:
        # None where every tenant is Django's to migrate.
        self._recipes: dict[_Key, Recipe | None] = {}
        # By what script tenants were compared last, and when.
        self._compared: dict[_Key, tuple[ScriptPart, float]] = {}
        # Scripts that are not to be condensed: that led elsewhere.
        self._as_recorded: set[ScriptPart] = set()
        self._receivers = (0, 0)

    def find(self, key: _Key) -> Recipe | None:
        """Return the recipe to try."""
        # Who listens now was perhaps not told of when a recipe was made.
        if self._receivers != number_of_receivers():
            self.forget()
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

    def scripts(self, recorded: ScriptPart) -> list[ScriptPart]:
        """Return those to try for a script that was recorded, in order."""
        shorter = condensed(recorded)
        if recorded in self._as_recorded or shorter == recorded:
            return [recorded]
        return [shorter, recorded]

    def leave_as_recorded(self, recorded: ScriptPart) -> None:
        """Condense that script no more."""
        self._as_recorded.add(recorded)

    def is_to_compare(self, key: _Key, script: ScriptPart) -> bool:
        """Whether the next tenant made by *script* is to be compared."""
        last, at = self._compared.get(key, (None, -inf))
        return last != script or at + _COMPARED_SECONDS <= monotonic()

    def note_compared(self, key: _Key, script: ScriptPart) -> None:
        """Compare none made by *script* for a while: one has just been what it should."""
        self._compared[key] = script, monotonic()

    def forget(self, **_: object) -> None:
        """Settings have changed, as they do in tests: other apps, other migrations."""
        self._recipes.clear()
        self._compared.clear()
        self._as_recorded.clear()


_known: Final = _Recipes()
setting_changed.connect(_known.forget)


@contextmanager
def beginning() -> Iterator[None]:
    """Tell that nothing is there yet if the shard cannot be reached."""
    try:
        yield
    except ShardUnreachable as exc:
        raise NotBegun(str(exc)) from exc


def make_newcomer(tenant: Tenant, placement: Placement, admin: ShardAdmin) -> Placement | None:
    """Make the namespace of *tenant*, with all migrations applied; the caller holds its lock.

    Args:
        tenant: in state `creating`.
        placement: what it is to have if it can be made in one call.
        admin: of its shard.

    Returns:
        What it has if it was made so, with a role that its row may not have; otherwise None: it
        has the placement of its row.

    Raises:
        NotBegun: if the shard cannot be reached.
        MigrationFailed: naming the tenant; it may be half way.
        ShardError: if the shard fails; it may be half way.
    """
    key = (tenant.shard_id, tenant.isolation)
    recipe = _known.find(key)
    script = recipe.script if recipe and Isolation(tenant.isolation).has_schema else None
    if script is not None:
        if (filled := _make_filled(tenant, placement, admin, script)) is not None:
            _known.keep(key, recipe)
            return filled
        recipe = None
    with beginning():
        stored = admin.create_namespace(tenant.placement())
    adopt_role(tenant, stored)
    limits = Limits()
    if recipe is not None and apply_to_new(tenant, recipe, admin, limits):
        _known.keep(key, recipe)
    elif _known.is_useless(key):
        run_django(tenant, NEWEST, limits)
    else:
        _known.keep(key, run_django(tenant, NEWEST, limits, for_others=True, new=True))
    return None


def _make_filled(
    tenant: Tenant, placement: Placement, admin: ShardAdmin, recorded: ScriptPart
) -> Placement | None:
    """Make the tenant by one script; return what it has, or None if nothing could be made so.

    Raises: as `make_newcomer`.
    """
    key = (tenant.shard_id, tenant.isolation)
    scripts = _known.scripts(recorded)
    for script in scripts:
        compares = _known.is_to_compare(key, script)
        with beginning():
            filled = admin.create_filled(placement, script, compared=not compares)
        if filled is not None:
            # What was made ahead does not tell where the script leads now.
            if compares and filled.ran:
                _known.note_compared(key, script)
            if script != scripts[0]:
                logger.warning("A script of migrations is not condensed: that leads elsewhere.")
                _known.leave_as_recorded(recorded)
            return filled.placement
    return None
