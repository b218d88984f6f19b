"""One suite run twice on one PostgreSQL: over a shard server, then straight."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import Postgres, Shard
from tests.suites.databases import routed_databases, straight_databases
from tests.suites.environments import CACHE, ROOT
from tests.suites.examining_server import NOTES
from tests.suites.outcomes import Run
from tests.suites.postgres import Leftovers, Traces
from tests.suites.refusals import Refusals

__all__ = ["Suite", "run_examined", "run_routed", "run_straight"]

_INSIDE: Final = Path(__file__).with_name("inside")
_SHARD_DATABASE: Final = "shard"
_POOL_SIZE: Final = 20


@dataclass(frozen=True)
class Suite:
    """A suite's command, to be run in *folder*.

    *options* are those of its databases, *environment* is added to this process's;
    *scope* says which tests it runs.
    """

    name: str
    command: Sequence[str]
    folder: Path
    options: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    scope: str = "all tests"


def run_routed(suite: Suite, postgres: Postgres) -> tuple[Run, Leftovers]:
    """Run *suite* over a shard server; return also what it left in PostgreSQL."""
    postgres.create_database(_SHARD_DATABASE)
    kept = (_SHARD_DATABASE, "postgres", "template1")
    with Shard(postgres.dsn(_SHARD_DATABASE), root=ROOT) as shard:
        before = Traces.of(postgres, *kept)
        run = _run(suite, "routed", routed_databases(shard.address, dict(suite.options)))
        return run, Leftovers.since(before, postgres, kept, _POOL_SIZE)


def run_examined(suite: Suite, postgres: Postgres) -> tuple[Run, Refusals]:
    """Run *suite* over a shard server that notes what it would refuse to a tenant."""
    postgres.create_database(_SHARD_DATABASE)
    with tempfile.TemporaryDirectory(prefix="mtdd-suite-") as folder:
        notes = Path(folder) / "notes.json"
        with Shard(
            postgres.dsn(_SHARD_DATABASE),
            root=ROOT,
            module="tests.suites.examining_server",
            environment={NOTES: str(notes)},
        ) as shard:
            run = _run(suite, "examined", routed_databases(shard.address, dict(suite.options)))
        return run, Refusals.read(notes)


def run_straight(suite: Suite, postgres: Postgres) -> Run:
    """Run *suite* with Django's own backend."""
    return _run(suite, "straight", straight_databases(postgres, dict(suite.options)))


def _run(suite: Suite, way: str, databases: Mapping[str, Any]) -> Run:
    log = CACHE / "logs" / f"{suite.name}-{way}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"Running {suite.name} {way}; its output: {log.relative_to(ROOT)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mtdd-suite-") as folder, log.open("wb") as output:
        results = Path(folder) / "results.jsonl"
        environment = {
            **os.environ,
            **suite.environment,
            "PYTHONPATH": os.pathsep.join([str(_INSIDE), str(suite.folder)]),
            "SUITE_DATABASES": json.dumps(databases),
            "SUITE_RESULTS": str(results),
        }
        begun = time.monotonic()
        process = subprocess.Popen(
            suite.command,
            cwd=suite.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait()
        finally:
            # Also those that the suite forked, which would wait for their parent for ever.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        seconds = time.monotonic() - begun
        return Run.read(results, status=status, seconds=seconds)
