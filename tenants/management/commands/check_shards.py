"""``check_shards``: does the registry agree with the shards?"""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.text import Text

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.output import counted, styled, table


class Command(RegistryCommand):
    """Compare, and mend with ``--repair``; fails while anything is wrong."""

    help = (
        "Compare the registry with the shards: interrupted creations and deletions, "
        "disagreements, orphans. --repair mends what an interruption left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("shards", nargs="*", metavar="shard", help="All, if none is named.")
        parser.add_argument(
            "--repair",
            action="store_true",
            help="Mend what can be mended without losing data that was in use.",
        )

    def run(self, options: dict[str, Any]) -> None:
        reports = list(services.check_shards(options["shards"] or None, repair=options["repair"]))
        findings = [finding for report in reports for finding in report.findings]
        self.output.data(
            {
                "agrees": all(report.agrees for report in reports),
                "shards": [{**asdict(report), "agrees": report.agrees} for report in reports],
            }
        )
        for report in reports:
            word = "agrees" if report.agrees else "failed"
            if any(finding.repaired for finding in report.findings) and report.agrees:
                word = "repaired"
            self.output.text(
                Text.assemble(
                    (report.shard, "bold"),
                    f" ({report.address}), {counted(report.tenants, 'tenant')}: ",
                    styled(word),
                )
            )
            for name in report.busy:
                self.output.text(f"  {name}: an operation is under way; not looked at")
        if findings:
            self.output.text(
                table(
                    ("shard", "what", "subject", "detail", "repair"),
                    [
                        [f.shard, f.kind, f.subject, Text(f.error or f.detail), _outcome(f)]
                        for f in findings
                    ],
                )
            )
        open_ones = [finding for finding in findings if not finding.repaired]
        if open_ones:
            advice = "" if options["repair"] else "; run check_shards --repair"
            raise CommandError(
                f"{counted(len(open_ones), 'thing')} "
                f"to settle: {', '.join(finding.subject for finding in open_ones[:5])}{advice}."
            )


def _outcome(finding: services.Finding) -> Text:
    if finding.repaired:
        return Text(f"done: {finding.action}", style="green")
    if finding.error:
        return Text(f"failed: {finding.action}", style="red")
    return Text(f"would {finding.action}" if finding.action else "by hand", style="yellow")
