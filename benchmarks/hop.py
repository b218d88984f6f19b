"""The cost of the hop: Django on its own backend, and Django through a shard server.

Both talk to the same PostgreSQL and the same tables, in one run, in turns: direct
over the unix socket with the tenant's schema in search_path, ours through a real
shard server that reaches PostgreSQL over the same socket. Only ratios travel from
machine to machine.
"""

import argparse
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks import breakdown, report, servers
from benchmarks.comparison import Candidate, compare
from benchmarks.works import WORKS

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parent.parent
_RESULTS = _ROOT / "benchmarks" / "results"
_OURS = "django-mtdd"
_TRACED = 3000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    given = _arguments(arguments)
    console = Console()
    with servers.started() as postgres:
        if given.profile:
            with _candidates(postgres, given, console, traced=True) as (_, ours):
                console.print(breakdown.table(ours.ask(do="trace", count=_TRACED)))
            return 0
        with _candidates(postgres, given, console) as candidates:
            measured = compare(
                candidates,
                given.work or list(WORKS),
                given.rounds,
                lambda done: console.print(f"Round {done} of {given.rounds} done."),
            )
        version = postgres.version
    report.show(console, measured, f"PostgreSQL {version}, {given.rounds} rounds")
    if not given.variant and not given.work:
        report.write(_RESULTS, measured, {"postgresql": version, "rounds": given.rounds})
        console.print(f"Written to {_RESULTS.relative_to(_ROOT)}/latest.json and latest.md.")
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="at least 7 for a figure to quote")
    parser.add_argument("--work", action="append", choices=list(WORKS), help="only this one")
    parser.add_argument(
        "--profile", action="store_true", help="break one point query down, in microseconds"
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'NAME=CHECKOUT [VARIABLE=VALUE ...]'",
        help="also measure another checkout of the project, or this one in another environment; "
        "ADDRESS=unix sets the shard server's address",
    )
    return parser.parse_args(arguments)


@contextmanager
def _candidates(
    postgres: servers.Postgres,
    given: argparse.Namespace,
    console: Console,
    *,
    traced: bool = False,
) -> Iterator[Sequence[Candidate]]:
    """Run direct Django, ours, and the variants asked for."""
    variants = [(_OURS, _ROOT, dict[str, str]())]
    for text in given.variant:
        name, _, rest = text.partition("=")
        checkout, *pairs = shlex.split(rest) or [""]
        variables = dict(pair.split("=", 1) for pair in pairs)
        variants.append((name, Path(checkout or _ROOT).resolve(), variables))
    with ExitStack() as stack:
        ours = []
        schema = ""
        for number, (name, root, environment) in enumerate(variants):
            console.print(f"Starting {name} and its tenant ...")
            registry, database = f"registry{number}", f"shard{number}"
            postgres.create_database(registry)
            shard_dsn = postgres.create_shard_database(database)
            unix = environment.pop("ADDRESS", "") == "unix"
            stamps = breakdown.environment(stack) if traced else {}
            shard = servers.Shard(
                shard_dsn,
                root=root,
                address=f"unix:{postgres.folder.parent}/{name}.sock" if unix else None,
                module="benchmarks.traced_server" if traced else "mtdd_router.server",
                environment=environment | stamps,
            )
            stack.enter_context(shard)
            candidate_environment = environment | {
                "MTDD_BENCH_CANDIDATE": "grpc",
                "MTDD_BENCH_DSN": postgres.dsn(registry),
                **stamps,
            }
            candidate = Candidate(name, root=root, environment=candidate_environment)
            stack.enter_context(candidate)
            made = candidate.ask(do="provision", address=shard.address)
            schema = schema or made["schema"]
            postgres.analyze(database)
            ours.append(candidate)
            if os.environ.get("MTDD_BENCH_SHOW_PIDS"):
                console.print(f"{name}: client {candidate.pid}, shard server {shard.pid}")
        direct = Candidate(
            "direct",
            root=_ROOT,
            environment={
                "MTDD_BENCH_CANDIDATE": "direct",
                "MTDD_BENCH_DSN": postgres.dsn("shard0"),
                "MTDD_BENCH_SCHEMA": schema,
            },
        )
        stack.enter_context(direct)
        yield [direct, *ours]
