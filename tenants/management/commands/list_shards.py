"""``list_shards``: the registered shards, and how they are."""

from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Count

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.output import table
from tenants.management.rows import shard_table, status_data
from tenants.models import Shard


class Command(RegistryCommand):
    """List shards; an unreachable one is shown as such."""

    help = "List the registered shards with their live health, size and load."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--timeout",
            type=float,
            default=2.0,
            help="Seconds to wait for each shard (default: 2).",
        )

    def run(self, options: dict[str, Any]) -> None:
        shards = list(Shard.objects.annotate(tenants_there=Count("tenants")).order_by("name"))
        tenants = {shard.pk: shard.tenants_there for shard in shards}
        statuses = services.inspect_shards(shards, timeout=options["timeout"])
        self.output.data([status_data(status, tenants[status.shard.pk]) for status in statuses])
        if not statuses:
            self.output.text("No shard is registered; see register_shard.")
            return
        self.output.text(shard_table(statuses, tenants))
        failures = [[status.shard.name, status.error] for status in statuses if status.error]
        if failures:
            self.output.text(table(("", ""), failures))
