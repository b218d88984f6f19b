"""A base for models of one's own, whose rows of two tenants are not equal.

Invariants: what Django promises of equality and hash holds: an unsaved row equals none but
itself without a primary key, and a hash is that of the key, before saving and after.
"""

from django.db import models

from mtdd_router.rows import alias_of

__all__ = ["TenantModel"]


class TenantModel(models.Model):
    """An abstract model whose rows know their tenant when they are compared.

    Django compares rows by model and primary key. Here two rows are not equal either if
    they are known to be of two tenants. A row that was never saved nor read is of none, and
    is compared by its key, so that ``Book(pk=1) == Book.objects.get(pk=1)`` as ever.
    """

    class Meta:
        abstract = True

    def __eq__(self, other: object) -> bool:
        equal = super().__eq__(other)
        if equal is not True or self is other or not isinstance(other, models.Model):
            return equal
        if self._state.db == other._state.db:
            return True
        mine, theirs = alias_of(self), alias_of(other)
        return mine is None or theirs is None or mine == theirs

    # As Django's: rows of two tenants may share a bucket of a set; they stay two members.
    __hash__ = models.Model.__hash__
