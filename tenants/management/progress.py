"""How far a run over many tenants is, shard by shard."""

import sys
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

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
from tenants.services import MigrationOutcome, MigrationResult

__all__ = ["MigrationProgress"]


class _Rate(ProgressColumn):
    """Tenants a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "")


class MigrationProgress:
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

    def begin(self, tenants: Iterable[Tenant]) -> None:
        """Draw a line for each shard of *tenants*."""
        totals = Counter(tenant.shard.name for tenant in tenants)
        for shard, total in sorted(totals.items()):
            self._tasks[shard] = self._progress.add_task(shard, total=total, failed="")

    def came(self, result: MigrationResult) -> None:
        """Count a result."""
        task = self._tasks[result.shard]
        self._progress.advance(task)
        if result.outcome is MigrationOutcome.FAILED:
            self._failed[result.shard] += 1
            self._progress.update(task, failed=f"{self._failed[result.shard]} failed")
