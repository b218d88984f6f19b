"""``drop_redirect``: let a tenant's former name lead nowhere."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data


class Command(RegistryCommand):
    """Give up a name that `rename_tenant --redirect` kept."""

    help = "Let a tenant's former name lead nowhere, so that another tenant can have it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="The former name.")

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.drop_redirect(options["name"])
        self.output.data(tenant_data(tenant))
        self.output.text(f"{options['name']} leads no more to tenant [bold]{tenant.name}[/].")
