"""Migrating tenants through Django's own ``migrate``, several at a time.

A tenant that fails does not stop the others. A run that is interrupted finishes
the tenants at hand and starts no more; running it again does the rest.
"""

import enum
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from mtdd_router.context import maintenance
from mtdd_router.errors import MTDDError, TenantDoesNotExist
from mtdd_router.types import TenantState
from tenants.errors import MigrationFailed, WrongTenantState
from tenants.models import Tenant
from tenants.services.agreement import record
from tenants.services.locks import tenant_lock

__all__ = [
    "DEFAULT_PARALLEL",
    "MigrationOutcome",
    "MigrationResult",
    "MigrationTarget",
    "apply_migrations",
    "is_migrated",
    "migrate_tenant",
    "migrate_tenants",
]

DEFAULT_PARALLEL: Final = 4
_MIGRATABLE: Final = (TenantState.ACTIVE, TenantState.FROZEN)


class MigrationOutcome(enum.StrEnum):
    """How a tenant came out of a run."""

    MIGRATED = "migrated"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class MigrationTarget:
    """Where to: by default, every app to its newest migration."""

    app_label: str = ""
    migration: str = ""
    fake: bool = False


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What happened to one tenant; *seconds* is how long it took."""

    tenant: str
    shard: str
    outcome: MigrationOutcome
    changed: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""


NEWEST: Final = MigrationTarget()


def migrate_tenants(
    tenants: Iterable[Tenant],
    *,
    target: MigrationTarget = NEWEST,
    parallel: int = DEFAULT_PARALLEL,
    fail_fast: bool = False,
    on_result: Callable[[MigrationResult], None] = lambda _: None,
) -> list[MigrationResult]:
    """Migrate *tenants*, and return a result for each that was begun.

    Args:
        tenants: with their shards; those being created or deleted are skipped.
        target: where to migrate to.
        parallel: how many at a time.
        fail_fast: begin no more once one has failed.
        on_result: called with each result as it comes, one call at a time.

    Raises:
        KeyboardInterrupt: after the tenants at hand are finished.
    """
    queue = iter(list(tenants))
    results: list[MigrationResult] = []
    stop = threading.Event()
    turn = threading.Lock()

    def work() -> None:
        with _own_connections():
            while not stop.is_set():
                with turn:
                    tenant = next(queue, None)
                if tenant is None:
                    return
                result = _migrate(tenant, target)
                if fail_fast and result.outcome is MigrationOutcome.FAILED:
                    stop.set()
                with turn:
                    results.append(result)
                    on_result(result)

    with ThreadPoolExecutor(max(1, parallel), thread_name_prefix="migrate") as pool:
        workers = [pool.submit(work) for _ in range(max(1, parallel))]
        try:
            for worker in workers:
                worker.result()
        finally:
            stop.set()
    return results


def migrate_tenant(tenant: Tenant, target: MigrationTarget = NEWEST) -> tuple[str, ...]:
    """Migrate one tenant, and return the migrations applied, or undone.

    Raises:
        TenantBusy, TenantDoesNotExist, WrongTenantState: naming the tenant.
        MigrationFailed: naming it; migrations before the failing one stay.
    """
    locked = tenant.name
    with tenant_lock(locked):
        try:
            tenant.refresh_from_db(fields=("name", "state", "epoch"))
        except Tenant.DoesNotExist:
            raise TenantDoesNotExist(f"Tenant {locked!r} has been deleted.") from None
        if tenant.name != locked:
            raise TenantDoesNotExist(f"Tenant {locked!r} is called {tenant.name!r} now.")
        if tenant.state not in _MIGRATABLE:
            raise WrongTenantState(f"Tenant {tenant.name!r} is {tenant.state}; it is not migrated.")
        changed = apply_migrations(tenant.name, target)
        if changed:
            record(tenant, migrated_at=timezone.now())
    return changed


def apply_migrations(tenant: str, target: MigrationTarget = NEWEST) -> tuple[str, ...]:
    """Migrate one tenant, in any state, and return the migrations (un)applied.

    The caller holds the tenant's lock.

    Raises:
        MigrationFailed: naming the tenant; migrations before the failing one stay.
    """
    arguments = [part for part in (target.app_label, target.migration) if part]
    try:
        with maintenance(), _closing(tenant):
            before = _applied(tenant)
            call_command(
                "migrate",
                *arguments,
                database=tenant,
                fake=target.fake,
                interactive=False,
                skip_checks=True,
                verbosity=0,
                stdout=io.StringIO(),
                stderr=io.StringIO(),
            )
            changed = before ^ _applied(tenant)
    # A migration is anybody's code, and may fail with anything.
    except Exception as exc:
        cause = str(exc).strip().partition("\n")[0]
        raise MigrationFailed(
            f"Tenant {tenant!r} could not be migrated: {type(exc).__name__}: {cause}"
        ) from exc
    return tuple(sorted(f"{app}.{name}" for app, name in changed))


def is_migrated(tenant: str) -> bool:
    """Whether every migration has been applied to the tenant.

    Raises:
        django.db.Error, MTDDError: if the tenant cannot be asked.
    """
    with maintenance(), _closing(tenant):
        executor = MigrationExecutor(connections[tenant])
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def _migrate(tenant: Tenant, target: MigrationTarget) -> MigrationResult:
    start = perf_counter()
    result = partial(MigrationResult, tenant.name, tenant.shard.name)
    try:
        changed = migrate_tenant(tenant, target)
    except (WrongTenantState, TenantDoesNotExist) as exc:
        return result(MigrationOutcome.SKIPPED, error=str(exc))
    except MTDDError as exc:
        return result(MigrationOutcome.FAILED, seconds=perf_counter() - start, error=str(exc))
    outcome = MigrationOutcome.MIGRATED if changed else MigrationOutcome.UNCHANGED
    return result(outcome, changed, perf_counter() - start)


def _applied(tenant: str) -> set[tuple[str, str]]:
    return set(MigrationRecorder(connections[tenant]).applied_migrations())


@contextmanager
def _closing(tenant: str) -> Iterator[None]:
    """Give up this thread's connection to *tenant* at the end; there may be thousands."""
    try:
        yield
    finally:
        connections[tenant].close()
        del connections[tenant]


@contextmanager
def _own_connections() -> Iterator[None]:
    """Close what a worker thread has opened to the registry."""
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS].close()
