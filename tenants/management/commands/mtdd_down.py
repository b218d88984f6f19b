"""``mtdd_down``: stop the embedded stack; its data stays."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mtdd_router.embedded import StackError, stop_stack
from tenants.management.stack import stack_folder


class Command(BaseCommand):
    """Stop the stack, and whatever a crashed one left behind."""

    help = "Stop the local stack, also one that crashed; its data stays."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            stopped = stop_stack(stack_folder())
        except StackError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write("The stack is stopped." if stopped else "No stack was running.")
