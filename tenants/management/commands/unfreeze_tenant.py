"""``unfreeze_tenant``: let a frozen tenant answer again."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data


class Command(RegistryCommand):
    """Unfreeze a tenant; doing so twice is harmless."""

    help = "Unfreeze a tenant: let a frozen tenant answer again."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.unfreeze_tenant(options["name"])
        self.output.data(tenant_data(tenant))
        self.output.text(f"Tenant [bold]{tenant.name}[/] is active.")
