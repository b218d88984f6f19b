"""``export_tenant``: a tenant as SQL or CSV, for other programs."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.output import counted


class Command(RegistryCommand):
    """Export a tenant; it can be used meanwhile."""

    help = "Write a tenant to a file of SQL, or to a folder with a CSV file for each table."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument(
            "--to", required=True, type=Path, metavar="PATH", help="What is not there yet."
        )
        parser.add_argument("--format", choices=["sql", "csv"], default="sql")

    def run(self, options: dict[str, Any]) -> None:
        name, path = options["name"], options["to"]
        if options["format"] == "csv":
            rows = services.export_csv(name, path)
            self.output.data({"tenant": name, "folder": str(path), "rows": rows})
            written = f"{counted(sum(rows.values()), 'row')} in {counted(len(rows), 'file')}"
        else:
            services.export_sql(name, path)
            size_bytes = path.stat().st_size
            self.output.data({"tenant": name, "file": str(path), "size_bytes": size_bytes})
            written = "SQL"
        self.output.text(f"Exported tenant [bold]{name}[/] to {path}: {written}.")
