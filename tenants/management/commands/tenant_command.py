"""``tenant_command``: run any command for one tenant."""

from typing import Any

from django.core.management.base import CommandParser

from tenants.management.subcommand import SubcommandBase


class Command(SubcommandBase):
    """Run a command in a tenant's context."""

    help = "Run any management command for a tenant: tenant_command abc createsuperuser ..."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("tenant", help="The tenant's name.")
        self.add_subcommand(parser)

    def run(self, options: dict[str, Any]) -> None:
        outcome = self.run_one(options["tenant"], options)
        self.output.data(outcome.as_data())
        outcome.raise_failure()
