"""Candidates as processes, and rounds in which each does the same works in turn."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from benchmarks.works import WORKS

__all__ = ["Candidate", "Measured", "compare"]

# Each candidate's turns of one work in one round: its runs are cut into so many blocks,
# which alternate, so that a noisy second of the machine meets all of them.
_BLOCKS = 3


class Candidate:
    """A running `benchmarks.candidate`; as a context manager, until the block ends.

    Args:
        name: in the results.
        root: the checkout whose code it runs.
        environment: is added to this process's.
    """

    def __init__(self, name: str, *, root: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.candidate"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={
                **os.environ,
                **environment,
                "PYTHONPATH": str(root),
                "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            },
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ask(self, **command: Any) -> Any:
        """Send a command, and return the answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemExit(f"The candidate {self.name!r} ended; see its traceback above.")
        return json.loads(line)

    def run(self, work: str, count: int) -> list[float]:
        """Do *work*; return the durations in microseconds."""
        durations: list[float] = self.ask(do="run", work=work, count=count)["durations"]
        return durations

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Measured:
    """What was measured of one work: each candidate's durations, round by round."""

    def __init__(self, work: str, names: Sequence[str]) -> None:
        self.work = work
        self.rounds: dict[str, list[list[float]]] = {name: [] for name in names}

    def quantile(self, name: str, fraction: float) -> float:
        """Return a quantile of all durations, in microseconds."""
        every = sorted(value for durations in self.rounds[name] for value in durations)
        return every[min(int(len(every) * fraction), len(every) - 1)]

    def ratios(self, name: str, base: str) -> list[float]:
        """Return the ratio of the medians in each round, sorted."""
        return sorted(
            median(mine) / median(theirs)
            for mine, theirs in zip(self.rounds[name], self.rounds[base], strict=True)
        )


def compare(
    candidates: Sequence[Candidate],
    works: Sequence[str],
    rounds: int,
    report: Callable[[int], None] = lambda _: None,
) -> list[Measured]:
    """Let each candidate do each of *works* in each round, in turns, forwards and backwards.

    *report* is called with each round that is done, from 1.
    """
    measured = [Measured(work, [candidate.name for candidate in candidates]) for work in works]
    for candidate in candidates:
        for work in works:
            candidate.run(work, max(1, WORKS[work].count // 3))
    for number in range(rounds):
        for item in measured:
            blocks = min(_BLOCKS, WORKS[item.work].count)
            for durations in item.rounds.values():
                durations.append([])
            for block in range(blocks):
                turn = candidates if (number + block) % 2 == 0 else tuple(reversed(candidates))
                for candidate in turn:
                    done = candidate.run(item.work, WORKS[item.work].count // blocks)
                    item.rounds[candidate.name][-1].extend(done)
        report(number + 1)
    return measured
