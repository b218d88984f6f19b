"""``create_tenants``: many new tenants, from a CSV file."""

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import RenderableType

from tenants import services
from tenants.errors import InvalidTenantList
from tenants.management.base import RegistryCommand
from tenants.management.output import counted, table
from tenants.management.progress import CreationProgress
from tenants.services import CreationOutcome, CreationResult, NewTenant


class Command(RegistryCommand):
    """Create what a list names; one that fails does not stop the others."""

    help = (
        "Create the tenants that a CSV file lists. Its first line names the columns: name, and "
        "if wanted shard and isolation. The whole file is checked first. Tenants that are there "
        "are skipped, so the same file may be run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", help="A CSV file in UTF-8; '-' for standard input.")
        parser.add_argument(
            "--parallel",
            type=int,
            default=services.CREATED_AT_A_TIME,
            metavar="N",
            help=f"How many at a time (default: {services.CREATED_AT_A_TIME}).",
        )
        parser.add_argument(
            "--fail-fast", action="store_true", help="Begin no more once one has failed."
        )

    def run(self, options: dict[str, Any]) -> None:
        if options["parallel"] < 1:
            raise CommandError("--parallel must be 1 or more.")
        wanted = self._read(options["file"])
        results: list[CreationResult] = []
        interrupted = False
        with CreationProgress(shown=options["verbosity"] > 0) as progress:
            progress.begin(wanted)

            def came(result: CreationResult) -> None:
                results.append(result)
                progress.came(result)

            try:
                services.create_tenants(
                    wanted,
                    parallel=options["parallel"],
                    fail_fast=options["fail_fast"],
                    on_result=came,
                )
            except KeyboardInterrupt:
                interrupted = True
        self._conclude(results, len(wanted), interrupted=interrupted)

    def _read(self, file: str) -> list[NewTenant]:
        try:
            if file == "-":
                return services.read_new_tenants(sys.stdin)
            with Path(file).open(encoding="utf-8-sig", newline="") as lines:
                return services.read_new_tenants(lines)
        except OSError as exc:
            raise CommandError(f"{file} cannot be read: {exc.strerror}.") from exc
        except InvalidTenantList as exc:
            problems = [{"line": line, "problem": problem} for line, problem in exc.problems]
            error = {"type": type(exc).__name__, "message": str(exc), "lines": problems}
            self.output.data({"error": error})
            self.output.text(
                table(("line#", "problem"), [[str(line), what] for line, what in exc.problems])
            )
            raise CommandError(
                f"{counted(len(problems), 'line')} cannot be used; nothing was created."
            ) from exc

    def _conclude(self, results: list[CreationResult], wanted: int, *, interrupted: bool) -> None:
        counts = Counter(result.outcome for result in results)
        not_begun = wanted - len(results)
        results.sort(key=lambda result: result.new.line)
        self.output.data(
            {
                "counts": {outcome.value: counts[outcome] for outcome in CreationOutcome},
                "not_begun": not_begun,
                "results": [_data(result) for result in results],
            }
        )
        failed: list[list[RenderableType]] = [
            [str(r.new.line), r.new.name, r.shard or "-", r.error]
            for r in results
            if r.outcome is CreationOutcome.FAILED
        ]
        if failed:
            self.output.text(table(("line#", "tenant", "shard", "error"), failed))
        summary = ", ".join(f"{counts[outcome]} {outcome}" for outcome in CreationOutcome)
        self.output.text(f"{counted(wanted, 'tenant')}: {summary}, {not_begun} not begun.")
        advice = "run the same file again for what is left."
        if interrupted:
            raise CommandError(
                f"Interrupted with {counted(not_begun, 'tenant')} not begun; {advice}",
                returncode=130,
            )
        if failed:
            raise CommandError(f"{len(failed)} of {counted(wanted, 'tenant')} failed; {advice}")


def _data(result: CreationResult) -> dict[str, Any]:
    data = asdict(result)
    new = data.pop("new")
    return {"line": new["line"], "tenant": new["name"], **data}
