"""What a comparison says, for people and as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.suites.outcomes import Difference, Run, differences
from tests.suites.postgres import Leftovers

__all__ = ["Comparison", "write_json"]

_SHOWN_LINES = 12


@dataclass(frozen=True)
class Comparison:
    """Both runs of a suite."""

    title: str
    routed: Run
    straight: Run
    leftovers: Leftovers

    @property
    def differing(self) -> list[Difference]:
        """The tests whose outcomes differ."""
        return differences(self.routed, self.straight)

    @property
    def lost(self) -> list[Difference]:
        """The tests that are as they should be straight, and are not over gRPC."""
        return [one for one in self.differing if one.lost]

    @property
    def holds(self) -> bool:
        """Whether nothing is lost, nothing is left, and the suite did run."""
        ran = self.straight.counts()["passed"] > 0
        return ran and not self.lost and not str(self.leftovers)

    def print(self) -> None:
        """Print counts, differences and what was left."""
        print(f"\n{self.title}")
        routed, straight = self.routed, self.straight
        rows: list[tuple[str, str, str]] = [
            ("", "over gRPC", "straight"),
            ("tests", f"{len(routed.tests):,}", f"{len(straight.tests):,}"),
        ]
        there = straight.counts()
        rows += [(kind, f"{n:,}", f"{there[kind]:,}") for kind, n in routed.counts().items()]
        rows.append(("seconds", f"{routed.seconds:,.0f}", f"{straight.seconds:,.0f}"))
        for row in rows:
            print("  {:<22}{:>12}{:>12}".format(*row))
        print(f"  {'ratio':<22}{routed.seconds / straight.seconds:>12.2f}")
        lost = self.lost
        others = [one for one in self.differing if not one.lost]
        self._print_each(f"Lost over gRPC: {len(lost)}", lost, details=True)
        self._print_each(f"Otherwise different: {len(others)}", others, details=False)
        print(f"Left in PostgreSQL: {str(self.leftovers) or 'nothing'}")
        passed = routed.counts()["passed"]
        print(f"\n{passed} passed, {len(lost)} failed", flush=True)

    @staticmethod
    def _print_each(title: str, found: Sequence[Difference], *, details: bool) -> None:
        print(title)
        for one in found:
            print(f"  {one.test}: {one.straight.outcome} straight, {one.routed.outcome} over gRPC")
            if details:
                lines = one.routed.detail.strip().splitlines()[-_SHOWN_LINES:]
                print("".join(f"      {line}\n" for line in lines), end="")

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "title": self.title,
            "holds": self.holds,
            "routed": self.routed.as_json(),
            "straight": self.straight.as_json(),
            "differences": [
                {
                    "test": one.test,
                    "routed": asdict(one.routed),
                    "straight": asdict(one.straight),
                    "lost": one.lost,
                }
                for one in self.differing
            ],
            "leftovers": asdict(self.leftovers),
        }


def write_json(comparisons: Iterable[Comparison], path: Path) -> None:
    """Write *comparisons* to *path*."""
    text = json.dumps([comparison.as_json() for comparison in comparisons], indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")
