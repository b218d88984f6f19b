"""The base of the registry's commands: parse, call a service, print.

An MTDDError or a failure of the registry's database becomes a CommandError, one
sentence that says what to do, and an exit code that is not zero.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.db import OperationalError

from mtdd_router.errors import MTDDError
from tenants.management.output import Output
from tenants.services.audit import acting
from tenants.services.notifying import collected_failures
from tenants.services.operator import operator

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
        who = f"{operator()}: manage.py {type(self).__module__.rpartition('.')[2]}"
        with acting(who), collected_failures() as failures:
            try:
                self._run(options)
            finally:
                for failure in failures:
                    self.stderr.write(failure)

    def _run(self, options: dict[str, Any]) -> None:
        try:
            self.run(options)
        except CommandError as exc:
            self.output.error(exc)
            raise
        except MTDDError as exc:
            failure = _stopped_stack(exc)
            self.output.error(failure or exc)
            raise failure or CommandError(str(exc)) from exc
        except DatabaseError as exc:
            failure = _stopped_stack(exc) or CommandError(
                f"The registry's database failed: {str(exc).strip()}"
            )
            self.output.error(failure)
            raise failure from exc

    @abstractmethod
    def run(self, options: dict[str, Any]) -> None:
        """Do the work.

        Raises:
            CommandError, MTDDError, django.db.Error: what the user is told.
        """


def _stopped_stack(exc: BaseException) -> CommandError | None:
    """Return what to say instead of *exc* if the database failed since no stack runs."""
    folder = getattr(settings, "MTDD_STACK_DIR", None)
    causes = [exc, exc.__cause__]
    if not folder or not any(isinstance(cause, OperationalError) for cause in causes):
        return None
    # Imported late: other projects need not have what the stack needs.
    from mtdd_router.embedded import stack_status

    status = stack_status(Path(folder)).status
    if status in {"running", "starting"}:
        return None
    return CommandError(
        f"The local stack {'has crashed' if status == 'crashed' else 'is not running'}; "
        "start it with: python manage.py mtdd_up --detach"
    )
