"""``remove_domain``: take a domain from its tenant."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import domain_data


class Command(RegistryCommand):
    """Let requests for a domain be nobody's."""

    help = "Take a domain from the tenant that has it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("domain")

    def run(self, options: dict[str, Any]) -> None:
        row = services.remove_domain(options["domain"])
        self.output.data(domain_data(row))
        self.output.text(f"The domain {row.domain} is no more tenant [bold]{row.tenant.name}[/]'s.")
