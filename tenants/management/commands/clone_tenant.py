"""``clone_tenant``: a tenant made after another."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data


class Command(RegistryCommand):
    """Clone a tenant; it can be used meanwhile."""

    help = "Make a tenant that is as another is now, which can be used meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("source", help="The tenant to copy.")
        parser.add_argument("name", help="Of the new tenant.")
        parser.add_argument("--shard", help="Default: that of the source.")
        parser.add_argument(
            "--structure-only",
            action="store_true",
            help="No rows, but for migrations, content types and permissions.",
        )

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.clone_tenant(
            options["source"],
            options["name"],
            shard=options["shard"],
            structure_only=options["structure_only"],
        )
        self.output.data(tenant_data(tenant))
        self.output.text(
            f"Cloned tenant {options['source']} as [bold]{tenant.name}[/] on shard "
            f"{tenant.shard.name} ({tenant.isolation} {tenant.namespace})."
        )
