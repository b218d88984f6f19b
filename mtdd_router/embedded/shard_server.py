"""One shard server process of the embedded stack: ``python -m mtdd_router.server``."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.embedded.errors import PortTaken, StackError
from mtdd_router.embedded.ports import HOST, is_free, was_taken
from mtdd_router.embedded.processes import (
    end,
    log_tail,
    mark_option,
    marked_processes,
    spawn,
    wait_until,
)
from mtdd_router.errors import ShardError

__all__ = ["ShardServer", "shard_answers"]

_START_TIMEOUT: Final = 60.0
_ANSWER_TIMEOUT: Final = 5.0
_STOP_TIMEOUT: Final = 15.0
_DRAIN_TIMEOUT: Final = 5.0
_STRAY_PATIENCE: Final = 3.0
# The folder that holds the package mtdd_router, so that a child finds it as we did.
_IMPORT_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class ShardServer:
    """A shard server in front of the PostgreSQL at *dsn*.

    The DSN goes through the environment: a command line can be read by every user.
    """

    name: str
    port: int
    dsn: str
    pool_size: int
    workers: int
    log: Path
    mark: str
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        """Where it answers, as ``host:port``."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start the process; see ``wait_ready``. What is left of a killed one is ended first."""
        self.end_strays()
        # Workers end by themselves when their parent has died.
        wait_until(lambda: is_free(self.port), timeout=_STRAY_PATIENCE)
        import_path = os.pathsep.join(
            filter(None, (str(_IMPORT_ROOT), os.environ.get("PYTHONPATH", "")))
        )
        self.process = spawn(
            [
                sys.executable,
                *mark_option(self.mark),
                "-m",
                "mtdd_router.server",
                "--address",
                self.address,
                "--pool-size",
                str(self.pool_size),
                "--workers",
                str(self.workers),
                "--drain-timeout",
                str(_DRAIN_TIMEOUT),
            ],
            log=self.log,
            environment={
                **os.environ,
                "PYTHONPATH": import_path,
                "PYTHONUNBUFFERED": "1",
                "MTDD_SHARD_DSN": self.dsn,
            },
        )

    def wait_ready(self) -> None:
        """Return when the server answers, and its PostgreSQL does.

        Raises:
            PortTaken: if it ended because somebody else listens on its port.
            StackError: if it ends or does not answer in time, with its log's last lines.
        """
        wait_until(lambda: self.answers or not self.running, timeout=_START_TIMEOUT)
        if not (self.running and self.answers):
            said = log_tail(self.log)
            taken = not self.running and was_taken(self.port, said)
            raise (PortTaken if taken else StackError)(
                f"The shard server of {self.name!r} did not start on {self.address}; "
                f"the end of {self.log}:\n{said}"
            )

    @property
    def running(self) -> bool:
        """Whether the process, started by this object, is alive."""
        return self.process is not None and self.process.poll() is None

    @property
    def answers(self) -> bool:
        """Whether the server answers, and its PostgreSQL does."""
        return shard_answers(self.address)

    def stop(self) -> None:
        """Let the server drain, and end it."""
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
        """End what is left of an earlier process of this server."""
        end(marked_processes(self.mark), how=signal.SIGTERM, patience=_STRAY_PATIENCE)


def shard_answers(address: str) -> bool:
    """Tell whether a shard server answers at *address*, and its PostgreSQL does."""
    try:
        admin = ShardAdmin(address, timeout=_ANSWER_TIMEOUT)
        admin.info()
    except ShardError:
        return False
    return True
