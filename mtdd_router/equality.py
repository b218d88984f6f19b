"""Rows of two tenants are two rows, also for ``==``, sets and dicts.

Django compares rows by model and primary key, so that user 1 of one tenant is user 1 of
another. Invariants: what Django promises holds: an unsaved row without a key equals none
but itself, and a hash is that of the key, before saving and after. A model whose own
class, or a base of it, says what equality is, is left alone. Django's classes are not
changed: `Model`'s own method answers first.
"""

from django.db.models import Model

from mtdd_router.rows import alias_of

__all__ = ["give_equality"]


def give_equality(model: type[Model]) -> None:
    """Let rows of *model* differ that are known to be of two tenants.

    A row that was never saved nor read is of none, and is compared by its key, so that
    ``User(pk=1) == User.objects.get(pk=1)`` as ever. Rows of two tenants may share a bucket of
    a set; they stay two members.
    """
    if model.__eq__ is Model.__eq__:
        # A class's `__hash__` goes only where the body of the class defines `__eq__`.
        model.add_to_class("__eq__", _equal)


def _equal(self: Model, other: object) -> bool:
    equal = Model.__eq__(self, other)
    if equal is not True or self is other or not isinstance(other, Model):
        return equal
    if self._state.db == other._state.db:
        return True
    mine, theirs = alias_of(self), alias_of(other)
    return mine is None or theirs is None or mine == theirs
