"""``rename_tenant``: give a tenant another name."""

from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data

_DAY: Final = 86400.0
_MOST_DAYS: Final = 3650


class Command(RegistryCommand):
    """Rename a tenant; its data does not move."""

    help = "Give a tenant another name, which is also its alias. Its data does not move."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument("new_name")
        parser.add_argument(
            "--redirect",
            type=float,
            default=0.0,
            metavar="DAYS",
            help="For so long, requests that name the old one are still served (default: not).",
        )

    def run(self, options: dict[str, Any]) -> None:
        if not 0 <= options["redirect"] <= _MOST_DAYS:
            raise CommandError(f"--redirect must be 0 to {_MOST_DAYS} days.")
        tenant = services.rename_tenant(
            options["name"], options["new_name"], redirect=options["redirect"] * _DAY
        )
        self.output.data(tenant_data(tenant))
        self.output.text(f"Tenant {options['name']} is now called [bold]{tenant.name}[/].")
