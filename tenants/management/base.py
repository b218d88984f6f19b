"""The base of the registry's commands: parse, call a service, print.

An MTDDError or a failure of the registry's database becomes a CommandError, one
sentence that says what to do, and an exit code that is not zero.
"""

from abc import abstractmethod
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from mtdd_router.errors import MTDDError
from tenants.management.output import Output

__all__ = ["RegistryCommand"]


class RegistryCommand(BaseCommand):
    """A command that takes ``--json``; `run` does its work."""

    output: Output

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="Print one JSON document instead of text."
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        self.output = Output(
            self.stdout, as_json=options["json"], color=not options.get("no_color")
        )
        try:
            self.run(options)
        except CommandError as exc:
            self.output.error(exc)
            raise
        except MTDDError as exc:
            self.output.error(exc)
            raise CommandError(str(exc)) from exc
        except DatabaseError as exc:
            failure = CommandError(f"The registry's database failed: {str(exc).strip()}")
            self.output.error(failure)
            raise failure from exc

    @abstractmethod
    def run(self, options: dict[str, Any]) -> None:
        """Do the work.

        Raises:
            CommandError, MTDDError, django.db.Error: what the user is told.
        """
