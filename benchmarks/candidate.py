"""A process that does works on demand: one candidate of a comparison.

Reads one JSON command a line from standard input and answers with one line:
``{"do": "provision", "address": ...}`` makes the tenant and its rows and answers with
the schema; ``{"do": "warm"}`` opens connections; ``{"do": "run", "work": ...,
"count": ...}`` answers with the duration of each run, in microseconds; ``trace``
before a run adds the stamps of `benchmarks.breakdown`.
"""

import gc
import json
import os
import sys
from time import perf_counter_ns
from typing import Any

import django

from benchmarks.works import TENANT, WORKS, Tables

__all__ = ["main"]


def _provision(address: str) -> dict[str, Any]:
    from django.core.management import call_command

    from tenants.services.shards import register_shard
    from tenants.services.tenants import create_tenant

    call_command("migrate", verbosity=0)
    register_shard("bench", address)
    tenant = create_tenant(TENANT)
    Tables(TENANT).fill()
    return {"schema": tenant.namespace}


def _run(tables: Tables, name: str, count: int) -> dict[str, Any]:
    work = WORKS[name]
    run, durations = work.run, []
    gc.collect()
    for _ in range(count):
        started = perf_counter_ns()
        run(tables)
        durations.append((perf_counter_ns() - started) / 1000)
        if work.writes:
            tables.empty()
    return {"durations": durations}


def main() -> None:
    """Obey until standard input ends."""
    django.setup()
    tenant = None if os.environ["MTDD_BENCH_CANDIDATE"] == "direct" else TENANT
    tables: Tables | None = None
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any] = {}
        if command["do"] == "provision":
            answer = _provision(command["address"])
        else:
            tables = tables or Tables(tenant)
            if command["do"] == "trace":
                from benchmarks import breakdown

                answer = breakdown.trace_client(tables, command["count"])
            elif command["do"] == "run":
                answer = _run(tables, command["work"], command["count"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
