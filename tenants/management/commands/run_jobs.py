"""``run_jobs``: do what was asked for in the admin."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
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
        done: list[Job] = []
        with _interrupted_once() as stop:
            try:
                if options["once"]:
                    do_waiting_jobs(lambda job: self._ended(job, done), asked_to_stop=stop.is_set)
                else:
                    self.output.text("Waiting for jobs; Ctrl-C ends this.")
                    do_jobs(lambda job: self._ended(job, done), asked_to_stop=stop.is_set)
            except KeyboardInterrupt:
                self.output.text("Stopped.")
        self.output.data([{"job": job.pk, "kind": job.kind, "state": job.state} for job in done])

    def _ended(self, job: Job, done: list[Job]) -> None:
        done.append(job)
        self.output.text(f"Job {job}: {job.state}. {job.error or job.result}")
        self.stdout.flush()


@contextmanager
def _interrupted_once() -> Iterator[threading.Event]:
    """Let the first Ctrl-C or SIGTERM interrupt the block, and set the event.

    Services undo what they have begun when they are interrupted; another signal must not
    interrupt that.
    """
    event = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if not event.is_set():
            event.set()
            raise KeyboardInterrupt

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, interrupt) for kind in kinds}
    try:
        yield event
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
