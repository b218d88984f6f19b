"""``mtdd_down``: stop the local stack; its data stays."""

from typing import Any

from mtdd_router.embedded import stop_stack
from tenants.management.base import RegistryCommand
from tenants.management.stack import stack_folder


class Command(RegistryCommand):
    """Stop the stack, and whatever a crashed one left behind."""

    help = "Stop the local stack, also one that crashed; its data stays."
    requires_system_checks = ()

    def run(self, options: dict[str, Any]) -> None:
        stopped = stop_stack(stack_folder())
        self.output.data({"stopped": stopped})
        self.output.text("The stack is stopped." if stopped else "No stack was running.")
