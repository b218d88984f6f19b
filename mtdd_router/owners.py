"""The rows for whose sake Django asks for others without saying so.

Django's checks of uniqueness, a row's neighbours in an order, the targets of generic
foreign keys, a user's permissions and the rows of an inline formset are looked for with a
plain ``manager.filter()``: no alias, no hint. In a project with one database that is right;
here it would be the tenant of the context, in which the row's keys mean others. There is no
public place to say more, so these few functions are recognised by their code when they call.

Invariants: a caller that is not known is left alone; a function that a version of Django
does not have is noticed by a test.
"""

import sys
from importlib import import_module
from types import FunctionType
from typing import Final

from django.apps import apps
from django.db.models import Model

__all__ = ["FUNCTIONS", "find_function", "learn_callers", "owner_of_call"]

FUNCTIONS: Final = (
    ("django.db.models", "django.db.models.base", "Model._perform_unique_checks", "self"),
    ("django.db.models", "django.db.models.base", "Model._perform_date_checks", "self"),
    ("django.db.models", "django.db.models.base", "Model._get_next_or_previous_in_order", "self"),
    ("django.db.models", "django.db.models.base", "method_get_order", "self"),
    ("django.db.models", "django.db.models.base", "method_set_order", "self"),
    ("django.db.models", "django.forms.models", "BaseInlineFormSet.__init__", "instance"),
    (
        "django.contrib.contenttypes",
        "django.contrib.contenttypes.models",
        "ContentType.get_object_for_this_type",
        "self",
    ),
    (
        "django.contrib.contenttypes",
        "django.contrib.contenttypes.models",
        "ContentType.get_all_objects_for_this_type",
        "self",
    ),
    (
        "django.contrib.contenttypes",
        "django.contrib.contenttypes.forms",
        "BaseGenericInlineFormSet.__init__",
        "instance",
    ),
    (
        "django.contrib.auth",
        "django.contrib.auth.backends",
        "ModelBackend._get_group_permissions",
        "user_obj",
    ),
    (
        "django.contrib.auth",
        "django.contrib.auth.backends",
        "ModelBackend._get_permissions",
        "user_obj",
    ),
    (
        "django.contrib.auth",
        "django.contrib.auth.backends",
        "ModelBackend._aget_permissions",
        "user_obj",
    ),
)
"""Each with the app that it needs, its module, its name, and the variable that has the row."""

# By the identity of its code: the function, which keeps that alive, and the variable.
_callers: Final[dict[int, tuple[FunctionType, str]]] = {}


def learn_callers() -> None:
    """Find the functions, once the apps' models can be imported."""
    for app, module, name, variable in FUNCTIONS:
        if app == "django.db.models" or apps.is_installed(app):
            function = find_function(module, name)
            if function is not None:
                _callers[id(function.__code__)] = function, variable


def find_function(module: str, name: str) -> FunctionType | None:
    """Return the function of that name, None if this version of Django has none."""
    found: object = import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, FunctionType) else None


def owner_of_call(depth: int) -> Model | None:
    """Return the row for whose sake Django called, *depth* frames up; None for any other call."""
    frame = sys._getframe(depth + 1)  # noqa: SLF001 - CPython's, and quick
    known = _callers.get(id(frame.f_code))
    if known is None:
        return None
    owner = frame.f_locals.get(known[1])
    return owner if isinstance(owner, Model) else None
