"""Entries of Django's settings that name classes: which one is where."""

from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

__all__ = ["class_of", "position_in"]


def class_of(entry: object) -> type | None:
    """Return the class that an entry of MIDDLEWARE or DATABASE_ROUTERS means, or None."""
    if not isinstance(entry, str):
        return type(entry)
    try:
        found = import_string(entry)
    except ImportError:
        return None  # Django itself says so.
    return found if isinstance(found, type) else None


def position_in(setting: str, *classes: type[Any]) -> int | None:
    """Return where the first entry of *setting* is that is one of *classes* or a subclass."""
    for position, entry in enumerate(getattr(settings, setting)):
        cls = class_of(entry)
        if cls is not None and issubclass(cls, classes):
            return position
    return None
