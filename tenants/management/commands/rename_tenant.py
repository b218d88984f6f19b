"""``rename_tenant``: give a tenant another name."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data


class Command(RegistryCommand):
    """Rename a tenant; its data does not move."""

    help = "Give a tenant another name, which is also its alias. Its data does not move."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument("new_name")

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.rename_tenant(options["name"], options["new_name"])
        self.output.data(tenant_data(tenant))
        self.output.text(f"Tenant {options['name']} is now called [bold]{tenant.name}[/].")
