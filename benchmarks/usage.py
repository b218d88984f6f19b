"""Processor time by process, which a busy machine does not falsify as it does latencies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

__all__ = ["Usage", "usage"]


@dataclass(frozen=True)
class Usage:
    """Processor time.

    Attributes:
        seconds: all of it.
        user: what was spent outside the kernel, by the kernel's coarser clock.
        system: what was spent inside.
    """

    seconds: float = 0.0
    user: float = 0.0
    system: float = 0.0

    def __add__(self, other: Self) -> "Usage":
        return Usage(
            self.seconds + other.seconds, self.user + other.user, self.system + other.system
        )

    def since(self, before: Self) -> "Usage":
        """Return what was spent since *before*."""
        return Usage(
            self.seconds - before.seconds, self.user - before.user, self.system - before.system
        )

    @property
    def user_seconds(self) -> float:
        """What was spent outside the kernel, in seconds."""
        ticks = self.user + self.system
        return self.seconds * self.user / ticks if ticks else 0.0


def usage(pid: int) -> Usage:
    """Return the processor time of a process and all below it.

    Source: the kernel's schedstat, in nanoseconds; elsewhere the coarser times of psutil.
    """
    process = psutil.Process(pid)
    return sum((_of(each) for each in (process, *process.children(recursive=True))), Usage())


def _of(process: psutil.Process) -> Usage:
    times = process.cpu_times()
    tasks = Path(f"/proc/{process.pid}/task")
    seconds = times.user + times.system
    if tasks.exists():
        schedstats = [(task / "schedstat").read_text() for task in tasks.iterdir()]
        # Those of threads that have ended are in the ticks only.
        seconds = max(seconds, sum(int(text.split()[0]) for text in schedstats) / 1e9)
    return Usage(seconds, times.user, times.system)
