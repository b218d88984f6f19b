"""Undoing what a test without a class does in a tenant."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections
from django.test import TestCase, TransactionTestCase

from mtdd_router.testing import allow_tenants, declare_tenants

__all__ = ["undone"]


@contextmanager
def undone(alias: str) -> Iterator[None]:
    """Undo what the block does in a tenant.

    If `default` is in a transaction, as in a test that rolls back, so is the tenant, else
    its tables are emptied afterwards.
    """
    rolled_back = connections[DEFAULT_DB_ALIAS].in_atomic_block
    base: type[TransactionTestCase] = TestCase if rolled_back else TransactionTestCase

    class Case(base):  # type: ignore[misc, valid-type] # it depends on the test
        databases = frozenset({alias})

    case = Case("run")
    with allow_tenants(alias), declare_tenants(alias):
        # What these two do has no public name; pytest-django calls its callers.
        Case._fixture_setup()  # noqa: SLF001
        try:
            yield
        finally:
            try:
                case._fixture_teardown()  # noqa: SLF001
            finally:
                # Else Django's own case, which has not seen it, would stumble over it.
                connections[alias].close()
