"""What a run would do, without doing it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import Error
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor

from tenants.errors import MigrationFailed
from tenants.models import Tenant
from tenants.services.migrating.aliases import migrating_connection
from tenants.services.migrating.locks import locks_of
from tenants.services.migrating.operations import is_reproducible
from tenants.services.migrating.planning import NEWEST, MigrationTarget, plan_for
from tenants.services.migrating.survey import survey

__all__ = ["PlannedGroup", "PlannedMigration", "plan_migrations"]


@dataclass(frozen=True, slots=True)
class PlannedMigration:
    """One migration that would be run.

    Attributes:
        name: as ``app.name``.
        backwards: whether it would be undone.
        replayed: whether it is SQL for all but one tenant; otherwise Django runs it on each.
        locks: by table or index, the modes; None if its SQL cannot be told beforehand.
    """

    name: str
    backwards: bool
    replayed: bool
    locks: Mapping[str, tuple[str, ...]] | None


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """Tenants with the same migrations, counted by shard, and what they lack."""

    tenants: Mapping[str, int]
    migrations: tuple[PlannedMigration, ...]


def plan_migrations(
    tenants: Iterable[Tenant], target: MigrationTarget = NEWEST
) -> list[PlannedGroup]:
    """Return what `migrate_tenants` would do; tenants with nothing to migrate are left out.

    Raises:
        InvalidMigrationTarget: if there is no such target.
        MigrationFailed: if a tenant cannot be asked.
    """
    chosen = list(tenants)
    found = survey(chosen)
    if found.errors:
        raise MigrationFailed(next(iter(found.errors.values())))
    groups: dict[tuple[str, ...], list[Tenant]] = {}
    for tenant in chosen:
        groups.setdefault(found.states[tenant.name].applied, []).append(tenant)
    planned = (_plan(members, target) for members in groups.values())
    return [group for group in planned if group.migrations]


def _plan(tenants: list[Tenant], target: MigrationTarget) -> PlannedGroup:
    with migrating_connection(tenants[0].name) as connection:
        executor = MigrationExecutor(connection)
        plan = plan_for(executor, target)
        migrations = tuple(
            _migration(executor, migration, backwards=backwards, fake=target.fake)
            for migration, backwards in plan
        )
    return PlannedGroup(Counter(tenant.shard.name for tenant in tenants), migrations)


def _migration(
    executor: MigrationExecutor, migration: Migration, *, backwards: bool, fake: bool
) -> PlannedMigration:
    key = (migration.app_label, migration.name)
    before = executor.loader.project_state(key, at_end=False)
    alias = executor.connection.alias
    replayed = fake or is_reproducible(migration, before, alias, backwards=backwards)
    locks: dict[str, tuple[str, ...]] | None = {}
    if not fake:
        locks = _locks(executor, migration, backwards=backwards)
    return PlannedMigration(".".join(key), backwards, replayed, locks if replayed else None)


def _locks(
    executor: MigrationExecutor, migration: Migration, *, backwards: bool
) -> dict[str, tuple[str, ...]] | None:
    try:
        statements = executor.loader.collect_sql([(migration, backwards)])
    # It may ask the catalog for what an earlier migration of the plan only makes.
    except (Error, ValueError):
        return None
    locks: dict[str, tuple[str, ...]] = {}
    for taken in map(locks_of, statements):
        if taken is not None and taken[1] not in locks.get(taken[0], ()):
            locks[taken[0]] = (*locks.get(taken[0], ()), taken[1])
    return locks
