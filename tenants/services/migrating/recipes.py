"""What brings tenants of one schema state to another: scripts, and code between them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter

from django.apps.registry import Apps
from django.db.migrations import Migration
from django.db.migrations.state import ProjectState
from psycopg import sql

from mtdd_router.types import SchemaFact, ScriptPart, Settled, applied_digest
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
        runs_sql: whether SQL of its author is among them.
        statements: what changed the schema.
        rows: what was noted in django_migrations, each with whether it was added.
        wrote: whether anything else than these was written to the tenant.
        fingerprint: of the schema behind it, if the next step does not join it.
    """

    migration: Migration
    backwards: bool
    before: ProjectState
    reproducible: bool
    runs_sql: bool
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

    @property
    def scripted(self) -> bool:
        """Whether it is part of a transaction that is replayed."""
        return self.reproducible and self.atomic

    def script(self) -> list[str]:
        """Return its statements with those that note it."""
        return [*self.statements, *_notes(self.rows)]

    def joins(self, previous: "Step") -> bool:
        """Whether both can be one transaction.

        Rows changed by SQL may leave triggers pending, and no table can be altered then.
        """
        return self.scripted and previous.scripted and not previous.runs_sql and not self.runs_sql


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

    def state(self) -> ProjectState:
        """Return the state to run it from. Copies share their models, which take long to make."""
        _ = self.before.apps
        return self.before.clone()


Stage = ScriptStage | CodeStage


@dataclass(frozen=True, slots=True)
class Recipe:
    """How Django brought one tenant from one schema state to another.

    Attributes:
        tenant: which one that was.
        applied: the digest of the migrations before.
        stages: in order.
        changed: the migrations, as ``app.name``, in order.
        replayable: whether the stages do on another tenant what Django did on this one.
        fingerprint, facts: of the schema at the end.
        plan: as Django's signals tell it.
        before, after: the models at both ends.
        tells_before, tells_after: whether receivers other than the known ones listen to
            pre_migrate and post_migrate.
    """

    tenant: str
    applied: str
    stages: tuple[Stage, ...]
    changed: tuple[str, ...]
    replayable: bool
    fingerprint: str
    facts: tuple[SchemaFact, ...]
    plan: Plan
    before: Apps
    after: Apps
    tells_before: bool
    tells_after: bool

    @property
    def script(self) -> ScriptPart | None:
        """The transaction that is all there is to do, or None if there is more."""
        match self.stages:
            case (ScriptStage(parts=(part,)),) if part.atomic and part.fingerprint:
                return None if self.tells_before or self.tells_after else part
        return None


def make_stages(
    steps: Sequence[Step],
    applied: Iterable[str],
    prelude: Sequence[str],
    permissions: Sequence[str],
    settled: Settled | None = None,
) -> tuple[Stage, ...]:
    """Return the stages of *steps*, with as few transactions as they allow.

    Args:
        steps: in order.
        applied: the migrations before.
        prelude: statements that come before the first step.
        permissions: statements that follow the last step.
        settled: what tells where these have nothing to do, if no step has changed rows.
    """
    known = set(applied)
    begin = tuple(prelude)
    found: list[ScriptPart | CodeStage] = []
    for group in _transactions(steps):
        first = group[0]
        expected = applied_digest(known)
        rows = [row for step in group for row in step.rows]
        _follow(known, rows)
        if begin and not first.scripted:
            found.append(ScriptPart(begin))
            begin = ()
        if not first.reproducible:
            # Django throws the models of a state away that grew from another; not this one's.
            before = ProjectState(first.before.models, first.before.real_apps)
            found.append(CodeStage(first.migration, first.backwards, before))
        elif not first.atomic:
            found.append(ScriptPart(tuple(first.script()), atomic=False))
        else:
            statements = [statement for step in group for statement in step.statements]
            script = (*begin, *statements, *_notes(rows))
            # What the prelude makes cannot be looked at before.
            found.append(ScriptPart(script, True, "" if begin else expected, group[-1].fingerprint))
            begin = ()
    if permissions:
        last = found[-1]
        if isinstance(last, ScriptPart) and last.atomic:
            # Looked at before a part that changes them, rows tell nothing of those behind it.
            only_schema = all(step.scripted and not step.runs_sql for step in steps)
            found[-1] = replace(
                last,
                statements=(*last.statements, *permissions),
                settled=settled if only_schema and last.expected else None,
            )
        else:
            found.append(ScriptPart(tuple(permissions)))
    return tuple(_stages(found))


def _transactions(steps: Sequence[Step]) -> list[list[Step]]:
    """Group *steps*, those that can be one transaction together."""
    groups: list[list[Step]] = []
    for step in steps:
        if groups and step.joins(groups[-1][-1]):
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def _stages(found: Iterable[ScriptPart | CodeStage]) -> Iterator[Stage]:
    parts: list[ScriptPart] = []
    for item in found:
        if isinstance(item, ScriptPart):
            parts.append(item)
            continue
        if parts:
            yield ScriptStage(tuple(parts))
            parts = []
        yield item
    if parts:
        yield ScriptStage(tuple(parts))


def _follow(known: set[str], rows: Iterable[tuple[str, str, bool]]) -> None:
    for app, name, added in rows:
        (known.add if added else known.discard)(f"{app}.{name}")


def _notes(rows: Iterable[tuple[str, str, bool]]) -> Iterator[str]:
    """Yield statements that note *rows* in their order, in as few as possible."""
    for added, run in groupby(rows, key=itemgetter(2)):
        keys = [(sql.Literal(app), sql.Literal(name)) for app, name, _ in run]
        if added:
            values = sql.SQL(", ").join(sql.SQL("({}, {}, now())").format(*key) for key in keys)
            insert = sql.SQL("INSERT INTO django_migrations (app, name, applied) VALUES {}")
            yield insert.format(values).as_string()
        else:
            delete = sql.SQL("DELETE FROM django_migrations WHERE app = {} AND name = {}")
            yield from (delete.format(*key).as_string() for key in keys)
