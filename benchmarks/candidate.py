"""A process that works on demand: a candidate of a comparison, or one of its processes.

Reads one JSON command a line from standard input and answers with one line. Commands are
the methods of `Commands`.
"""

import gc
import json
import os
import random
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from benchmarks.works import WORKS

__all__ = ["main"]


class Commands:
    """What a candidate does when told to, each with the answer that it gives."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.random = random.Random(os.getpid())
        self.turn = 0

    def run(self, *, work: str, count: int, tenants: Sequence[str], order: str) -> Any:
        """Do *work* that often, in turns or at random; answer with microseconds."""
        run, after, done = self._work(work)
        if order == "random":
            turns = self.random.choices(tenants, k=count)
        else:
            begin, self.turn = self.turn, self.turn + count
            turns = [tenants[number % len(tenants)] for number in range(begin, self.turn)]
        durations = []
        gc.collect()
        for tenant in turns:
            started = perf_counter_ns()
            run(tenant)
            done(tenant)
            durations.append((perf_counter_ns() - started) / 1000)
            if after is not None:
                after(tenant)
        return durations

    def load(
        self, *, work: str, seconds: float, tenants: Sequence[str], threads: int, warm: int
    ) -> Any:
        """Do *work* at random tenants in many threads; answer with microseconds.

        Each thread first visits *warm* tenants, as if it had been there for long.
        """
        durations: list[float] = []
        failures: list[BaseException] = []
        ready = threading.Barrier(threads + 1)

        def client(chosen: random.Random) -> None:
            mine = []
            try:
                with ExitStack() as stack:
                    run, _, done = self._work(work, stack)
                    for tenant in tenants[:warm]:
                        run(tenant)
                    ready.wait()
                    end = perf_counter() + seconds
                    while perf_counter() < end:
                        tenant = chosen.choice(tenants)
                        started = perf_counter_ns()
                        run(tenant)
                        done(tenant)
                        mine.append((perf_counter_ns() - started) / 1000)
            except BaseException as exc:
                failures.append(exc)
                ready.abort()
                raise
            durations.extend(mine)

        clients = [
            threading.Thread(target=client, args=[random.Random(self.random.random())])
            for _ in range(threads)
        ]
        for each in clients:
            each.start()
        ready.wait()
        for each in clients:
            each.join()
        if failures:
            raise failures[0]
        return durations

    def growth(self, *, work: str, tenant: str) -> Any:
        """Do *work* once; answer with microseconds and by how many bytes memory grew."""
        run, _, _ = self._work(work)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        before = _memory("VmHWM")
        started = perf_counter_ns()
        run(tenant)
        return {
            "duration": (perf_counter_ns() - started) / 1000,
            "bytes": _memory("VmHWM") - before,
        }

    def _work(
        self, name: str, stack: ExitStack | None = None
    ) -> tuple[Callable[[str], object], Callable[[str], object] | None, Callable[[str], object]]:
        raise NotImplementedError


class StraightCommands(Commands):
    """psycopg alone, on one connection."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import psycopg

        super().__init__(settings)
        self._connection = psycopg.connect(settings["dsn"], autocommit=True)

    def _work(
        self,
        name: str,
        stack: ExitStack | None = None,  # noqa: ARG002 - it has one connection only
    ) -> Any:
        straight = WORKS[name].straight
        assert straight is not None, name
        namespaces = self.settings["namespaces"]

        def run(tenant: str) -> None:
            straight(self._connection, namespaces[tenant])

        return run, None, lambda _: None


class DjangoCommands(Commands):
    """Django, in any way to the database."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import django

        super().__init__(settings)
        django.setup()

    def provision(self, *, sites: dict[str, dict[str, Any]]) -> Any:
        """Register the shards of the *sites* and make their tenants; answer with namespaces."""
        from benchmarks.provision import provision

        return provision(sites)

    def trace(self, *, count: int, tenants: Sequence[str]) -> Any:
        """Do point queries with stamps; see `benchmarks.breakdown`."""
        from benchmarks.breakdown import trace_client

        run, _, _ = self._work("get")
        return trace_client(run, tenants[0], count)

    def resolve(self, *, lookups: int, customers: int) -> Any:
        """Resolve names of the registry; see `benchmarks.resolving`."""
        from benchmarks.resolving import resolve

        return resolve(lookups, customers)

    def _work(self, name: str, stack: ExitStack | None = None) -> Any:
        from django.db import connections

        from benchmarks.tables import tables_of

        work, tables = WORKS[name], tables_of(self.settings)
        tables.random = self.random
        if stack is not None:
            # A thread's connections are its own, and end with it.
            tables.random = random.Random(threading.get_ident())
            stack.callback(connections.close_all)
        after = work.after

        def run(tenant: str) -> None:
            work.run(tables, tenant)

        def make_good(tenant: str) -> None:
            assert after is not None
            after(tables, tenant)

        return run, make_good if after else None, tables.done


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Obey until standard input ends."""
    settings = json.loads(Path(os.environ["MTDD_BENCH_CANDIDATE"]).read_text())
    kind = StraightCommands if settings["kind"] == "psycopg" else DjangoCommands
    commands = kind(settings)
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(commands, command.pop("do"))(**command)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
