"""``migrate_tenants``: bring tenants to the newest migrations."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.markup import escape

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.choosing import add_choice, chosen_tenants
from tenants.management.output import counted, styled
from tenants.management.progress import MigrationProgress
from tenants.models import Tenant
from tenants.services import DEFAULT_PARALLEL, MigrationOutcome, MigrationResult


class Command(RegistryCommand):
    """Migrate tenants; one that fails does not stop the others."""

    help = (
        "Migrate all tenants, or those that are named. Django migrates one tenant of each "
        "schema state, the others follow by the same SQL."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("app_label", nargs="?", default="", help="Only this app.")
        parser.add_argument(
            "migration_name", nargs="?", default="", help="To this migration; 'zero' undoes all."
        )
        add_choice(parser)
        parser.add_argument(
            "--resume",
            action="store_true",
            help="Go on with the last run where it stopped, and try its failures again.",
        )
        parser.add_argument(
            "--canary",
            type=int,
            default=0,
            metavar="N",
            help="Migrate N tenants first, and the others only if none of these fails.",
        )
        parser.add_argument(
            "--fail-fast", action="store_true", help="Begin no more once one has failed."
        )
        parser.add_argument(
            "--fake", action="store_true", help="Record the migrations without running them."
        )
        parser.add_argument(
            "--plan",
            action="store_true",
            help="Show what would run, for how many tenants, and which locks it takes.",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="Change nothing; exit with status 1 if a tenant has something to migrate, or its "
            "schema is not what its migrations give.",
        )
        parser.add_argument(
            "--parallel",
            type=int,
            default=DEFAULT_PARALLEL,
            help=f"How many batches at a time on each shard (default: {DEFAULT_PARALLEL}).",
        )
        defaults = services.Limits()
        parser.add_argument(
            "--lock-timeout",
            type=float,
            default=defaults.lock_timeout,
            metavar="SECONDS",
            help="Longest wait for a lock, so that nobody's queries queue behind it (default: "
            f"{defaults.lock_timeout:g}); tried {defaults.lock_retries + 1} times.",
        )

    def run(self, options: dict[str, Any]) -> None:
        _refuse_contradictions(options)
        if options["plan"] or options["check"]:
            self._preview(options)
            return
        limits = services.Limits(
            lock_timeout=options["lock_timeout"], fail_fast=options["fail_fast"]
        )
        results: list[MigrationResult] = []
        wanted, interrupted = 0, False
        with MigrationProgress(shown=options["verbosity"] > 0) as progress:

            def came(result: MigrationResult) -> None:
                results.append(result)
                progress.came(result)
                if options["verbosity"] > 1 or result.outcome is not MigrationOutcome.UNCHANGED:
                    self._tell(result)

            def begin(tenants: list[Tenant]) -> None:
                nonlocal wanted
                wanted = len(tenants)
                progress.begin(tenants)

            try:
                if options["resume"]:
                    services.resume_migrations(
                        parallel=options["parallel"],
                        limits=limits,
                        on_begin=begin,
                        on_result=came,
                    )
                else:
                    tenants = chosen_tenants(options)
                    begin(tenants)
                    services.migrate_tenants(
                        tenants,
                        target=_target(options),
                        parallel=options["parallel"],
                        limits=limits,
                        canary=options["canary"],
                        on_result=came,
                    )
            except KeyboardInterrupt:
                interrupted = True
        self._conclude(results, wanted, interrupted=interrupted)

    def _preview(self, options: dict[str, Any]) -> None:
        tenants = chosen_tenants(options)
        groups = services.plan_migrations(tenants, _target(options))
        for group in groups:
            where = ", ".join(f"{shard} {count}" for shard, count in sorted(group.tenants.items()))
            behind = counted(sum(group.tenants.values()), "tenant")
            self.output.text(f"[bold]{behind}[/] ({where})")
            for migration in group.migrations:
                self.output.text(*_planned(migration))
        if not groups:
            self.output.text("No tenant has anything to migrate.")
        plan = [asdict(group) for group in groups]
        if options["check"]:
            self._check(tenants, plan, behind=sum(sum(g.tenants.values()) for g in groups))
        else:
            self.output.data(plan)

    def _check(self, tenants: list[Tenant], plan: list[Any], *, behind: int) -> None:
        wrong = [check.tenant for check in services.check_schemas(tenants) if not check.agrees]
        self.output.data({"behind": plan, "differing": wrong})
        problems = []
        if behind:
            problems.append(f"{counted(behind, 'tenant')} to migrate; run migrate_tenants.")
        if wrong:
            problems.append(f"{counted(len(wrong), 'tenant')} to look at; run check_tenants.")
        if problems:
            raise CommandError(" ".join(problems))

    def _tell(self, result: MigrationResult) -> None:
        line = styled(result.outcome)
        line.pad_right(10 - len(line.plain))
        line.append(f"{result.tenant} ({result.shard})")
        if result.changed:
            line.append(f": {counted(len(result.changed), 'migration')} in {result.seconds:.2f} s")
        if result.error:
            line.append(f": {result.error}")
        self.output.text(line)

    def _conclude(self, results: list[MigrationResult], wanted: int, *, interrupted: bool) -> None:
        counts = Counter(result.outcome for result in results)
        not_begun = wanted - len(results)
        if self.output.as_json:
            self.output.data(
                {
                    "counts": {outcome.value: counts[outcome] for outcome in MigrationOutcome},
                    "not_begun": not_begun,
                    "results": [asdict(result) for result in results],
                }
            )
        summary = ", ".join(f"{counts[outcome]} {outcome}" for outcome in MigrationOutcome)
        self.output.text(f"{counted(wanted, 'tenant')}: {summary}, {not_begun} not begun.")
        if interrupted:
            raise CommandError(
                f"Interrupted with {counted(not_begun, 'tenant')} not begun. "
                "Add --resume to do the rest.",
                returncode=130,
            )
        failed = [result.tenant for result in results if result.outcome is MigrationOutcome.FAILED]
        if failed:
            shown = escape(", ".join(sorted(failed)[:5])) + (", ..." if len(failed) > 5 else "")
            raise CommandError(
                f"{len(failed)} of {counted(wanted, 'tenant')} failed ({shown}); "
                "once the cause is mended, add --resume to try them again."
            )


def _refuse_contradictions(options: dict[str, Any]) -> None:
    if options["parallel"] < 1:
        raise CommandError("--parallel must be 1 or more.")
    if options["canary"] < 0 or options["lock_timeout"] < 0:
        raise CommandError("--canary and --lock-timeout must not be negative.")
    chooses = ("app_label", "shard", "tenants", "fake", "canary", "plan", "check")
    if options["resume"] and any(options[choice] for choice in chooses):
        raise CommandError("--resume goes on with what the last run was for; name nothing else.")


def _target(options: dict[str, Any]) -> services.MigrationTarget:
    return services.MigrationTarget(
        options["app_label"], options["migration_name"], options["fake"]
    )


def _planned(migration: services.PlannedMigration) -> list[str]:
    """Return the lines of one migration that would be run."""
    how = "by SQL" if migration.replayed else "by Django, on each tenant"
    lines = [f"  {'undo ' if migration.backwards else ''}{migration.name}, {how}"]
    if migration.locks is None and migration.replayed:
        lines.append("    its locks cannot be told beforehand")
    for table, modes in (migration.locks or {}).items():
        lines.append(f"    {table}: {', '.join(modes)}")
    return ["\n".join(lines)]
