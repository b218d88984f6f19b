"""``check_tenants``: are the schemas of tenants what their migrations give?"""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.text import Text

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.choosing import add_choice, chosen_tenants
from tenants.management.output import counted, styled

_NAMED = 5


class Command(RegistryCommand):
    """Compare catalogs; fails if one differs, or cannot be looked at."""

    help = (
        "Compare the catalog of each tenant with what its migrations give when they are applied "
        "anew. Changes no tenant."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_choice(parser)

    def run(self, options: dict[str, Any]) -> None:
        checks = []
        for check in services.check_schemas(chosen_tenants(options)):
            checks.append(check)
            if not check.agrees or options["verbosity"] > 1:
                self._tell(check)
        differing = [check.tenant for check in checks if check.differences]
        failed = [check.tenant for check in checks if check.error]
        self.output.data(
            {
                "agrees": not differing and not failed,
                "tenants": [{**asdict(check), "agrees": check.agrees} for check in checks],
            }
        )
        agreeing = len(checks) - len(differing) - len(failed)
        self.output.text(
            f"{counted(len(checks), 'tenant')}: {agreeing} as their migrations make them, "
            f"{len(differing)} otherwise, {len(failed)} not looked at."
        )
        if differing or failed:
            shown = sorted(differing + failed)
            more = ", ..." if len(shown) > _NAMED else ""
            raise CommandError(f"Look at {', '.join(shown[:_NAMED])}{more}.")

    def _tell(self, check: services.SchemaCheck) -> None:
        word = "agrees" if check.agrees else "failed" if check.error else "differs"
        self.output.text(
            Text.assemble(styled(word), f" {check.tenant} ({check.shard})", _colon(check.error))
        )
        for difference in check.differences:
            self.output.text(Text(f"  {difference}"))


def _colon(error: str) -> str:
    return f": {error}" if error else ""
