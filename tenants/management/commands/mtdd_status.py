"""``mtdd_status``: how the local stack is."""

from typing import Any

from mtdd_router.embedded import stack_status
from tenants.management.base import RegistryCommand
from tenants.management.stack import stack_folder, status_as_data, status_table


class Command(RegistryCommand):
    """Exit with 0 if the stack runs and all its servers answer, else with 1."""

    help = "Show the servers of the local stack; fails unless all of them answer."
    requires_system_checks = ()

    def run(self, options: dict[str, Any]) -> None:
        status = stack_status(stack_folder())
        self.output.data(status_as_data(status))
        self.output.text(f"The stack is {status.status}.")
        if status.services:
            self.output.text(status_table(status))
        if not status.healthy:
            raise SystemExit(1)
