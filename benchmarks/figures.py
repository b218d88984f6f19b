"""What a row measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

__all__ = ["Check", "Result", "quantile", "ratios"]


def quantile(values: Sequence[float], fraction: float) -> float:
    """Return a quantile of *values*."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)]


def ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio in each round."""
    return [one / other for one, other in zip(mine, theirs, strict=True)]


@dataclass
class Check:
    """A figure that has a bar, or is shown beside one that has.

    Attributes:
        what: it is.
        values: one for each round; their median counts.
        most: the bar, if it must not be exceeded.
        least: the bar, if it must be reached.
        unit: of all of them; ``x`` is a ratio.
    """

    what: str
    values: list[float]
    most: float | None = None
    least: float | None = None
    unit: str = "x"

    @property
    def value(self) -> float:
        """What was measured."""
        return median(self.values)

    @property
    def passed(self) -> bool | None:
        """Whether the bar was met; None without one."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    @property
    def used(self) -> float | None:
        """How much of what is allowed was used: 1 is the bar. None without one."""
        if self.most is not None:
            return self.value / self.most
        return None if self.least is None else self.least / self.value

    def as_json(self) -> dict[str, Any]:
        """Return it for the results."""
        return {
            "what": self.what,
            "value": round(self.value, 4),
            "by_round": [round(value, 4) for value in self.values],
            "most": self.most,
            "least": self.least,
            "unit": self.unit,
        }


@dataclass
class Result:
    """A row's outcome.

    Attributes:
        number: of the row.
        title: of the row.
        rounds: each candidate's durations in microseconds, round by round.
        checks: its figures.
        facts: what else is to be known, a sentence each.
    """

    number: str
    title: str
    rounds: dict[str, list[list[float]]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def medians(self, name: str) -> list[float]:
        """Return the median of each round of the candidate *name*."""
        return [median(durations) for durations in self.rounds[name]]

    def as_json(self) -> dict[str, Any]:
        """Return it for the results."""
        candidates = {}
        for name, rounds in self.rounds.items():
            every = [value for durations in rounds for value in durations]
            candidates[name] = {
                "count": len(every),
                "p50_us": round(quantile(every, 0.5), 1),
                "p99_us": round(quantile(every, 0.99), 1),
                "p50_us_by_round": [round(value, 1) for value in self.medians(name)],
            }
        return {
            "row": self.number,
            "title": self.title,
            "candidates": candidates,
            "checks": [check.as_json() for check in self.checks],
            "facts": self.facts,
        }
