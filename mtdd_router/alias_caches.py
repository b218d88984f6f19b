"""What Django keeps in the process by database alias, emptied when an alias changes hands.

A name that was one tenant's may become another's, on another shard: with other ids of
content types, and other OIDs of PostgreSQL's extension types.
"""

import sys
from typing import Any

from django.apps import apps

from mtdd_router.directory import alias_released

__all__ = ["watch"]


def watch() -> None:
    """Empty the caches from now on."""
    alias_released.connect(_empty, dispatch_uid="mtdd_router.alias_caches")


def _empty(**_: Any) -> None:
    if apps.is_installed("django.contrib.contenttypes"):
        # Imported late: they are models.
        from django.contrib.contenttypes.models import ContentType

        ContentType.objects.clear_cache()
    signals = sys.modules.get("django.contrib.postgres.signals")
    if signals is not None:
        # As Django's own operations do that create an extension.
        signals.get_hstore_oids.cache_clear()
        signals.get_citext_oids.cache_clear()
