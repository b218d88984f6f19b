"""``purge_tenants``: drop the deleted tenants whose time is over."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import RenderableType

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.output import counted, styled, table
from tenants.management.rows import tenant_data, tenant_table
from tenants.services import PurgeOutcome, PurgeResult


class Command(RegistryCommand):
    """Purge what is due; for cron. One that fails does not stop the others."""

    help = (
        "Drop for ever the tenants that were deleted longer ago than MTDD_DELETION_GRACE, and "
        "those whose purge was interrupted. Asks nothing: run it from cron."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--shard", help="Only the tenants of this shard.")
        parser.add_argument("--plan", action="store_true", help="Show what is due; drop nothing.")

    def run(self, options: dict[str, Any]) -> None:
        shard = services.get_shard(options["shard"]) if options["shard"] else None
        due = services.due_tenants(shard)
        if options["plan"]:
            self.output.data([tenant_data(tenant) for tenant in due])
            self.output.text(tenant_table(due) if due else "No tenant is due.")
            return
        results = services.purge_tenants(due)
        self._conclude(results)

    def _conclude(self, results: list[PurgeResult]) -> None:
        counts = Counter(result.outcome for result in results)
        self.output.data(
            {
                "counts": {outcome.value: counts[outcome] for outcome in PurgeOutcome},
                "results": [asdict(result) for result in results],
            }
        )
        if results:
            rows: list[list[RenderableType]] = [
                [r.tenant, r.shard, styled(r.outcome), r.error] for r in results
            ]
            self.output.text(table(("tenant", "shard", "outcome", "error"), rows))
        summary = ", ".join(f"{counts[outcome]} {outcome}" for outcome in PurgeOutcome)
        self.output.text(f"{counted(len(results), 'tenant')} due: {summary}.")
        if counts[PurgeOutcome.FAILED]:
            raise CommandError(
                f"{counts[PurgeOutcome.FAILED]} of {counted(len(results), 'tenant')} could not be "
                "purged; the next run tries them again."
            )
