"""``add_domain``: give a tenant a domain of its own."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import domain_data


class Command(RegistryCommand):
    """Let requests for a domain be a tenant's."""

    help = "Let requests for a domain be a tenant's, as DomainResolver finds it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="The tenant.")
        parser.add_argument("domain", help="Such as shop.example.org, without a port.")

    def run(self, options: dict[str, Any]) -> None:
        row = services.add_domain(options["name"], options["domain"])
        self.output.data(domain_data(row))
        self.output.text(f"The domain {row.domain} is tenant [bold]{row.tenant.name}[/]'s.")
