"""The version of django-mtdd that runs."""

import functools
from importlib import metadata

__all__ = ["server_version"]


@functools.cache
def server_version() -> str:
    """Return the installed version, or ``unknown`` when run from a bare folder."""
    try:
        return metadata.version("django-mtdd")
    except metadata.PackageNotFoundError:
        return "unknown"
