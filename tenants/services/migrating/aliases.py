"""A thread's connections to tenants while it migrates them, of which there may be thousands."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from mtdd_router.context import maintenance, tenant_context

__all__ = ["migrating_connection", "own_connections"]


@contextmanager
def migrating_connection(tenant: str) -> Iterator[BaseDatabaseWrapper]:
    """Use this thread's connection to *tenant*, whatever its state, and give it up.

    What names no tenant is meant for this one: migrations are other people's code, too.
    """
    with maintenance(), tenant_context(tenant):
        connection = connections[tenant]
        try:
            yield connection
        finally:
            connection.close()
            del connections[tenant]


@contextmanager
def own_connections() -> Iterator[None]:
    """Close what a worker thread has opened to the registry."""
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS].close()
