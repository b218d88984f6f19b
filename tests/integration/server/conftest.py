"""Shard servers of one's own, on an empty database.

``MTDD_TEST_SHARD_DSN`` names a PostgreSQL other than the session's stack, as a role
that may create roles and databases: so the same tests run on every version.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.types import Isolation, Placement, TenantState
from tests.databases import drop_database
from tests.integration.server.running import RunningServer, StartServer


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest) -> str:
    """A PostgreSQL, as a role that is no superuser."""
    return os.environ.get("MTDD_TEST_SHARD_DSN") or request.getfixturevalue("shard_postgres_dsn")


@contextlib.contextmanager
def _empty_database(postgres_dsn: str) -> Iterator[str]:
    """Make an empty database; the roles and databases made from it go with it."""
    name = f"server_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        quoted = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
        # As in every database of a shard that has tenants with strict isolation.
        connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(quoted))
        dsn = make_conninfo(**{**conninfo_to_dict(postgres_dsn), "dbname": name})
        yield dsn
        _remove_tenants(dsn, connection)
        drop_database(connection, name)


@pytest.fixture
def shard_dsn(postgres_dsn: str) -> Iterator[str]:
    """A new, empty database."""
    with _empty_database(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def shared_dsn(postgres_dsn: str) -> Iterator[str]:
    """The database of ``shared_server``."""
    with _empty_database(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def shared_server(
    shared_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A shard server for tests that only put tenants on it."""
    with contextlib.ExitStack() as cleanup:
        yield _start(cleanup, tmp_path_factory.mktemp("shared"), shared_dsn)


@pytest.fixture
def shared_admin(shared_server: RunningServer, shared_dsn: str) -> Iterator[ShardAdmin]:
    """The administration of ``shared_server``; the test's tenants go afterwards."""
    admin = shared_server.admin()
    yield admin
    with psycopg.connect(shared_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM mtdd.placement")
        _remove_tenants(shared_dsn, connection)


def _remove_tenants(dsn: str, outside: psycopg.Connection[Any]) -> None:
    """Remove what a test left; roles and databases outlive the shard's database."""
    with psycopg.connect(dsn, autocommit=True) as inside:
        try:
            row = inside.execute("SELECT shard_id FROM mtdd.shard").fetchone()
        except psycopg.Error:
            return
        assert row is not None
        for (name,) in inside.execute("DELETE FROM mtdd.spare_schema RETURNING name").fetchall():
            inside.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))
        mark = f"%of shard {row[0]}%"
        roles = inside.execute(
            "SELECT r.rolname FROM pg_roles r JOIN pg_shdescription d ON d.objoid = r.oid"
            " AND d.classoid = 'pg_authid'::regclass WHERE d.description LIKE %s"
            # Who made others goes last.
            " ORDER BY d.description",
            [mark],
        ).fetchall()
        for (role,) in roles:
            quoted = sql.Identifier(role)
            databases = outside.execute(
                "SELECT datname FROM pg_database d JOIN pg_roles r ON r.oid = datdba"
                " WHERE rolname = %s",
                [role],
            ).fetchall()
            outside.execute(sql.SQL("SET ROLE {}").format(quoted))
            for (database,) in databases:
                outside.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(database)))
            outside.execute("RESET ROLE")
            inside.execute(sql.SQL("SET ROLE {}").format(quoted))
            inside.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(quoted))
            inside.execute("RESET ROLE")
            own = sql.Identifier(inside.info.dbname)
            inside.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(own, quoted))
            inside.execute(sql.SQL("DROP ROLE {}").format(quoted))


@pytest.fixture
def start_server(shard_dsn: str, tmp_path: Path) -> Iterator[StartServer]:
    """Start shard servers: ``start_server(workers=2)``; each flag is a keyword."""
    with contextlib.ExitStack() as cleanup:
        yield lambda dsn=shard_dsn, **flags: _start(cleanup, tmp_path, dsn, **flags)


def _start(
    cleanup: contextlib.ExitStack,
    folder: Path,
    dsn: str,
    *,
    listening: bool = True,
    environment: dict[str, str] | None = None,
    program: Sequence[str] = ("-m", "mtdd_router.server"),
    **flags: Any,
) -> RunningServer:
    flags = {"address": "127.0.0.1:0", "log-format": "json", **flags}
    arguments = []
    for name, value in flags.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    log = folder / f"server-{secrets.token_hex(3)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stderr=output,
            stdout=output,
            env={
                **os.environ,
                "MTDD_SHARD_DSN": dsn,
                "PYTHONPATH": str(Path(__file__).parents[3]),
                **(environment or {}),
            },
        )
    cleanup.callback(_end, process)
    server = RunningServer(process, log)
    if listening:
        server.address = server.wait_event("listening")["address"].split()[0]
    return server


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def server(start_server: StartServer) -> RunningServer:
    """A shard server with one worker."""
    return start_server()


@pytest.fixture
def new_placement() -> Callable[..., Placement]:
    """Make placements whose namespaces nobody else has: ``new_placement("abc")``."""

    def make(tenant: str = "abc", **changes: Any) -> Placement:
        namespace = f"t_{tenant.replace('-', '_')}_{secrets.token_hex(4)}"
        values: dict[str, Any] = {
            "isolation": Isolation.SCHEMA,
            "namespace": namespace,
            "role": changes.get("namespace", namespace),
            "epoch": 1,
            "state": TenantState.ACTIVE,
            **changes,
        }
        return Placement(tenant=tenant, **values)

    return make


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="mtdd-") as folder:
        yield Path(folder)
