"""``tenant_shell``: a Python shell in a tenant's context."""

import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenants.management.subcommand import SubcommandBase


class Command(SubcommandBase):
    """Open Django's shell for a tenant."""

    help = "Open Django's shell for a tenant; its options follow the name: tenant_shell abc -c ..."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("tenant", help="The tenant's name.")
        parser.add_argument(
            "arguments", nargs=argparse.REMAINDER, help="Options of Django's shell."
        )

    def run(self, options: dict[str, Any]) -> None:
        if self.output.as_json and not options["arguments"]:
            raise CommandError("With --json there is no prompt; give code with -c.")
        outcome = self.run_one(options["tenant"], {**options, "command_name": "shell"})
        self.output.data(outcome.as_data())
        outcome.raise_failure()
