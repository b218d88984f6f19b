"""Letting Django migrate one tenant, and noting what that is in SQL.

Django's executor and schema editor do the work. Subclasses of theirs, which Django's
own connection is told to use, note each statement of the editor with the migration it
belongs to. If anything else is written by a migration that was to be SQL, the recipe is
not replayed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from django.apps import apps as global_apps
from django.apps.registry import Apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.migrations import Migration
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ModelState, ProjectState

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.types import SchemaDetail, ScriptPart, Settled, applied_digest
from tenants.errors import MigrationFailed
from tenants.services.migrating.executing import WholeExecutor
from tenants.services.migrating.operations import extensions_of, is_reproducible, runs_sql
from tenants.services.migrating.planning import MigrationTarget, plan_for
from tenants.services.migrating.recipes import Recipe, Step, make_stages
from tenants.services.migrating.signals import (
    connect_receivers,
    permission_rows,
    permission_statements,
    send_post_migrate,
    send_pre_migrate,
)

__all__ = ["record_migrations"]

_READS: Final = ("SELECT", "SHOW", "SAVEPOINT", "RELEASE", "ROLLBACK TO")


class Recording:
    """What Django has done to one tenant, migration by migration.

    Attributes:
        steps: in order.
        prelude: statements before the first, which make Django's own table.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.prelude: list[str] = []
        self._current: Step | None = None
        self._explained = False

    @contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """Note everything as belonging to *step*."""
        self._current = step
        self.steps.append(step)
        try:
            yield
        finally:
            self._current = None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Let statements pass that are noted in another way."""
        before, self._explained = self._explained, True
        try:
            yield
        finally:
            self._explained = before

    def edited(self, statement: str) -> None:
        """Note a statement of the schema editor."""
        (self._current.statements if self._current else self.prelude).append(statement)

    def noted(self, app: str, name: str, *, added: bool) -> None:
        """Note a row of django_migrations; a squashed one's may come behind the last step."""
        step = self._current or self.steps[-1]
        step.rows.append((app, name, added))

    def __call__(
        self,
        execute: Callable[..., Any],
        statement: Any,
        params: Any,
        many: bool,  # noqa: FBT001 - Django's signature
        context: Any,
    ) -> Any:
        """Watch a statement on its way to the database, as ``execute_wrapper`` wants it."""
        if not self._explained and self._current and not _reads(statement):
            self._current.wrote = True
        return execute(statement, params, many, context)


def _reads(statement: object) -> bool:
    return str(statement).lstrip().upper().startswith(_READS)


class _SchemaEditor(DatabaseSchemaEditor):
    """Django's editor, noting what it executes, or collects."""

    def __init__(self, *args: Any, recording: Recording, **options: Any) -> None:
        super().__init__(*args, **options)
        self._recording = recording

    def execute(self, sql: Any, params: Any = ()) -> None:
        statement = str(sql)
        if params is not None:
            statement = self.connection.ops.compose_sql(statement, params)
        with self._recording.explained():
            super().execute(statement, None)
        self._recording.edited(statement)


class _Recorder(MigrationRecorder):
    """Django's recorder, noting what it records."""

    def __init__(self, connection: BaseDatabaseWrapper, recording: Recording) -> None:
        super().__init__(connection)
        self._recording = recording

    def record_applied(self, app: str, name: str) -> None:
        with self._recording.explained():
            super().record_applied(app, name)
        self._recording.noted(app, name, added=True)

    def record_unapplied(self, app: str, name: str) -> None:
        with self._recording.explained():
            super().record_unapplied(app, name)
        self._recording.noted(app, name, added=False)


class _Executor(WholeExecutor):
    """An executor that tells the recording where a migration begins and ends.

    Attributes:
        rowless: whether no table has a row yet.
    """

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        recording: Recording,
        admin: ShardAdmin,
        *,
        for_others: bool,
    ) -> None:
        super().__init__(connection)
        self._tenant: str = connection.alias
        self._recording = recording
        self._admin = admin
        self._for_others = for_others
        self.rowless = False
        self.recorder = _Recorder(connection, recording)

    def apply_migration(
        self,
        state: ProjectState,
        migration: Migration,
        fake: bool = False,  # noqa: FBT001, FBT002 - Django's signature
        fake_initial: bool = False,  # noqa: FBT001, FBT002
    ) -> ProjectState:
        step = self._begin(migration, state, backwards=False, fake=fake)
        with self._recording.step(step):
            step.statements += [] if fake else map(_create_extension, extensions_of(migration))
            if fake or step.atomic or not step.reproducible:
                state = super().apply_migration(state, migration, fake, fake_initial)
            else:
                state = self._stepwise(step, state)
                step.rows += [(app, name, True) for app, name in migration.replaces or [_key(step)]]
                self._run(step)
        return state

    def unapply_migration(
        self,
        state: ProjectState,
        migration: Migration,
        fake: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> ProjectState:
        step = self._begin(migration, state, backwards=True, fake=fake)
        with self._recording.step(step):
            if fake or step.atomic or not step.reproducible:
                state = super().unapply_migration(state, migration, fake)
            else:
                state = self._stepwise(step, state)
                step.rows += [(*row, False) for row in (*migration.replaces, _key(step))]
                self._run(step)
        return state

    def _begin(
        self, migration: Migration, state: ProjectState, *, backwards: bool, fake: bool
    ) -> Step:
        steps = self._recording.steps
        if steps and (steps[-1].wrote or steps[-1].runs_sql):
            self.rowless = False
        reproducible = fake or is_reproducible(
            migration, state, self._tenant, backwards=backwards, rowless=self.rowless
        )
        # Django changes the state that it is given.
        before = state if reproducible else state.clone()
        step = Step(migration, backwards, before, reproducible, runs_sql(migration, self._tenant))
        if steps and not step.joins(steps[-1]):
            self.look()
        return step

    def look(self) -> None:
        """Note what the last step has led to, if that is to be compared with."""
        step = self._recording.steps[-1]
        if self._for_others and step.scripted:
            states = self._admin.inspect_schemas([self._tenant], SchemaDetail.FINGERPRINT)
            step.fingerprint = states[self._tenant].fingerprint

    def _stepwise(self, step: Step, state: ProjectState) -> ProjectState:
        """Collect the SQL of a migration that is no transaction."""
        with self.connection.schema_editor(collect_sql=True, atomic=False) as editor:
            change = step.migration.unapply if step.backwards else step.migration.apply
            result: ProjectState = change(state, editor)
        return result

    def _run(self, step: Step) -> None:
        """Run it as on any other tenant: what stops half way goes on from there."""
        part = ScriptPart(tuple(step.script()), atomic=False)
        (outcome,) = self._admin.run_script([self._tenant], [part])
        if outcome.failure:
            raise MigrationFailed(outcome.failure)


def record_migrations(
    connection: BaseDatabaseWrapper,
    admin: ShardAdmin,
    target: MigrationTarget,
    *,
    lock_timeout: float = 0.0,
    for_others: bool = True,
    new: bool = False,
) -> Recipe | None:
    """Let Django migrate the connection's tenant, and return how; None if nothing was to do.

    Args:
        connection: to the tenant, in maintenance; it is to be closed afterwards.
        admin: of the tenant's shard.
        target: where to.
        lock_timeout: bounds each wait for a lock, in seconds; zero does not.
        for_others: whether the recipe is to be used; otherwise it has no fingerprints.
        new: whether the tenant is new, and the recipe for others that are.

    Raises:
        InvalidMigrationTarget: if there is no such target.
        Exception: whatever a migration raises; those before it stay applied.
    """
    connect_receivers()
    recording = Recording()
    executor = _Executor(connection, recording, admin, for_others=for_others)
    plan = plan_for(executor, target)
    if not plan:
        return None
    known = {f"{app}.{name}" for app, name in executor.loader.applied_migrations}
    # Called like the class it stands for.
    connection.SchemaEditorClass = partial(_SchemaEditor, recording=recording)  # type: ignore[assignment]
    if lock_timeout:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [_ms(lock_timeout)])
    loader = executor.loader
    before = loader.project_state(
        [key for key in loader.applied_migrations if key in loader.graph.nodes]
    )
    # What a script is to be told of a tenant is asked before it, of tables that are there then.
    rows_before = _permission_rows(connection, before.apps) if for_others and not new else None
    tells_before = send_pre_migrate(connection.alias, plan, before.apps)
    executor.rowless = new and not tells_before
    with connection.execute_wrapper(recording):
        state = executor.migrate([], plan=plan, state=before.clone(), fake=target.fake)
    executor.look()
    after = _final_apps(state)
    tells_after = send_post_migrate(connection.alias, plan, after)
    permissions, settled = [], None
    if not tells_after:
        permissions = permission_statements(connection.alias, after, new=new)
    if permissions and rows_before and rows_before == _permission_rows(connection, after):
        settled = Settled(len(permissions), *rows_before)
    end = None
    if for_others:
        end = admin.inspect_schemas([connection.alias], SchemaDetail.FACTS)[connection.alias]
    return Recipe(
        tenant=connection.alias,
        applied=applied_digest(known),
        stages=make_stages(recording.steps, known, recording.prelude, permissions, settled),
        changed=tuple(step.label for step in recording.steps),
        replayable=not any(step.reproducible and step.wrote for step in recording.steps),
        fingerprint=end.fingerprint if end else "",
        facts=end.facts if end else (),
        plan=plan,
        before=before.apps,
        after=after,
        tells_before=tells_before,
        tells_after=tells_after,
    )


def _permission_rows(connection: BaseDatabaseWrapper, state_apps: Apps) -> tuple[str, str] | None:
    """Return the question for the tenant's content types and permissions, and the answer."""
    query = permission_rows(connection.alias, state_apps)
    if not query:
        return None
    with connection.cursor() as cursor:
        cursor.execute(query)
        (answer,) = cursor.fetchone()
    return query, answer


def _final_apps(state: ProjectState) -> Apps:
    """Return the models at the end, as ``migrate`` hands them to post_migrate."""
    state.clear_delayed_apps_cache()
    apps = state.apps
    with apps.bulk_update():
        keys = [(model.app_label, model.name_lower) for model in apps.real_models]
        for key in keys:
            apps.unregister_model(*key)
    # Rendered once more, now that all that they are related to is there.
    apps.render_multiple([ModelState.from_model(global_apps.get_model(*key)) for key in keys])
    return apps


def _create_extension(name: str) -> str:
    return f'CREATE EXTENSION IF NOT EXISTS "{name}"'


def _key(step: Step) -> tuple[str, str]:
    return step.migration.app_label, step.migration.name


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
