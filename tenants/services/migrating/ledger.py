"""Keeping the ledger of a run.

Invariant: who writes here holds the lock of migration runs. So a run that says RUNNING
while somebody else has the lock is under way, and any other one's process has died.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from django.db import DEFAULT_DB_ALIAS, transaction
from django.utils import timezone

from tenants.errors import MigrationRunError
from tenants.models import MigrationItem, MigrationRun, Tenant
from tenants.services.audit import note
from tenants.services.migrating.planning import MigrationTarget
from tenants.services.migrating.results import MigrationOutcome, MigrationResult
from tenants.services.operator import operator

__all__ = ["Ledger", "run_under_way"]

_PAGE: Final = 1000
_LEFT: Final = (MigrationItem.State.PENDING, MigrationItem.State.FAILED)


class Ledger:
    """The record of one run.

    Args:
        run: its row.
        resumed: whether an earlier process has begun it.
    """

    def __init__(self, run: MigrationRun, *, resumed: bool = False) -> None:
        self.run = run
        self._resumed = resumed
        self._has_items = resumed

    @classmethod
    def begin(cls, target: MigrationTarget, tenants: int) -> "Ledger":
        """Record a new run over that many *tenants*."""
        _note_the_dead()
        with transaction.atomic(using=DEFAULT_DB_ALIAS):
            run = MigrationRun.objects.create(
                app_label=target.app_label,
                migration=target.migration,
                fake=target.fake,
                operator=operator(),
                tenants=tenants,
            )
            note("migrate tenants", run=run.pk, tenants=tenants, target=str(run), fake=run.fake)
        return cls(run)

    @classmethod
    def resume(cls, run: int | None = None) -> "Ledger":
        """Take up the last run, which has tenants left; it must be *run*, if that is given.

        Raises:
            MigrationRunError: if there is nothing left of it, or it is another one.
        """
        _note_the_dead()
        last = MigrationRun.objects.first()
        if run is not None and (last is None or last.pk != run):
            raise MigrationRunError(
                f"Migration run #{run} is not the last one any more; start a new one."
            )
        if last is None or not last.items.filter(state__in=_LEFT).exists():
            raise MigrationRunError(_why_nothing_is_left())
        last.state = MigrationRun.State.RUNNING
        last.operator, last.finished_at = operator(), None
        last.save(update_fields=("state", "operator", "finished_at"))
        return cls(last, resumed=True)

    @property
    def target(self) -> MigrationTarget:
        """Where the run leads to."""
        return MigrationTarget(self.run.app_label, self.run.migration, self.run.fake)

    def left(self) -> list[Tenant]:
        """Return the tenants that are not done yet, as far as they exist."""
        names = self.run.items.filter(state__in=_LEFT).values("tenant")
        return list(Tenant.objects.select_related("shard").filter(name__in=names).order_by("name"))

    def expect(self, tenants: Iterable[Tenant]) -> None:
        """Note the tenants that have something to migrate, before anything is done."""
        self._has_items = True
        items = [
            MigrationItem(run=self.run, tenant=tenant.name, shard=tenant.shard.name)
            for tenant in tenants
        ]
        MigrationItem.objects.bulk_create(items, batch_size=_PAGE, ignore_conflicts=True)

    def record(self, results: Sequence[MigrationResult]) -> None:
        """Note what became of some tenants, in one transaction."""
        if not self._has_items:
            return
        now = timezone.now()
        wanted = {result.tenant: result for result in results}
        items = list(self.run.items.filter(tenant__in=wanted))
        for item in items:
            result = wanted[item.tenant]
            item.pk = None
            item.state = self._state(result)
            item.migrations = list(result.changed) or item.migrations
            item.seconds += result.seconds
            item.error = result.error
            item.finished_at = now
        fields = ("state", "migrations", "seconds", "error", "finished_at")
        with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
            # What bulk_update() makes of a row for each takes longer than to migrate it.
            MigrationItem.objects.bulk_create(
                items,
                batch_size=_PAGE,
                update_conflicts=True,
                unique_fields=("run", "tenant"),
                update_fields=fields,
            )

    def _state(self, result: MigrationResult) -> str:
        if self._resumed and result.outcome is MigrationOutcome.UNCHANGED:
            # It had something to migrate when the run began, so that run has done it.
            return MigrationItem.State.MIGRATED
        return MigrationItem.State(result.outcome.value)

    def end(self, *, unchanged: int, interrupted: bool) -> None:
        """Record how the run ended."""
        run, state = self.run, MigrationRun.State.FINISHED
        if interrupted or run.items.filter(state=MigrationItem.State.PENDING).exists():
            state = MigrationRun.State.INTERRUPTED
        elif run.items.filter(state=MigrationItem.State.FAILED).exists():
            state = MigrationRun.State.FAILED
        run.state, run.finished_at = state, timezone.now()
        if not self._resumed:
            run.unchanged = unchanged
        run.save(update_fields=("state", "finished_at", "unchanged"))


def run_under_way() -> str:
    """Return whose run it is that holds the lock, for a message."""
    run = MigrationRun.objects.filter(state=MigrationRun.State.RUNNING).first()
    if run is None:
        return "another process"
    return f"{run.operator}, since {timezone.localtime(run.started_at):%Y-%m-%d %H:%M:%S}"


def _note_the_dead() -> None:
    """Mark runs whose processes have died; the lock is held, so no other is alive."""
    MigrationRun.objects.filter(state=MigrationRun.State.RUNNING).update(
        state=MigrationRun.State.INTERRUPTED
    )


def _why_nothing_is_left() -> str:
    earlier = MigrationRun.objects.filter(items__state__in=_LEFT).first()
    if earlier is None:
        return "No migration run has tenants left; there is nothing to resume."
    left = earlier.items.filter(state__in=_LEFT).count()
    return (
        f"The last migration run has no tenants left. Run #{earlier.pk} ({earlier}) had {left} left"
        " when a later one began, and cannot be resumed any more; start a new one."
    )
