"""``register_shard``: tell the registry of a running shard server."""

from typing import Any

from django.core.management.base import CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import shard_data


class Command(RegistryCommand):
    """Register a shard."""

    help = "Register the shard whose server answers at an address."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="A short name, such as eu-1.")
        parser.add_argument("address", help="host:port or unix:/path of its shard server.")
        parser.add_argument(
            "--weight", type=int, default=1, help="Its share of new tenants (default: 1)."
        )
        parser.add_argument(
            "--no-accept", action="store_true", help="Place no new tenants there yet."
        )

    def run(self, options: dict[str, Any]) -> None:
        shard = services.register_shard(
            options["name"],
            options["address"],
            weight=options["weight"],
            accepts_tenants=not options["no_accept"],
        )
        self.output.data(shard_data(shard))
        self.output.text(f"Registered shard [bold]{shard.name}[/] at {shard.address}.")
