"""One operation at a time on a tenant, across processes and machines.

The lock is PostgreSQL's transaction-level advisory lock on the registry's
database, taken in a transaction of a connection of its own. So it ends with the
process that holds it, whatever happens to that process; it is not disturbed by
the operation's own transactions; and it survives a pooler in transaction mode.
It holds no snapshot and no row. To open that connection takes longer than most of what
an operation does here, so the next one may have it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from mtdd_router.errors import RegistryUnavailable
from tenants.errors import TenantBusy
from tenants.services import kept_connections

__all__ = [
    "busy",
    "job_lock",
    "migration_run_lock",
    "tenant_lock",
    "tenant_locks",
    "unlocked_jobs",
]

_TENANT: Final = "mtdd:tenant:"
_JOB: Final = "mtdd:job:"
_RUN: Final = "mtdd:migration run"
_LOCK: Final = (
    "SELECT key FROM unnest(%s::text[]) AS key"
    " WHERE pg_try_advisory_xact_lock(hashtextextended(key, 0))"
)
# A long migration must not lose its lock to a limit on idle transactions.
_LOCK_FOR_LONG: Final = (
    "WITH unlimited AS MATERIALIZED"
    " (SELECT set_config('idle_in_transaction_session_timeout', '0', true))"
    " SELECT key FROM unlimited, unnest(%s::text[]) AS key"
    " WHERE pg_try_advisory_xact_lock(hashtextextended(key, 0))"
)


@contextmanager
def tenant_lock(*names: str) -> Iterator[None]:
    """Hold the right to change the tenants of these *names*, which need not exist.

    Raises:
        TenantBusy: at once, naming the tenant, if an operation holds one of them.
        RegistryUnavailable: if the registry's database cannot be asked.
        RuntimeError: inside a transaction of the registry's database, which would hide
            the operation's steps, and might undo them after the shard has done its part.
    """
    with tenant_locks(names) as held:
        if others := sorted(set(names) - held):
            raise busy(others[0])
        yield


def busy(name: str) -> TenantBusy:
    """Return what tells that somebody else holds the lock of the tenant *name*."""
    return TenantBusy(
        f"Another operation on tenant {name!r} is under way; try again when it has ended."
    )


@contextmanager
def tenant_locks(names: Iterable[str]) -> Iterator[frozenset[str]]:
    """Hold the right to change those of the tenants *names* that nobody else is changing.

    Raises: as `tenant_lock`, but not TenantBusy.
    """
    with _locks([_TENANT + name for name in sorted(set(names))]) as held:
        yield frozenset(key.removeprefix(_TENANT) for key in held)


@contextmanager
def migration_run_lock() -> Iterator[bool]:
    """Hold the right to migrate tenants in number, or learn that somebody else has it.

    Raises: as `tenant_lock`, but not TenantBusy.
    """
    with _locks([_RUN]) as held:
        yield bool(held)


@contextmanager
def job_lock(job: int) -> Iterator[bool]:
    """Hold the right to do the job of that number, or learn that somebody else has it.

    Raises: as `tenant_lock`, but not TenantBusy.
    """
    with _locks([f"{_JOB}{job}"]) as held:
        yield bool(held)


def unlocked_jobs(jobs: Iterable[int]) -> list[int]:
    """Return those of *jobs* whose locks nobody has, and hold these.

    That is until the end of the transaction of the registry's database in which it is called.
    """
    keys = {f"{_JOB}{job}": job for job in jobs}
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(_LOCK, [list(keys)])
        return [keys[row[0]] for row in cursor.fetchall()]


@contextmanager
def _locks(keys: list[str]) -> Iterator[list[str]]:
    _refuse_transaction()
    connection, held = _acquire(keys)
    try:
        yield held
    finally:
        # Closing alone would end the transaction a moment later, and the next operation
        # would be told that this one is under way.
        try:
            connection.rollback()
        except Error:
            connection.close()
        else:
            kept_connections.put(connection)


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


def _acquire(keys: list[str]) -> tuple[BaseDatabaseWrapper, list[str]]:
    """Return a connection with those of *keys* whose locks its transaction holds now."""
    own = connections[DEFAULT_DB_ALIAS]
    if (kept := kept_connections.take(own.settings_dict)) is not None:
        try:
            return kept, _try(kept, keys)
        except Error:
            # The registry has ended it meanwhile.
            kept.close()
    connection = own.copy()
    # Which thread has it next, or closes it, is open.
    connection.inc_thread_sharing()
    try:
        return connection, _try(connection, keys)
    except Error as exc:
        connection.close()
        raise RegistryUnavailable(f"The registry's database could not give a lock: {exc}") from exc


def _try(connection: BaseDatabaseWrapper, keys: list[str]) -> list[str]:
    if connection.get_autocommit():
        connection.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_FOR_LONG, [keys])
        return [row[0] for row in cursor.fetchall()]
