"""``edit_shard``: change what is registered of a shard."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.rows import shard_data


class Command(RegistryCommand):
    """Change name, address, weight, or whether new tenants are placed there."""

    help = "Change the name, address or weight of a shard, or whether it accepts tenants."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument("--name", dest="new_name", help="Its new name.")
        parser.add_argument("--address", help="Its new address; the same shard must answer there.")
        parser.add_argument("--weight", type=int, help="Its new share of new tenants.")
        accepts = parser.add_mutually_exclusive_group()
        accepts.add_argument(
            "--accept",
            action="store_true",
            default=None,
            dest="accepts_tenants",
            help="Place new tenants there.",
        )
        accepts.add_argument(
            "--no-accept",
            action="store_false",
            default=None,
            dest="accepts_tenants",
            help="Place no new tenants there; those there stay.",
        )

    def run(self, options: dict[str, Any]) -> None:
        changes = {
            option: options[option]
            for option in ("new_name", "address", "weight", "accepts_tenants")
            if options[option] is not None
        }
        if not changes:
            raise CommandError(
                "Nothing to change: give --name, --address, --weight, --accept or --no-accept."
            )
        shard = services.edit_shard(options["name"], **changes)
        self.output.data(shard_data(shard))
        self.output.text(
            f"Shard [bold]{shard.name}[/]: {shard.address}, weight {shard.weight}, "
            f"{'accepts' if shard.accepts_tenants else 'does not accept'} new tenants."
        )
