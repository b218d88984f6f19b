"""``mtdd_status``: show how the embedded stack is."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from mtdd_router.embedded import StackError, stack_status
from tenants.management.stack import show_status, stack_folder, status_as_data


class Command(BaseCommand):
    """Exit with 0 if the stack runs and all its servers answer, else with 1."""

    help = "Show the servers of the local stack; fails unless all of them answer."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            status = stack_status(stack_folder())
        except StackError as exc:
            raise CommandError(str(exc)) from exc
        if options["json"]:
            self.stdout.write(json.dumps(status_as_data(status), indent=2))
        else:
            show_status(Console(file=self.stdout), status)
        if not status.healthy:
            raise SystemExit(1)
