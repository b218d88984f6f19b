"""``undelete_tenant``: bring a deleted tenant back."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data


class Command(RegistryCommand):
    """Bring a deleted tenant back; doing so twice is harmless."""

    help = "Bring a deleted tenant back with all its data, active or frozen as it was."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.undelete_tenant(options["name"])
        self.output.data(tenant_data(tenant))
        self.output.text(f"Tenant [bold]{tenant.name}[/] is {tenant.state}.")
        if services.plan_migrations([tenant]):
            self.output.text(
                f"Migrations are missing there: run migrate_tenants --tenant {tenant.name}."
            )
