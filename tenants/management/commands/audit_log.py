"""``audit_log``: who changed what of the registry, and when."""

import json
from datetime import datetime, time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from rich.markup import escape

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.output import table
from tenants.management.rows import when
from tenants.models import AuditEntry


class Command(RegistryCommand):
    """List the audit log, or let go of what is old."""

    help = "List who changed what of the registry, the last change first."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--tenant", default="", help="Only what is about this tenant.")
        parser.add_argument("--shard", default="", help="Only what is about this shard.")
        parser.add_argument("--since", help="Only from this date, or date and time, on.")
        parser.add_argument(
            "--limit", type=int, default=100, help="At most so many; 0 is all (default: 100)."
        )
        parser.add_argument(
            "--expire",
            type=int,
            metavar="DAYS",
            help="Instead, delete what is older than that; 90 is the least. Run it from cron.",
        )

    def run(self, options: dict[str, Any]) -> None:
        if options["expire"] is not None:
            deleted = services.expire_entries(options["expire"])
            self.output.data({"deleted": deleted})
            self.output.text(f"Deleted: {deleted:,}.")
            return
        if options["limit"] < 0:
            raise CommandError("--limit must be 0 or more.")
        entries = services.audit_entries(
            tenant=options["tenant"],
            shard=options["shard"],
            since=_moment(options["since"]),
            limit=options["limit"],
        )
        self.output.data([_data(entry) for entry in entries])
        if not entries:
            self.output.text("Nothing is logged.")
            return
        columns = ("when", "who", "what", "tenant", "shard", "details")
        self.output.text(table(columns, [_row(entry) for entry in entries]))


def _data(entry: AuditEntry) -> dict[str, Any]:
    names = ("at", "who", "action", "tenant", "shard", "details")
    return {name: getattr(entry, name) for name in names}


def _row(entry: AuditEntry) -> tuple[str, ...]:
    details = ", ".join(f"{name}={_shown(value)}" for name, value in entry.details.items())
    told = (entry.who, entry.action, entry.tenant, entry.shard, details)
    return (when(entry.at), *map(escape, told))


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _moment(text: str | None) -> datetime | None:
    """Read a date, or a date and time, in the project's time zone unless it names one."""
    if text is None:
        return None
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)) is not None:
            moment = datetime.combine(day, time())
    except ValueError:
        moment = None
    if moment is None:
        raise CommandError(f"--since {text!r} is no date, such as 2026-11-26 or 2026-11-26 22:15.")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
