"""The worker process of the embedded stack: ``django-admin run_jobs``."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtdd_router.embedded.processes import end, mark_option, marked_processes, spawn

__all__ = ["JobWorker", "worker_mark"]

# It undoes what it has begun.
_STOP_TIMEOUT: Final = 20.0
_STRAY_PATIENCE: Final = 3.0


def worker_mark(stack_id: str) -> str:
    """Return the mark of the worker of that stack."""
    return f"{stack_id}/jobs"


@dataclass(slots=True)
class JobWorker:
    """Does the jobs of the project with these *settings*, a module's dotted name."""

    settings: str
    log: Path
    mark: str
    name: str = "jobs"
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the process; it waits by itself for a registry that is not ready."""
        self.end_strays()
        self.process = spawn(
            [sys.executable, *mark_option(self.mark), "-m", "django", "run_jobs"],
            log=self.log,
            environment={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": self.settings,
                # So that it finds the project as we did.
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "PYTHONUNBUFFERED": "1",
            },
        )

    @property
    def running(self) -> bool:
        """Whether the process, started by this object, is alive."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Interrupt the job at hand, and end the process."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        self.end_strays()

    def end_strays(self) -> None:
        """End what is left of an earlier process of this worker."""
        end(marked_processes(self.mark), how=signal.SIGTERM, patience=_STRAY_PATIENCE)
