"""``mtdd_prepare``: migrate the registry and register the running stack's shards."""

from typing import Any

from mtdd_router.embedded import shard_addresses
from tenants.management.base import RegistryCommand
from tenants.management.stack import stack_folder
from tenants.services.stack import prepare_stack


class Command(RegistryCommand):
    """Do what ``mtdd_up`` does after starting the stack."""

    help = "Migrate the registry's database and register the shards of the running stack."
    requires_system_checks = ()

    def run(self, options: dict[str, Any]) -> None:
        prepared = prepare_stack(shard_addresses(stack_folder()))
        self.output.data({"registered": prepared.registered, "moved": prepared.moved})
        for name in prepared.registered:
            self.output.text(f"Registered shard {name}.")
        for name in prepared.moved:
            self.output.text(f"Shard {name} has a new address.")
