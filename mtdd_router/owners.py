"""The rows for whose sake Django asks for others without saying so.

Django's checks of uniqueness, a row's neighbours in an order, and the targets of generic
foreign keys are looked for with a plain ``_default_manager.filter()``: no alias, no hint.
In a project with one database that is right; here it would be the tenant of the context,
in which the row's keys mean others. There is no public place to say more, so these few
functions are recognised by their code when they call.

Invariants: a caller that is not known is left alone; a function that a version of Django
does not have is noticed by a test.
"""

import sys
from types import FunctionType
from typing import Any, Final

from django.apps import apps
from django.db.models import Model, base

__all__ = ["CALLERS", "learn_callers", "owner_of_call"]

_METHODS: Final = (
    "_perform_unique_checks",
    "_perform_date_checks",
    "_get_next_or_previous_in_order",
)
_FUNCTIONS: Final = ("method_get_order", "method_set_order")

CALLERS: Final[dict[int, FunctionType]] = {}
"""The functions by the identity of their code, which they keep alive."""


def learn_callers() -> None:
    """Find the functions, once the apps' models can be imported."""
    found: list[Any] = [getattr(Model, name, None) for name in _METHODS]
    found += [getattr(base, name, None) for name in _FUNCTIONS]
    if apps.is_installed("django.contrib.contenttypes"):
        content_type = apps.get_model("contenttypes", "ContentType")
        found.append(getattr(content_type, "get_all_objects_for_this_type", None))
    for function in found:
        if isinstance(function, FunctionType):
            CALLERS[id(function.__code__)] = function


def owner_of_call(depth: int) -> Model | None:
    """Return the row for whose sake Django called, *depth* frames up; None for any other call."""
    frame = sys._getframe(depth + 1)  # noqa: SLF001 - CPython's, and quick
    if id(frame.f_code) not in CALLERS:
        return None
    owner = frame.f_locals.get("self")
    return owner if isinstance(owner, Model) else None
