"""What became of the tests of a run, and how two runs differ.

Invariant: a test has one outcome, the worst of those that were written down for it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["NOT_RUN", "Difference", "Outcome", "Run", "differences"]

# From best to worst.
OUTCOMES: Final = (
    "passed",
    "expected failure",
    "skipped",
    "unexpected success",
    "failed",
    "error",
)
# Of a test that only the other run has, such as one whose class could not be set up.
NOT_RUN: Final = "not run"
_AS_IT_SHOULD: Final = frozenset({"passed", "expected failure"})


@dataclass(frozen=True)
class Outcome:
    """What became of a test; *detail* is a traceback, or the reason of a skip."""

    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Run:
    """A run of a suite: how it ended, how long it took in seconds, what became of each test."""

    status: int
    seconds: float
    tests: Mapping[str, Outcome] = field(repr=False)

    @classmethod
    def read(cls, results: Path, *, status: int, seconds: float) -> "Run":
        """Read what ``suite_results`` wrote to *results*."""
        tests: dict[str, Outcome] = {}
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
        for line in lines:
            entry = json.loads(line)
            outcome = Outcome(entry["outcome"], entry["detail"])
            known = tests.get(entry["test"])
            if known is None or _rank(outcome) > _rank(known):
                tests[entry["test"]] = outcome
        return cls(status, seconds, tests)

    def counts(self) -> dict[str, int]:
        """Return how many tests there are of each outcome."""
        found = Counter(outcome.outcome for outcome in self.tests.values())
        return {outcome: found[outcome] for outcome in OUTCOMES}

    def as_json(self) -> dict[str, Any]:
        """Return the counts and the tests that did not pass."""
        return {
            "status": self.status,
            "seconds": round(self.seconds, 1),
            "tests": len(self.tests),
            "counts": self.counts(),
            "not_passed": {
                test: outcome.outcome
                for test, outcome in sorted(self.tests.items())
                if outcome.outcome != "passed"
            },
        }


def _rank(outcome: Outcome) -> int:
    return OUTCOMES.index(outcome.outcome)


@dataclass(frozen=True)
class Difference:
    """A test with two outcomes."""

    test: str
    routed: Outcome
    straight: Outcome

    @property
    def lost(self) -> bool:
        """Whether it is as it should be straight, and is not over gRPC."""
        return self.straight.outcome in _AS_IT_SHOULD


def differences(routed: Run, straight: Run) -> list[Difference]:
    """Return the tests whose outcomes differ, by name."""
    names: Iterable[str] = sorted({*routed.tests, *straight.tests})
    absent = Outcome(NOT_RUN)
    pairs = (
        Difference(name, routed.tests.get(name, absent), straight.tests.get(name, absent))
        for name in names
    )
    return [pair for pair in pairs if pair.routed.outcome != pair.straight.outcome]
