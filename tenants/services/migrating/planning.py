"""From the words of a command to Django's targets and plan."""

from dataclasses import dataclass

from django.db.migrations import Migration
from django.db.migrations.exceptions import AmbiguityError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from tenants.errors import InvalidMigrationTarget

__all__ = ["NEWEST", "MigrationTarget", "Node", "Plan", "plan_for", "resolve"]

Node = tuple[str, str]
"""An app's label, and the name of one of its migrations."""

Plan = list[tuple[Migration, bool]]
"""Migrations in order, each with whether it is undone."""


@dataclass(frozen=True, slots=True)
class MigrationTarget:
    """Where to: by default, every app to its newest migration.

    Attributes:
        app_label: only this app.
        migration: to this one, or the one that begins so; ``zero`` undoes all.
        fake: record it only.
        nodes: instead of an app, these and all that they depend on.
    """

    app_label: str = ""
    migration: str = ""
    fake: bool = False
    nodes: tuple[Node, ...] = ()


NEWEST = MigrationTarget()


def resolve(loader: MigrationLoader, target: MigrationTarget) -> list[tuple[str, str | None]]:
    """Return the nodes of the graph that *target* means, as ``manage.py migrate`` reads it.

    Raises:
        InvalidMigrationTarget: naming the app or migration that is not there.
    """
    if target.nodes:
        return list(target.nodes)
    conflicts = loader.detect_conflicts()
    if conflicts:
        found = "; ".join(f"{', '.join(names)} in {app}" for app, names in conflicts.items())
        raise InvalidMigrationTarget(
            f"The migrations have several ends ({found}); run makemigrations --merge."
        )
    leaves: list[tuple[str, str | None]] = loader.graph.leaf_nodes()
    app, wanted = target.app_label, target.migration
    if not app:
        return leaves
    if app not in loader.migrated_apps:
        raise InvalidMigrationTarget(f"There is no app {app!r} with migrations.")
    if not wanted:
        return [key for key in leaves if key[0] == app]
    if wanted == "zero":
        return [(app, None)]
    try:
        name = loader.get_migration_by_prefix(app, wanted).name
    except AmbiguityError as exc:
        raise InvalidMigrationTarget(
            f"More than one migration of {app!r} begins with {wanted!r}."
        ) from exc
    except KeyError as exc:
        raise InvalidMigrationTarget(
            f"No migration of {app!r} begins with {wanted!r}; see `manage.py showmigrations {app}`."
        ) from exc
    # A squashed migration that is applied in part is not in the graph.
    if (app, name) not in loader.graph.nodes and (app, name) in loader.replacements:
        return [loader.replacements[app, name].replaces[-1]]
    return [(app, name)]


def plan_for(executor: MigrationExecutor, target: MigrationTarget) -> Plan:
    """Return what leads from the executor's tenant to *target*.

    Raises:
        InvalidMigrationTarget: as `resolve`.
        InconsistentMigrationHistory: if a migration is applied before one it depends on.
    """
    executor.loader.check_consistent_history(executor.connection)
    plan: Plan = executor.migration_plan(resolve(executor.loader, target))
    return plan
