"""``list_domains``: the domains that tenants have for themselves."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import domain_data, domain_table
from tenants.models import TenantDomain


class Command(RegistryCommand):
    """List domains, of one tenant if that is asked for."""

    help = "List the tenants' domains."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--tenant", help="Only those of this tenant.")

    def run(self, options: dict[str, Any]) -> None:
        rows = TenantDomain.objects.select_related("tenant")
        if options["tenant"]:
            rows = rows.filter(tenant=services.get_tenant(options["tenant"]))
        domains = list(rows)
        self.output.data([domain_data(row) for row in domains])
        if not domains:
            self.output.text("No domains.")
            return
        self.output.text(domain_table(domains))
