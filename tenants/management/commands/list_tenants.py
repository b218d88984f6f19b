"""``list_tenants``: the registered tenants."""

from typing import Any

from django.core.management.base import CommandParser

from mtdd_router.types import TenantState
from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data, tenant_table
from tenants.models import Tenant


class Command(RegistryCommand):
    """List tenants, of a shard or in a state if that is asked for."""

    help = "List the tenants and where they live."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--shard", help="Only those of this shard.")
        parser.add_argument(
            "--state", choices=[state.value for state in TenantState], help="Only those in it."
        )
        parser.add_argument(
            "--sizes", action="store_true", help="Ask the shards for the tenants' sizes."
        )

    def run(self, options: dict[str, Any]) -> None:
        rows = Tenant.objects.select_related("shard").order_by("name")
        if options["shard"]:
            rows = rows.filter(shard=services.get_shard(options["shard"]))
        if options["state"]:
            rows = rows.filter(state=options["state"])
        tenants = list(rows)
        sizes = services.tenant_sizes(tenants, timeout=30.0) if options["sizes"] else None
        self.output.data(
            [tenant_data(tenant, (sizes or {}).get(tenant.name)) for tenant in tenants]
        )
        if not tenants:
            self.output.text("No tenants.")
            return
        self.output.text(tenant_table(tenants, sizes))
