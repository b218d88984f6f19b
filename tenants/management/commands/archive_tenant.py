"""``archive_tenant``: a tenant into a file."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import size


class Command(RegistryCommand):
    """Archive a tenant; it stays, and can be used meanwhile."""

    help = (
        "Write a tenant to a file in PostgreSQL's custom format, by pg_dump over gRPC. "
        "restore_tenant makes a tenant of it again; delete_tenant removes the one there is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument(
            "--to", required=True, type=Path, metavar="FILE", help="A file that is not there yet."
        )

    def run(self, options: dict[str, Any]) -> None:
        archive = services.archive_tenant(options["name"], options["to"])
        size_bytes = options["to"].stat().st_size
        self.output.data(
            {
                "tenant": archive.label.tenant,
                "isolation": archive.label.isolation,
                "file": archive.name,
                "size_bytes": size_bytes,
                "postgres": archive.server,
            }
        )
        self.output.text(
            f"Archived tenant [bold]{archive.label.tenant}[/] to {archive.name} "
            f"({size(size_bytes)})."
        )
