"""``all_tenants_command``: run any command for every tenant, one after another."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mtdd_router.types import TenantState
from tenants import services
from tenants.management.output import counted
from tenants.management.subcommand import SubcommandBase
from tenants.models import Tenant


class Command(SubcommandBase):
    """Run a command in the context of each active tenant."""

    help = "Run any management command for all active tenants, one after another."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--shard", help="Only the tenants of this shard.")
        parser.add_argument("--fail-fast", action="store_true", help="Stop at the first failure.")
        self.add_subcommand(parser)

    def run(self, options: dict[str, Any]) -> None:
        outcomes = []
        for name in _names(options["shard"], frozen_too=options["maintenance"]):
            self.output.text(f"[bold]{name}[/]")
            outcome = self.run_one(name, options)
            outcomes.append(outcome)
            if outcome.error:
                self.output.text(f"[red]{name} failed[/]: ", outcome.error)
                if options["fail_fast"]:
                    break
        self.output.data([outcome.as_data() for outcome in outcomes])
        failed = [outcome.tenant for outcome in outcomes if outcome.error]
        if failed:
            raise CommandError(
                f"{options['command_name']} failed for {len(failed)} of "
                f"{counted(len(outcomes), 'tenant')}: {', '.join(failed[:5])}"
                f"{', ...' if len(failed) > 5 else ''}."
            )


def _names(shard: str | None, *, frozen_too: bool) -> list[str]:
    states = [TenantState.ACTIVE, TenantState.FROZEN] if frozen_too else [TenantState.ACTIVE]
    rows = Tenant.objects.filter(state__in=states)
    if shard:
        rows = rows.filter(shard=services.get_shard(shard))
    return list(rows.order_by("name").values_list("name", flat=True))
