"""The row about a process that starts: everything imported, and a first query answered."""

import subprocess
import sys
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from benchmarks.candidates import Candidate
from benchmarks.figures import Check, Result
from benchmarks.rows.row import Row, in_turns
from benchmarks.sites import QUICK
from benchmarks.world import World

__all__ = ["Start"]

_FIRST = """\
import sys, django
django.setup()
from benchmarks.settings import CANDIDATE
from benchmarks.tables import tables_of
tables_of(CANDIDATE).users(sys.argv[1]).get(pk=7)
print("answered", flush=True)
"""
_STARTS = 2 if QUICK else 4


@dataclass(frozen=True)
class Start(Row):
    """Each side is started several times a round, until its first query is answered.

    Attributes:
        most_ms: the bar for what the last side takes longer than the first.
    """

    most_ms: float

    def measure(self, world: World, rounds: int) -> Result:
        candidates = [world.candidate(spec) for spec in self.specs]
        result = Result(self.number, self.title, {each.name: [] for each in candidates})
        for each in candidates:
            _first_query(each)
        for number in range(rounds):
            for each in candidates:
                result.rounds[each.name].append([])
            for turn in range(_STARTS):
                for each in in_turns(candidates, number + turn):
                    result.rounds[each.name][-1].append(_first_query(each))
        base, ours = (result.rounds[each.name] for each in (candidates[0], candidates[-1]))
        longer = [
            (median(mine) - median(theirs)) / 1000 for mine, theirs in zip(ours, base, strict=True)
        ]
        what = f"{candidates[-1].name} - {candidates[0].name}"
        result.checks.append(Check(what, longer, most=self.most_ms, unit="ms"))
        return result


def _first_query(candidate: Candidate) -> float:
    started = perf_counter()
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _FIRST, candidate.tenants[0]],
        env=candidate.environment,
        cwd=candidate.root,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        answer = process.stdout.readline()
        duration = (perf_counter() - started) * 1e6
    if answer != b"answered\n":
        raise SystemExit(f"The candidate {candidate.name!r} did not start; see its traceback.")
    return duration
