"""Rows about how long one thing takes, one at a time."""

from dataclasses import dataclass

from benchmarks.figures import Result
from benchmarks.rows.row import Row, in_turns
from benchmarks.works import WORKS
from benchmarks.world import World

__all__ = ["Latency"]

# A round's runs are cut into so many blocks, in which candidates alternate, so that a
# noisy second of the machine meets all of them.
_BLOCKS = 3


@dataclass(frozen=True)
class Latency(Row):
    """Each side does the same work, in turns.

    Attributes:
        work: of `benchmarks.works`.
        order: in which tenants are visited, ``turns`` or ``random``.
        visits: how often in each round, if not as often as the work says.
    """

    work: str
    order: str = "turns"
    visits: int | None = None

    def measure(self, world: World, rounds: int) -> Result:
        candidates = [(world.candidate(side.spec), side.work or self.work) for side in self.sides]
        result = Result(self.number, self.title, {each.name: [] for each, _ in candidates})
        count = self.visits or WORKS[self.work].count
        blocks = min(_BLOCKS, count)
        for each, work in candidates:
            # Every tenant has been visited once, so that nothing is measured that is
            # done once only.
            warm = max(len(each.tenants), count // 3, 1)
            each.ask(do="run", work=work, order="turns", count=warm, tenants=each.tenants)
        for number in range(rounds):
            for each, _ in candidates:
                result.rounds[each.name].append([])
            for block in range(blocks):
                for each, work in in_turns(candidates, number + block):
                    done = each.ask(
                        do="run",
                        work=work,
                        order=self.order,
                        count=count // blocks,
                        tenants=each.tenants,
                    )
                    result.rounds[each.name][-1].extend(done)
        self.compare(result)
        return result
