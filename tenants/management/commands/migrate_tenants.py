"""``migrate_tenants``: bring tenants to the newest migrations."""

import sys
from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mtdd_router.types import TenantState
from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.output import counted, styled
from tenants.models import Tenant
from tenants.services.migrations import DEFAULT_PARALLEL, MigrationOutcome


class Command(RegistryCommand):
    """Migrate tenants, several at a time; one that fails does not stop the others."""

    help = "Run Django's migrate for all tenants, or for those that are named."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("app_label", nargs="?", default="", help="Only this app.")
        parser.add_argument(
            "migration_name", nargs="?", default="", help="To this migration; 'zero' undoes all."
        )
        parser.add_argument("--shard", help="Only the tenants of this shard.")
        parser.add_argument(
            "--tenant",
            action="append",
            dest="tenants",
            metavar="NAME",
            help="Only this tenant; may be given several times.",
        )
        parser.add_argument(
            "--parallel",
            type=int,
            default=DEFAULT_PARALLEL,
            help=f"How many at a time (default: {DEFAULT_PARALLEL}).",
        )
        parser.add_argument(
            "--fail-fast", action="store_true", help="Begin no more once one has failed."
        )
        parser.add_argument(
            "--fake", action="store_true", help="Record the migrations without running them."
        )

    def run(self, options: dict[str, Any]) -> None:
        if options["parallel"] < 1:
            raise CommandError("--parallel must be 1 or more.")
        tenants = _chosen(options["shard"], options["tenants"])
        target = services.MigrationTarget(
            options["app_label"], options["migration_name"], options["fake"]
        )
        results: list[services.MigrationResult] = []
        interrupted = False
        with self._progress(options) as progress:
            task = progress.add_task("tenants", total=len(tenants))

            def came(result: services.MigrationResult) -> None:
                results.append(result)
                progress.advance(task)
                if options["verbosity"] > 1 or result.outcome is not MigrationOutcome.UNCHANGED:
                    self._tell(result)

            try:
                services.migrate_tenants(
                    tenants,
                    target=target,
                    parallel=options["parallel"],
                    fail_fast=options["fail_fast"],
                    on_result=came,
                )
            except KeyboardInterrupt:
                interrupted = True
        self._conclude(results, len(tenants), interrupted=interrupted)

    def _progress(self, options: dict[str, Any]) -> Progress:
        # On stderr, where it can neither be piped nor spoil JSON.
        shown = sys.stderr.isatty() and options["verbosity"] > 0
        return Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not shown,
        )

    def _tell(self, result: services.MigrationResult) -> None:
        line = styled(result.outcome)
        line.pad_right(10 - len(line.plain))
        line.append(f"{result.tenant} ({result.shard})")
        if result.changed:
            line.append(f": {counted(len(result.changed), 'migration')} in {result.seconds:.2f} s")
        if result.error:
            line.append(f": {result.error}")
        self.output.text(line)

    def _conclude(
        self, results: list[services.MigrationResult], wanted: int, *, interrupted: bool
    ) -> None:
        counts = Counter(result.outcome for result in results)
        not_begun = wanted - len(results)
        self.output.data(
            {
                "counts": {outcome.value: counts[outcome] for outcome in MigrationOutcome},
                "not_begun": not_begun,
                "results": [asdict(result) for result in results],
            }
        )
        summary = ", ".join(f"{counts[outcome]} {outcome}" for outcome in MigrationOutcome)
        self.output.text(f"{counted(wanted, 'tenant')}: {summary}, {not_begun} not begun.")
        if interrupted:
            raise CommandError(
                f"Interrupted with {counted(not_begun, 'tenant')} not begun. "
                "Run it again to do the rest.",
                returncode=130,
            )
        failed = [result.tenant for result in results if result.outcome is MigrationOutcome.FAILED]
        if failed:
            shown = escape(", ".join(sorted(failed)[:5])) + (", ..." if len(failed) > 5 else "")
            raise CommandError(
                f"{len(failed)} of {counted(wanted, 'tenant')} failed ({shown}); "
                "run it again once the cause is mended."
            )


def _chosen(shard: str | None, names: list[str] | None) -> list[Tenant]:
    rows = Tenant.objects.select_related("shard").order_by("name")
    if shard:
        rows = rows.filter(shard=services.get_shard(shard))
    if names:
        chosen = [services.get_tenant(name) for name in dict.fromkeys(names)]
        elsewhere = [tenant.name for tenant in chosen if shard and tenant.shard.name != shard]
        if elsewhere:
            raise CommandError(f"Not on shard {shard!r}: {', '.join(elsewhere)}.")
        return chosen
    # Tenants that are being made or deleted are no business of a migration.
    return list(rows.filter(state__in=[TenantState.ACTIVE, TenantState.FROZEN]))
