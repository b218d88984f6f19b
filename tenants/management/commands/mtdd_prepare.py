"""``mtdd_prepare``: migrate the registry and register the running stack's shards."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mtdd_router.embedded import shard_addresses
from mtdd_router.errors import MTDDError
from tenants.management.stack import stack_folder
from tenants.services.stack import prepare_stack


class Command(BaseCommand):
    """Do what ``mtdd_up`` does after starting the stack."""

    help = "Migrate the registry's database and register the shards of the running stack."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            prepared = prepare_stack(shard_addresses(stack_folder()))
        except MTDDError as exc:
            raise CommandError(str(exc)) from exc
        for name in prepared.registered:
            self.stdout.write(f"Registered shard {name}.")
        for name in prepared.moved:
            self.stdout.write(f"Shard {name} has a new address.")
