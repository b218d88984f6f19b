"""Generated subclasses: how objects that Django made are given methods, without patching.

Invariants: there is one subclass for each class and role, with the name, qualified name
and module of the class, so that Django writes the path of the original into migrations.
Pickles and copies name the original class. The class itself stays as it was.
"""

import copyreg
from collections.abc import Callable
from types import new_class
from typing import Any, Final, TypeVar, cast

__all__ = ["give_role", "plain_class", "role_class", "tenant_class"]

T = TypeVar("T")

_made: Final[dict[type, dict[type, type]]] = {}


def tenant_class(base: type[T], role: type[T]) -> type[T]:
    """Return the subclass of *base* that has the methods of *role*; one for each of both."""
    classes = _made.get(role)
    if classes is None:
        classes = _made.setdefault(role, {})
    made = classes.get(base)
    if made is None:
        made = classes.setdefault(base, role_class(base, role))
        if base.__reduce_ex__ is object.__reduce_ex__ and base.__reduce__ is object.__reduce__:
            # For this very class, not for what Django derives from it; serves `copy` as well.
            copyreg.pickle(made, cast(Callable[[Any], tuple[Any, ...]], _reduce))
    return cast(type[T], made)


def role_class(base: type[T], role: type[T]) -> type[T]:
    """Return a new subclass of *base* that has the methods of *role*, kept by nobody."""
    body = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "_mtdd_plain_class": base,
        "_mtdd_role": role,
    }
    made = new_class(base.__name__, (role, base), {}, lambda namespace: namespace.update(body))
    return cast(type[T], made)


def give_role(instance: object, role: type) -> None:
    """Give *instance*, in place, the methods of *role*, unless it has them."""
    if not isinstance(instance, role):
        instance.__class__ = tenant_class(type(instance), role)


def plain_class(cls: type) -> type:
    """Return the class from which *cls* was generated, or *cls* itself."""
    return cast(type, vars(cls).get("_mtdd_plain_class", cls))


def _reduce(instance: object) -> tuple[Any, ...]:
    made = vars(type(instance))
    return _rebuild, (made["_mtdd_plain_class"], made["_mtdd_role"]), instance.__getstate__()


def _rebuild(base: type, role: type) -> object:
    made: Any = tenant_class(base, role)
    return made.__new__(made)
