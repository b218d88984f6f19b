"""What brings tenants of one schema state to another: scripts, and code between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.apps.registry import Apps
from django.db.migrations import Migration
from django.db.migrations.state import ProjectState
from psycopg import sql

from mtdd_router.types import SchemaFact, ScriptPart, applied_digest
from tenants.services.migrating.operations import runs_sql
from tenants.services.migrating.planning import Plan

__all__ = ["CodeStage", "Recipe", "ScriptStage", "Stage", "Step", "make_stages"]


@dataclass(slots=True)
class Step:
    """One migration, as Django ran it.

    Attributes:
        migration: which.
        backwards: whether it was undone.
        before: the state that Django was given.
        reproducible: whether its statements are the same on every tenant of that state.
        statements: what changed the schema.
        rows: what was noted in django_migrations, each with whether it was added.
        wrote: whether anything else than these was written to the tenant.
        fingerprint: of the schema behind it.
    """

    migration: Migration
    backwards: bool
    before: ProjectState
    reproducible: bool
    statements: list[str] = field(default_factory=list)
    rows: list[tuple[str, str, bool]] = field(default_factory=list)
    wrote: bool = False
    fingerprint: str = ""

    @property
    def label(self) -> str:
        """The migration's name, as ``app.name``."""
        return f"{self.migration.app_label}.{self.migration.name}"

    @property
    def atomic(self) -> bool:
        """Whether it is one transaction."""
        return bool(self.migration.atomic)

    def script(self) -> list[str]:
        """Return its statements with those that note it."""
        return [*self.statements, *map(_note, self.rows)]


@dataclass(frozen=True, slots=True)
class ScriptStage:
    """Migrations that are SQL."""

    parts: tuple[ScriptPart, ...]


@dataclass(frozen=True, slots=True)
class CodeStage:
    """A migration that Django runs on each tenant, from the state *before*."""

    migration: Migration
    backwards: bool
    before: ProjectState


Stage = ScriptStage | CodeStage


@dataclass(frozen=True, slots=True)
class Recipe:
    """How Django brought one tenant from one schema state to another.

    Attributes:
        tenant: which one that was.
        applied: the digest of the migrations before.
        stages: in order.
        changed: the migrations, as ``app.name``, in order.
        fingerprint, facts: of the schema at the end.
        plan: as Django's signals tell it.
        before, after: the models at both ends.
        tells_before, tells_after: whether others than Django's own receivers listen to
            pre_migrate and post_migrate.
    """

    tenant: str
    applied: str
    stages: tuple[Stage, ...]
    changed: tuple[str, ...]
    fingerprint: str
    facts: tuple[SchemaFact, ...]
    plan: Plan
    before: Apps
    after: Apps
    tells_before: bool
    tells_after: bool


def make_stages(
    steps: Sequence[Step],
    applied: Iterable[str],
    prelude: Sequence[str],
    permissions: Sequence[str],
) -> tuple[Stage, ...]:
    """Return the stages of *steps*, with as few transactions as they allow.

    Args:
        steps: in order.
        applied: the migrations before.
        prelude: statements that come before the first step.
        permissions: statements that follow the last step.
    """
    stages: list[Stage] = []
    parts = [ScriptPart(tuple(prelude))] if prelude else []
    known = set(applied)
    joinable = False

    def flush() -> None:
        if parts:
            stages.append(ScriptStage(tuple(parts)))
            parts.clear()

    for step in steps:
        expected = applied_digest(known)
        _follow(known, step.rows)
        if not step.reproducible:
            flush()
            stages.append(CodeStage(step.migration, step.backwards, step.before))
            joinable = False
            continue
        script = tuple(step.script())
        if not step.atomic:
            parts.append(ScriptPart(script, atomic=False))
            joinable = False
            continue
        # Rows changed by SQL may leave triggers pending, and no table can be altered then.
        if joinable and not runs_sql(step.migration):
            last = parts.pop()
            joined = (*last.statements, *script)
            parts.append(ScriptPart(joined, True, last.expected, step.fingerprint))
        else:
            parts.append(ScriptPart(script, True, expected, step.fingerprint))
            joinable = not runs_sql(step.migration)
    if permissions:
        if parts and parts[-1].atomic:
            last = parts.pop()
            joined = (*last.statements, *permissions)
            parts.append(ScriptPart(joined, True, last.expected, last.fingerprint))
        else:
            parts.append(ScriptPart(tuple(permissions)))
    flush()
    return tuple(stages)


def _follow(known: set[str], rows: Iterable[tuple[str, str, bool]]) -> None:
    for app, name, added in rows:
        (known.add if added else known.discard)(f"{app}.{name}")


def _note(row: tuple[str, str, bool]) -> str:
    app, name, added = row
    statement = (
        "INSERT INTO django_migrations (app, name, applied) VALUES ({}, {}, now())"
        if added
        else "DELETE FROM django_migrations WHERE app = {} AND name = {}"
    )
    return sql.SQL(statement).format(sql.Literal(app), sql.Literal(name)).as_string()
