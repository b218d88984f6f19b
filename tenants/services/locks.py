"""One operation at a time on a tenant, across processes and machines.

The lock is PostgreSQL's transaction-level advisory lock on the registry's
database, taken in a transaction of a connection of its own. So it ends with the
process that holds it, whatever happens to that process; it is not disturbed by
the operation's own transactions; and it survives a pooler in transaction mode.
It holds no snapshot and no row.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from mtdd_router.errors import RegistryUnavailable
from tenants.errors import TenantBusy

__all__ = ["tenant_lock"]

_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('mtdd:tenant:' || %s, 0))"


@contextmanager
def tenant_lock(*names: str) -> Iterator[None]:
    """Hold the right to change the tenants of these *names*, which need not exist.

    Raises:
        TenantBusy: at once, naming the tenant, if an operation holds one of them.
        RegistryUnavailable: if the registry's database cannot be asked.
        RuntimeError: inside a transaction of the registry's database, which would hide
            the operation's steps, and might undo them after the shard has done its part.
    """
    _refuse_transaction()
    connection = connections[DEFAULT_DB_ALIAS].copy()
    try:
        _acquire(connection, sorted(set(names)))
        yield
    finally:
        # Closing alone would end the transaction a moment later, and the next operation
        # would be told that this one is under way.
        with suppress(Error):
            connection.rollback()
        connection.close()


def _refuse_transaction() -> None:
    try:
        with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
            pass
    except RuntimeError as exc:
        raise RuntimeError(
            f"Operations on tenants cannot run inside a transaction of {DEFAULT_DB_ALIAS!r}; "
            "run them outside of atomic() and ATOMIC_REQUESTS."
        ) from exc
    except Error as exc:
        raise RegistryUnavailable(f"The registry's database cannot be used: {exc}") from exc


def _acquire(connection: BaseDatabaseWrapper, names: list[str]) -> None:
    try:
        connection.set_autocommit(False)
        with connection.cursor() as cursor:
            # A long migration must not lose its lock to a limit on idle transactions.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            for name in names:
                cursor.execute(_LOCK, [name])
                if cursor.fetchone() != (True,):
                    raise TenantBusy(
                        f"Another operation on tenant {name!r} is under way; "
                        "try again when it has ended."
                    )
    except Error as exc:
        raise RegistryUnavailable(
            f"The registry's database could not give the lock of {', '.join(names)}: {exc}"
        ) from exc
