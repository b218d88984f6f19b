"""Registers the system checks, whose modules are imported when Django runs them.

To serve requests takes none of them.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

from django.core import checks
from django.core.checks import CheckMessage, Tags

__all__ = ["register_checks"]

_MODULES: Final = (
    "checks",
    "context_checks",
    "resolution_checks",
    "surroundings_checks",
    "user_checks",
)


def register_checks() -> None:
    """Register every system check of the package with Django."""
    checks.register(_check_settings, "mtdd")
    checks.register(_check_models, Tags.models)


def _check_settings(**options: Any) -> Iterator[CheckMessage]:
    for name in _MODULES:
        yield from import_module(f"mtdd_router.{name}").run_checks(**options)


def _check_models(**options: Any) -> Iterator[CheckMessage]:
    from mtdd_router.checks import check_relations

    yield from check_relations(**options)
