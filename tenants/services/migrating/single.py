"""Migrating one tenant through Django."""

import time
from typing import Final

from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from mtdd_router.errors import TenantDoesNotExist
from tenants import signals
from tenants.errors import InvalidMigrationTarget, MigrationFailed, WrongTenantState
from tenants.models import Tenant
from tenants.services.agreement import record
from tenants.services.identity import admin_of
from tenants.services.locks import tenant_lock
from tenants.services.migrating.aliases import migrating_connection
from tenants.services.migrating.batches import MIGRATABLE, Limits, first_line
from tenants.services.migrating.planning import NEWEST, MigrationTarget, plan_for
from tenants.services.migrating.recipes import Recipe
from tenants.services.migrating.recording import record_migrations
from tenants.services.notifying import ask, tell

__all__ = ["is_behind", "migrate_and_record", "migrate_tenant", "run_django"]

_CALL_TIMEOUT: Final = 3600.0
_LOCK_NOT_AVAILABLE: Final = "55P03"


def migrate_tenant(tenant: Tenant, target: MigrationTarget = NEWEST) -> tuple[str, ...]:
    """Migrate one tenant, and return the migrations applied, or undone.

    Raises:
        TenantBusy, TenantDoesNotExist, WrongTenantState, OperationRefused: naming the tenant.
        InvalidMigrationTarget: if there is no such migration.
        MigrationFailed: naming the tenant; migrations before the failing one stay.
    """
    recipe = migrate_and_record(tenant, target, Limits(), for_others=False)
    if recipe is None:
        return ()
    shard = tenant.shard.name
    tell(signals.post_migrate, tenant.name, shard=shard, changed=recipe.changed)
    return recipe.changed


def migrate_and_record(
    tenant: Tenant, target: MigrationTarget, limits: Limits, *, for_others: bool
) -> Recipe | None:
    """Migrate one tenant, and return how, complete if *for_others*; None if nothing was to do.

    Raises:
        As `migrate_tenant`.
    """
    locked = tenant.name
    with tenant_lock(locked):
        try:
            tenant.refresh_from_db(fields=("name", "state", "epoch"))
        except Tenant.DoesNotExist:
            raise TenantDoesNotExist(f"Tenant {locked!r} has been deleted.") from None
        if tenant.name != locked:
            raise TenantDoesNotExist(f"Tenant {locked!r} is called {tenant.name!r} now.")
        if tenant.state not in MIGRATABLE:
            raise WrongTenantState(f"Tenant {tenant.name!r} is {tenant.state}; it is not migrated.")
        if signals.pre_migrate.has_listeners(Tenant) and is_behind(tenant, target):
            ask(signals.pre_migrate, tenant.name, shard=tenant.shard.name)
        recipe = run_django(tenant, target, limits, for_others=for_others)
        if recipe is not None:
            record(tenant, migrated_at=timezone.now())
    return recipe


def run_django(
    tenant: Tenant,
    target: MigrationTarget,
    limits: Limits,
    *,
    for_others: bool = False,
    new: bool = False,
) -> Recipe | None:
    """Migrate one tenant, in any state, and return how; the caller holds its lock.

    *for_others* and *new* are those of `record_migrations`.

    Raises:
        InvalidMigrationTarget: if there is no such migration.
        MigrationFailed: naming the tenant; migrations before the failing one stay.
    """
    pause = limits.lock_pause
    for attempt in range(limits.lock_retries + 1):
        try:
            admin = admin_of(tenant.shard, timeout=_CALL_TIMEOUT)
            with migrating_connection(tenant.name) as connection:
                return record_migrations(
                    connection,
                    admin,
                    target,
                    lock_timeout=limits.lock_timeout,
                    for_others=for_others,
                    new=new,
                )
        except InvalidMigrationTarget:
            raise
        # A migration is anybody's code, and may fail with anything.
        except Exception as exc:
            if attempt == limits.lock_retries or not _waited_for_a_lock(exc):
                raise MigrationFailed(
                    f"Tenant {tenant.name!r} could not be migrated: {first_line(exc)}"
                ) from exc
        time.sleep(pause)
        pause *= 2
    raise AssertionError("The last attempt returns or raises.")


def is_behind(tenant: Tenant, target: MigrationTarget) -> bool:
    """Whether the tenant has anything to apply, or to undo.

    Raises:
        django.db.Error, MTDDError: if the tenant cannot be asked.
    """
    with migrating_connection(tenant.name) as connection:
        return bool(plan_for(MigrationExecutor(connection), target))


def _waited_for_a_lock(exc: BaseException) -> bool:
    return getattr(exc.__cause__, "sqlstate", None) == _LOCK_NOT_AVAILABLE
