"""``create_tenant``: a new tenant, provisioned, migrated and active."""

from typing import Any

from django.core.management.base import CommandParser

from mtdd_router.types import Isolation
from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data


class Command(RegistryCommand):
    """Create a tenant on the least loaded shard, or the one that is named."""

    help = "Create a tenant: its namespace and role on a shard, migrated, and active."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="a-z first, then a-z, 0-9, '-' and '_'; 63 at most.")
        parser.add_argument("--shard", help="Default: the least loaded that accepts tenants.")
        parser.add_argument(
            "--isolation",
            choices=[isolation.value for isolation in Isolation],
            default=Isolation.SCHEMA.value,
            help="A schema (default), a database of its own, or a schema whose tenant logs in to "
            "PostgreSQL itself (strict).",
        )

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.create_tenant(
            options["name"], shard=options["shard"], isolation=Isolation(options["isolation"])
        )
        self.output.data(tenant_data(tenant))
        self.output.text(
            f"Created tenant [bold]{tenant.name}[/] on shard {tenant.shard.name} "
            f"({tenant.isolation} {tenant.namespace})."
        )
