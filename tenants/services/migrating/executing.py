"""Django's executor, for which a migration and its row are one transaction."""

from contextlib import AbstractContextManager, nullcontext

from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from django.db.transaction import atomic

__all__ = ["WholeExecutor"]


class WholeExecutor(MigrationExecutor):
    """Django's executor, which leaves no atomic migration half done.

    Django itself writes the row of django_migrations after the commit, when it undoes a
    migration, and when SQL was deferred to its end. What dies in between has tables that
    the next run makes once more.
    """

    def apply_migration(
        self,
        state: ProjectState,
        migration: Migration,
        fake: bool = False,  # noqa: FBT001, FBT002 - Django's signature
        fake_initial: bool = False,  # noqa: FBT001, FBT002
    ) -> ProjectState:
        """Run a migration forwards."""
        with self._whole(migration):
            return super().apply_migration(state, migration, fake, fake_initial)

    def unapply_migration(
        self,
        state: ProjectState,
        migration: Migration,
        fake: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> ProjectState:
        """Run a migration backwards."""
        with self._whole(migration):
            return super().unapply_migration(state, migration, fake)

    def _whole(self, migration: Migration) -> AbstractContextManager[object]:
        return atomic(self.connection.alias) if migration.atomic else nullcontext()
