"""``run_jobs``: do what was asked for in the admin."""

import signal
from typing import Any

from django.core.management.base import CommandParser

from tenants.management.base import RegistryCommand
from tenants.models import Job
from tenants.services.jobs.worker import do_jobs, do_waiting_jobs


class Command(RegistryCommand):
    """A worker; any number may run."""

    help = (
        "Do the jobs that were asked for in the admin: creating, cloning, archiving and "
        "migrating tenants. Runs until Ctrl-C or SIGTERM, which interrupt the job at hand."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--once", action="store_true", help="End when no job waits, instead of waiting for one."
        )

    def run(self, options: dict[str, Any]) -> None:
        # Services undo what they have begun when they are interrupted, but not when terminated.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        done: list[Job] = []
        try:
            if options["once"]:
                do_waiting_jobs(lambda job: self._ended(job, done))
            else:
                self.output.text("Waiting for jobs; Ctrl-C ends this.")
                do_jobs(lambda job: self._ended(job, done))
        except KeyboardInterrupt:
            self.output.text("Stopped.")
        finally:
            signal.signal(signal.SIGTERM, before)
        self.output.data([{"job": job.pk, "kind": job.kind, "state": job.state} for job in done])

    def _ended(self, job: Job, done: list[Job]) -> None:
        done.append(job)
        self.output.text(f"Job {job}: {job.state}. {job.error or job.result}")
        self.stdout.flush()
