"""Candidates as processes, seen from the one that compares them."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.usage import Usage, usage

__all__ = ["BARE", "OURS", "ROOT", "Candidate", "Spec", "Variant"]

OURS = "django-mtdd"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Spec:
    """A candidate that a row asks for.

    Attributes:
        kind: ``psycopg``, ``direct``, ``pgbouncer``, ``empty hop`` (direct through
            `benchmarks.hop`), ``django-tenants`` or `OURS`.
        site: where it works, see `benchmarks.sites`.
        round_trip: what its link is delayed by, in seconds, both ways together.
        unix: it reaches PostgreSQL by its unix socket, not over TCP.
        reconnects: it opens a connection for each request.
        processes: how many it consists of.
        threads: in each of them, when under load.
        keeps: it keeps the connections of all its tenants, which the default does not.
        note: what tells it apart in the results.
        variant: the name of another checkout or environment, see `Variant`.
    """

    kind: str
    site: str = "one"
    round_trip: float = 0.0
    unix: bool = False
    reconnects: bool = False
    processes: int = 1
    threads: int = 1
    keeps: bool = False
    note: str = ""
    variant: str = ""

    @property
    def name(self) -> str:
        """In results."""
        return ", ".join(filter(None, (self.kind, self.note, self.variant)))


@dataclass(frozen=True)
class Variant:
    """Another checkout of the project, or this one in another environment.

    Attributes:
        module: what it runs in the place of a shard server; empty for the one that all run.
    """

    name: str = ""
    root: Path = ROOT
    variables: Mapping[str, str] = field(default_factory=dict)
    module: str = ""

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read ``NAME=CHECKOUT [VARIABLE=VALUE ...]``."""
        name, _, rest = text.partition("=")
        checkout, *pairs = shlex.split(rest) or [""]
        return cls(name, Path(checkout or ROOT).resolve(), dict(p.split("=", 1) for p in pairs))


BARE = Variant("bare server", module="benchmarks.bare")
"""Our client with a server that only passes on; see `benchmarks.bare`."""


class Candidate:
    """The running processes of a candidate; as a context manager, until the block ends.

    Args:
        spec: what it is.
        settings: for `benchmarks.settings`.
        tenants: the names of its tenants.
        variant: the checkout whose code it runs.
    """

    def __init__(
        self, spec: Spec, settings: Mapping[str, Any], tenants: list[str], variant: Variant
    ) -> None:
        self.spec = spec
        self.tenants = tenants
        self.root = variant.root
        # A file, since 10,000 tenants are too much for a variable.
        self._folder = tempfile.TemporaryDirectory(prefix="mtdd-bench-candidate-")
        told = Path(self._folder.name, "settings.json")
        told.write_text(json.dumps(settings))
        self.environment = {
            **os.environ,
            **variant.variables,
            "PYTHONPATH": str(variant.root),
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "MTDD_BENCH_CANDIDATE": str(told),
        }
        # Ours is compiled once, as what is installed is.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", "-m", "benchmarks.candidate"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=variant.root,
                env=self.environment,
            )
            for _ in range(spec.processes)
        ]

    @property
    def name(self) -> str:
        """In results."""
        return self.spec.name

    @property
    def pid(self) -> int:
        """Its one process."""
        (process,) = self._processes
        return process.pid

    def usage(self) -> Usage:
        """Return the processor time of all its processes."""
        return sum((usage(process.pid) for process in self._processes), Usage())

    def ask(self, **command: Any) -> Any:
        """Send a command to its one process, and return the answer."""
        (answer,) = self.ask_all(**command)
        return answer

    def ask_all(self, **command: Any) -> list[Any]:
        """Send a command to all its processes at once, and return their answers."""
        text = json.dumps(command) + "\n"
        lines = []
        try:
            for process in self._processes:
                assert process.stdin is not None
                process.stdin.write(text)
                process.stdin.flush()
            for process in self._processes:
                assert process.stdout is not None
                lines.append(process.stdout.readline())
        except BrokenPipeError:
            lines.append("")
        if not all(lines):
            raise SystemExit(f"The candidate {self.name!r} ended; see its traceback above.")
        return [json.loads(line) for line in lines]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the processes end."""
        processes, self._processes = self._processes, []
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self._folder.cleanup()
