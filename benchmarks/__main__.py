"""``python -m benchmarks``: what is promised about speed, measured beside what it is compared with.

Straight psycopg, Django direct, Django through PgBouncer, django-tenants and ours work on
one PostgreSQL, in one run, in turns. Only ratios travel from machine to machine.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from rich.console import Console

__all__ = ["main"]

_NETWORK = 0.0005
_TRACED = 3000
_WIDTH = 150
_BUSY = 0.3
_QUICK_ROWS = "1,2,3,4,6,7,9,13"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    given = _arguments(arguments)
    if given.quick:
        os.environ["MTDD_BENCH_QUICK"] = "1"
    missing = [name for name in ("django_tenants", "matplotlib") if find_spec(name) is None]
    if missing:
        raise SystemExit(f"Missing: {', '.join(missing)}. Run: pip install -e '.[bench]'")
    if hasattr(os, "sched_setaffinity"):
        # Everything is started by this process, and so has these processors in common.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.processors])
    if given.profile:
        from benchmarks import breakdown
        from benchmarks.candidates import Variant

        breakdown.profile(Console(), _TRACED, [Variant.parse(text) for text in given.variant])
        return 0
    console = Console()
    # Where it is piped, it need not fit a terminal.
    _measure(given, console if console.is_terminal else Console(width=_WIDTH))
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each row; 5 by default")
    parser.add_argument("--rows", default="", help="only these, by number: 1,2,6")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rows, tenants and rounds, nothing is written"
    )
    parser.add_argument(
        "--keep", action="store_true", help="write the chosen rows into the results, too"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="CANDIDATE", help="such as pgbouncer"
    )
    parser.add_argument(
        "--profile", action="store_true", help="break one point query down, in microseconds"
    )
    parser.add_argument(
        "--processors", type=int, default=2, help="for everything together; 2 by default"
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'NAME=CHECKOUT [VARIABLE=VALUE ...]'",
        help="also measure another checkout of the project, or this one in another environment",
    )
    return parser.parse_args(arguments)


def _measure(given: argparse.Namespace, console: Console) -> None:
    from benchmarks import plot, report
    from benchmarks.candidates import BARE, OURS, Variant
    from benchmarks.middle import DelayLine
    from benchmarks.rows import ROWS, Result, Row
    from benchmarks.rows.row import Side
    from benchmarks.world import World

    variants = [Variant.parse(text) for text in given.variant]

    def sides(row: Row) -> list[Side]:
        kept = [
            side
            for side in row.sides
            if side.spec.kind not in given.without and side.spec.variant not in given.without
        ]
        return kept + [
            replace(side, spec=replace(side.spec, variant=variant.name))
            for variant in variants
            for side in kept
            if side.spec.kind == OURS and not side.spec.variant
        ]

    numbers = set(filter(None, (given.rows or (_QUICK_ROWS if given.quick else "")).split(",")))
    rows = [
        replace(row, sides=sides(row))
        for row in ROWS
        if not numbers or row.number in numbers or row.number.rstrip("bc") in numbers
    ]
    facts = {
        "rounds": given.rounds,
        "processors_used": given.processors,
        "load_before": round(os.getloadavg()[0], 1),
    }
    if facts["load_before"] > _BUSY * (os.cpu_count() or 1):
        console.print(
            f"The machine is busy, with a load of {facts['load_before']}: see the spread."
        )
    if any(spec.round_trip for row in rows for spec in row.specs):
        errors = [1e6 * error for error in DelayLine.calibrate(_NETWORK)]
        middle, high = errors[len(errors) // 2], errors[len(errors) * 9 // 10]
        facts["delay_error_us"] = {"p50": round(middle, 1), "p90": round(high, 1)}
        console.print(
            f"The delay of {1e6 * _NETWORK:,.0f} µs a round trip is off by {middle:+.0f} µs, "
            f"one in ten by more than {high:+.0f} µs."
        )
    whole = not (variants or given.quick or given.without)
    writes = whole and (not numbers or given.keep)
    specs = [spec for row in rows for spec in row.specs]
    results: list[Result] = []
    with World(specs, console.print, variants=[Variant(), BARE, *variants]) as world:
        facts["postgresql"] = world.postgres.version
        for row in rows:
            console.print(f"{row.number:>3}  {row.title} ...")
            results.append(row.measure(world, given.rounds))
            if writes:
                # At once: a later row may fail, after many minutes.
                report.write(results[-1:], facts)
    title = f"PostgreSQL {facts['postgresql']}, {given.rounds} rounds"
    report.show(console, results, title)
    if writes:
        found = report.write([], facts)
        plot.draw(found, report.RESULTS)
        report.update_readme(found)
        console.print("Written: benchmarks/results/latest.json, .svg and .png, and the README.")


if __name__ == "__main__":
    sys.exit(main())
