"""The row about many rows, which must pass through without being gathered anywhere."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.candidates import OURS
from benchmarks.figures import Check, Result
from benchmarks.rows.row import Row, in_turns
from benchmarks.world import World

__all__ = ["Streaming"]

_MB = 1024 * 1024
_MOST_MB = 32.0


@dataclass(frozen=True)
class Streaming(Row):
    """Each side does the work once a round; by how much memory grows is measured, too.

    Attributes:
        work: of `benchmarks.works`.
    """

    work: str

    def measure(self, world: World, rounds: int) -> Result:
        candidates = [world.candidate(spec) for spec in self.specs]
        result = Result(self.number, self.title, {each.name: [] for each in candidates})
        client: list[float] = []
        server: list[float] = []
        for number in range(rounds):
            for each in in_turns(candidates, number):
                ours = each.spec.kind == OURS
                served = _Peak(world.shard(each.spec).pid) if ours else None
                answer = each.ask(do="growth", work=self.work, tenant=each.tenants[0])
                result.rounds[each.name].append([answer["duration"]])
                if served is not None:
                    client.append(answer["bytes"] / _MB)
                    server.append(served.growth() / _MB)
        self.compare(result)
        result.checks.append(Check("growth of the client", client, most=_MOST_MB, unit="MB"))
        result.checks.append(Check("growth of the server", server, most=_MOST_MB, unit="MB"))
        return result


class _Peak:
    """By how much the peak memory of a process, and of its children, grows."""

    def __init__(self, pid: int) -> None:
        process = psutil.Process(pid)
        self._pids = [pid, *(child.pid for child in process.children(recursive=True))]
        for each in self._pids:
            Path(f"/proc/{each}/clear_refs").write_text("5")
        self._before = self._now()

    def growth(self) -> float:
        """Return it, in bytes."""
        return self._now() - self._before

    def _now(self) -> int:
        total = 0
        for pid in self._pids:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
        return total
