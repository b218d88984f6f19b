"""How far a run over many tenants is, shard by shard."""

import sys
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tenants.models import Tenant
from tenants.services import (
    CreationOutcome,
    CreationResult,
    MigrationOutcome,
    MigrationResult,
    NewTenant,
)

__all__ = ["CreationProgress", "MigrationProgress", "ShardProgress"]

_ANY_SHARD: Final = "any shard"


class _Rate(ProgressColumn):
    """Tenants a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "")


class ShardProgress:
    """A line for each shard, with rate, remaining time and failures.

    It is drawn on stderr, where it can neither be piped nor spoil JSON, and only if that
    is a terminal.
    """

    def __init__(self, *, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            console=Console(stderr=True),
            transient=True,
            disable=not (shown and sys.stderr.isatty()),
        )
        self._tasks: dict[str, TaskID] = {}
        self._failed: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def expect(self, shards: Iterable[str]) -> None:
        """Draw a line for each of *shards*, each counted as often as it is there."""
        for shard, total in sorted(Counter(shards).items()):
            self._tasks[shard] = self._progress.add_task(shard, total=total, failed="")

    def count(self, shard: str, *, failed: bool) -> None:
        """Count one that is done."""
        task = self._tasks[shard]
        self._progress.advance(task)
        if failed:
            self._failed[shard] += 1
            self._progress.update(task, failed=f"{self._failed[shard]} failed")


class MigrationProgress(ShardProgress):
    """How far a run of migrations is."""

    def begin(self, tenants: Iterable[Tenant]) -> None:
        """Draw a line for each shard of *tenants*."""
        self.expect(tenant.shard.name for tenant in tenants)

    def came(self, result: MigrationResult) -> None:
        """Count a result."""
        self.count(result.shard, failed=result.outcome is MigrationOutcome.FAILED)


class CreationProgress(ShardProgress):
    """How far the creation of a list of tenants is."""

    def begin(self, wanted: Iterable[NewTenant]) -> None:
        """Draw a line for each shard that the list names, and one for what names none."""
        self.expect(new.shard or _ANY_SHARD for new in wanted)

    def came(self, result: CreationResult) -> None:
        """Count a result."""
        failed = result.outcome is CreationOutcome.FAILED
        self.count(result.new.shard or _ANY_SHARD, failed=failed)
