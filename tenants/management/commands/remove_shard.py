"""``remove_shard``: forget a shard that holds no tenants."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand


class Command(RegistryCommand):
    """Remove a shard from the registry; refused while tenants live there."""

    help = "Remove a shard from the registry. Refused while tenants live there."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument(
            "--force",
            action="store_true",
            help="Do not ask the shard itself what it holds: for one that is gone for good.",
        )

    def run(self, options: dict[str, Any]) -> None:
        services.remove_shard(options["name"], force=options["force"])
        self.output.data({"removed": options["name"]})
        self.output.text(f"Removed shard [bold]{options['name']}[/] from the registry.")
