"""A PostgreSQL with ICU, which Django's suite asks for, and what a suite leaves in it.

The one from pip is built without ICU; Debian's has it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.servers import Postgres, started
from tests.suites.environments import SuiteError

__all__ = ["Leftovers", "Traces", "postgres_with_icu"]

_OVERRIDE: Final = "MTDD_POSTGRES_BIN"
_DEBIAN: Final = Path("/usr/lib/postgresql")
_PACKAGE: Final = "postgresql"


@contextmanager
def postgres_with_icu() -> Iterator[Postgres]:
    """Run a PostgreSQL that has ICU; as root on Debian, install it where it is missing.

    Raises:
        SuiteError: if there is none, saying what to do.
    """
    named = os.environ.get(_OVERRIDE)
    os.environ[_OVERRIDE] = named or str(_debian_programs() or _install())
    try:
        with started() as postgres:
            with psycopg.connect(postgres.dsn("postgres")) as connection:
                row = connection.execute(
                    "SELECT count(*) FROM pg_collation WHERE collprovider = 'i'"
                ).fetchone()
            if row == (0,):
                raise SuiteError(
                    f"PostgreSQL in {os.environ[_OVERRIDE]} is built without ICU, which Django's "
                    f"suite needs. Name another's programs by {_OVERRIDE}."
                )
            yield postgres
    finally:
        if named is None:
            del os.environ[_OVERRIDE]


def _debian_programs() -> Path | None:
    found = [path.parent for path in _DEBIAN.glob("*/bin/initdb")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


def _install() -> Path:
    manual = (
        "Django's suite needs a PostgreSQL with ICU. On Debian: sudo apt-get install postgresql. "
        f"Elsewhere, name the folder of its programs by {_OVERRIDE}."
    )
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SuiteError(manual)
    print("Installing PostgreSQL ...", flush=True)
    # Only its programs are wanted: no cluster of Debian's own is made or started.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    configuration = Path("/etc/postgresql-common/createcluster.d/django-mtdd.conf")
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text("create_main_cluster = false\n")
    for command in (
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", _PACKAGE],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SuiteError(f"{' '.join(command)} failed:\n{done.stderr}\n{manual}")
    programs = _debian_programs()
    if programs is None:
        raise SuiteError(manual)
    return programs


@dataclass(frozen=True)
class Traces:
    """What there is in a PostgreSQL besides data."""

    roles: frozenset[str]
    databases: frozenset[str]
    schemas: frozenset[str]

    @classmethod
    def of(cls, postgres: Postgres, *databases: str) -> "Traces":
        """Read roles, databases, and the schemas of *databases*."""
        with psycopg.connect(postgres.dsn("postgres")) as connection:
            roles = connection.execute("SELECT rolname FROM pg_roles").fetchall()
            names = connection.execute("SELECT datname FROM pg_database").fetchall()
        schemas = set()
        for database in databases:
            with psycopg.connect(postgres.dsn(database)) as connection:
                rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
            schemas |= {f"{database}.{name}" for (name,) in rows}
        return cls(
            frozenset(name for (name,) in roles),
            frozenset(name for (name,) in names),
            frozenset(schemas),
        )


@dataclass(frozen=True)
class Leftovers:
    """What a run over gRPC left in PostgreSQL; all of it should be empty."""

    roles: list[str]
    databases: list[str]
    schemas: list[str]
    transactions: list[str]
    connections_over_bound: int

    @classmethod
    def since(
        cls, before: Traces, postgres: Postgres, databases: tuple[str, ...], bound: int
    ) -> "Leftovers":
        """Compare with *before*; *bound* is the shard server's pool size."""
        after = Traces.of(postgres, *databases)
        with psycopg.connect(postgres.dsn("postgres")) as connection:
            rows = connection.execute(
                "SELECT state, query FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
            prepared = connection.execute("SELECT gid FROM pg_prepared_xacts").fetchall()
        left_open = [f"{state}: {query}" for state, query in rows if state != "idle"]
        return cls(
            sorted(after.roles - before.roles),
            sorted(after.databases - before.databases),
            sorted(after.schemas - before.schemas),
            left_open + [f"prepared: {gid}" for (gid,) in prepared],
            max(0, len(rows) - bound),
        )

    def __str__(self) -> str:
        """Return a line for each kind that is not empty."""
        named = {
            "roles": self.roles,
            "databases": self.databases,
            "schemas": self.schemas,
            "open transactions": self.transactions,
        }
        lines = [f"{kind}: {', '.join(items)}" for kind, items in named.items() if items]
        if self.connections_over_bound:
            lines.append(f"{self.connections_over_bound} connections over the pool's bound")
        return "\n".join(lines)
