"""``restore_tenant``: a tenant out of a file."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import tenant_data


class Command(RegistryCommand):
    """Make a tenant of an archive."""

    help = (
        "Make a tenant of an archive that archive_tenant wrote, migrated and active. What is in "
        "the file is run as SQL: restore only what you trust."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path)
        parser.add_argument("--name", help="Default: the name that it had.")
        parser.add_argument("--shard", help="Default: the least loaded that accepts tenants.")

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.restore_tenant(
            options["file"], name=options["name"], shard=options["shard"]
        )
        self.output.data(tenant_data(tenant))
        self.output.text(
            f"Restored tenant [bold]{tenant.name}[/] on shard {tenant.shard.name} "
            f"({tenant.isolation} {tenant.namespace})."
        )
