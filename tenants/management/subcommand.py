"""Commands that run another command for a tenant."""

import argparse
import io
from abc import ABC
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from mtdd_router.errors import MTDDError
from tenants.management.base import RegistryCommand
from tenants.services import run_for_tenant

__all__ = ["Outcome", "SubcommandBase"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command came out for a tenant; what it printed, if that was kept."""

    tenant: str
    command: str
    error: str = ""
    returncode: int = 0
    stdout: str = ""
    stderr: str = ""
    cause: BaseException | None = None

    def as_data(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "tenant": self.tenant,
            "command": self.command,
            "ok": not self.error,
            "error": self.error or None,
            "stdout": self.stdout,
            "stderr": self.stderr,
        }

    def raise_failure(self) -> None:
        """Raise what the command failed with, if it did.

        Raises:
            CommandError: with its message and exit code.
        """
        if self.error:
            raise CommandError(self.error, returncode=self.returncode) from self.cause


class _Subcommand(argparse.Action):
    """Stores a command's name and its arguments apart."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002 - argparse passes it
    ) -> None:
        if not values:
            parser.error("the name of the command to run is missing")
        namespace.command_name, *namespace.arguments = values


class SubcommandBase(RegistryCommand, ABC):
    """A command that runs another."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--maintenance",
            action="store_true",
            help="Also use a tenant that is frozen.",
        )

    def add_subcommand(self, parser: CommandParser) -> None:
        """Take the other command and its arguments from the rest of the line."""
        # As one, else argparse would take a "--" after its name, which is the command's.
        parser.add_argument(
            "command",
            nargs=argparse.REMAINDER,
            action=_Subcommand,
            help="The command to run, with its options and arguments.",
        )

    def run_one(self, tenant: str, options: dict[str, Any]) -> Outcome:
        """Run it for *tenant*; what it prints goes out, or into the outcome for JSON."""
        command = options["command_name"]
        error, returncode = "", 0
        cause: BaseException | None = None
        captured = (io.StringIO(), io.StringIO())
        with ExitStack() as stack:
            streams: dict[str, Any] = {"stdout": self.stdout, "stderr": self.stderr}
            if self.output.as_json:
                stack.enter_context(redirect_stdout(captured[0]))
                stack.enter_context(redirect_stderr(captured[1]))
                streams = {"stdout": captured[0], "stderr": captured[1]}
            try:
                run_for_tenant(
                    tenant,
                    command,
                    options["arguments"],
                    in_maintenance=options["maintenance"],
                    **streams,
                )
            except SystemExit as exc:
                if exc.code not in {None, 0}:
                    returncode = exc.code if isinstance(exc.code, int) else 1
                    error, cause = f"{command} ended with exit code {exc.code}.", exc
            except (CommandError, MTDDError, DatabaseError) as exc:
                error, cause = str(exc), exc
                returncode = getattr(exc, "returncode", 1)
            except Exception as exc:  # noqa: BLE001 - a command may fail with anything
                error, returncode, cause = f"{type(exc).__name__}: {exc}", 1, exc
        return Outcome(
            tenant,
            command,
            error,
            returncode,
            captured[0].getvalue(),
            captured[1].getvalue(),
            cause,
        )
