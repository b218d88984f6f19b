"""What a row of the table is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.candidates import Spec
from benchmarks.figures import Check, Result, ratios
from benchmarks.world import World

__all__ = ["Row", "Side", "in_turns"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Side:
    """A candidate in a row.

    Attributes:
        spec: which one.
        most: the bar for its ratio to the row's first side.
        work: what it does instead of the row's work, if it may say something that others cannot.
    """

    spec: Spec
    most: float | None = None
    work: str = ""


@dataclass(frozen=True)
class Row(ABC):
    """A row.

    Attributes:
        number: in the table; rows that belong together share the number before a letter.
        title: what is measured.
    """

    number: str
    title: str
    sides: Sequence[Side] = field(default=(), kw_only=True)

    @property
    def specs(self) -> list[Spec]:
        """The candidates that it asks the world for."""
        return [side.spec for side in self.sides]

    @abstractmethod
    def measure(self, world: World, rounds: int) -> Result:
        """Measure it."""

    def compare(self, result: Result) -> None:
        """Add the ratio of each side to the first."""
        base = self.sides[0].spec.name
        for side in self.sides[1:]:
            name = side.spec.name
            found = ratios(result.medians(name), result.medians(base))
            result.checks.append(Check(f"{name} / {base}", found, most=side.most))


def in_turns(candidates: Sequence[_T], number: int) -> Sequence[_T]:
    """Return the candidates for turn *number*: forwards, then backwards."""
    return candidates if number % 2 == 0 else tuple(reversed(candidates))
