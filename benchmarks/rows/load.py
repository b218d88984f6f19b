"""Rows about many threads in several processes."""

from dataclasses import dataclass

from benchmarks.figures import Check, Result, quantile, ratios
from benchmarks.rows.row import Row, in_turns
from benchmarks.sites import QUICK
from benchmarks.world import World

__all__ = ["Load"]


@dataclass(frozen=True)
class Load(Row):
    """Each side is under load for a while, in turns.

    Attributes:
        work: of `benchmarks.works`, at random tenants.
        seconds: of load in each round.
        least_throughput: the bar for the last side's throughput, of the first's.
        most_p99: the bar for the last side's p99, of the first's.
        note: a fact for the results.
    """

    work: str
    seconds: float = 1.0 if QUICK else 2.0
    least_throughput: float | None = None
    most_p99: float | None = None
    note: str = ""

    def measure(self, world: World, rounds: int) -> Result:
        candidates = [world.candidate(spec) for spec in self.specs]
        result = Result(self.number, self.title, {each.name: [] for each in candidates})
        rates: dict[str, list[float]] = {each.name: [] for each in candidates}
        for number in range(-1, rounds):
            for each in in_turns(candidates, number):
                keeps = each.spec.kind == "direct" and not each.spec.reconnects
                answers = each.ask_all(
                    do="load",
                    work=self.work,
                    seconds=self.seconds if number >= 0 else self.seconds / 4,
                    tenants=each.tenants,
                    threads=each.spec.threads,
                    warm=len(each.tenants) if keeps else 1,
                )
                durations = [duration for answer in answers for duration in answer]
                if number >= 0:
                    result.rounds[each.name].append(durations)
                    rates[each.name].append(len(durations) / self.seconds)
        if self.least_throughput is None:
            self.compare(result)
        else:
            self._compare_throughput(result, rates)
        result.facts += [
            f"{name}: {sorted(values)[len(values) // 2]:,.0f} a second"
            for name, values in rates.items()
        ]
        if self.note:
            result.facts.append(self.note)
        world.retire(self.specs)
        return result

    def _compare_throughput(self, result: Result, rates: dict[str, list[float]]) -> None:
        base, ours = self.sides[0].spec.name, self.sides[-1].spec.name
        result.checks.append(
            Check(
                f"throughput, {ours} / {base}",
                ratios(rates[ours], rates[base]),
                least=self.least_throughput,
            )
        )
        highs = {
            name: [quantile(durations, 0.99) for durations in result.rounds[name]]
            for name in (base, ours)
        }
        result.checks.append(
            Check(f"p99, {ours} / {base}", ratios(highs[ours], highs[base]), most=self.most_p99)
        )
