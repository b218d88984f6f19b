"""The servers that a benchmark stands on: one PostgreSQL, and shard servers in front of it.

PostgreSQL listens on a unix socket and on TCP, trusts the users of its private
folder, and keeps its files in memory where it may: disks are not what is compared.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import psycopg
from psycopg.conninfo import make_conninfo

from mtdd_router.embedded.account import postgres_account
from mtdd_router.embedded.binaries import postgres_programs
from mtdd_router.embedded.folders import scratch_folder
from mtdd_router.embedded.ports import HOST, choose_port
from mtdd_router.embedded.postgres import SUPERUSER, PostgresServer
from mtdd_router.embedded.processes import log_tail, spawn

__all__ = ["Postgres", "Shard", "started"]

_HBA = f"local all all trust\nhost all all {HOST}/32 trust\n"
_SHARD_ROLE = "mtdd_shard"
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL, with its sockets in *folder*."""

    folder: Path
    port: int
    version: str

    def dsn(self, database: str, user: str = SUPERUSER) -> str:
        """Return the connection string over the unix socket."""
        return make_conninfo(host=str(self.folder), port=self.port, user=user, dbname=database)

    def create_database(self, name: str, owner: str = SUPERUSER) -> None:
        """Create an empty database."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" OWNER "{owner}"')

    def create_shard_database(self, name: str) -> str:
        """Create a database for a shard server, and return its connection string."""
        self.create_database(name, _SHARD_ROLE)
        return self.dsn(name, _SHARD_ROLE)

    def analyze(self, database: str) -> None:
        """Vacuum and analyse, so that neither happens while something is measured."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


@contextmanager
def started(connections: int = 200, *, on_disk: bool = False) -> Iterator[Postgres]:
    """Run a PostgreSQL in a folder of its own, which is deleted afterwards.

    Args:
        connections: how many it must allow.
        on_disk: its data is too much for memory.
    """
    with ExitStack() as stack:
        if on_disk:
            folder = Path(tempfile.mkdtemp(prefix="mtdd-bench-"))
            folder.chmod(0o711)
        else:
            folder = scratch_folder("mtdd-bench-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        account = postgres_account()
        sockets = folder / "sockets"
        sockets.mkdir()
        (data := folder / "postgres").mkdir()
        if account is not None:
            for path in (sockets, data):
                os.chown(path, account.uid, account.gid)
        server = PostgresServer(
            name="bench",
            folder=data / "bench",
            port=choose_port(),
            log=folder / "logs" / "postgres.log",
            programs=postgres_programs(account),
            account=account,
            password=secrets.token_hex(16),
            connections=connections,
            durable=False,
        )
        if (initialisation := server.begin_initialising()) is not None:
            initialisation.finish()
        rules = server.folder / "bench_hba.conf"
        rules.write_text(_HBA)
        rules.chmod(0o644)
        with (server.folder / "postgresql.conf").open("a") as configuration:
            configuration.write(
                f"unix_socket_directories = '{sockets}'\nhba_file = '{rules}'\n"
                "autovacuum = off\nshared_buffers = '256MB'\nmax_wal_size = '4GB'\n"
            )
        server.start()
        stack.callback(server.stop)
        server.wait_ready()
        with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {_SHARD_ROLE} LOGIN CREATEROLE CREATEDB NOINHERIT")
            version = connection.info.parameter_status("server_version") or ""
        yield Postgres(sockets, server.port, version)


class Shard:
    """A shard server process; as a context manager, running inside the block.

    Args:
        dsn: its PostgreSQL database.
        address: where it listens; None chooses a port.
        root: the checkout whose code it runs.
        module: the module to run instead of the server's own, for instrumentation.
        environment: is added to this process's.
        workers: its processes.
        pool: how many backend connections they may hold.
    """

    def __init__(
        self,
        dsn: str,
        *,
        root: Path,
        address: str | None = None,
        module: str = "mtdd_router.server",
        environment: Mapping[str, str] | None = None,
        workers: int = 1,
        pool: int = 20,
    ) -> None:
        self.address = address or f"{HOST}:{choose_port()}"
        self._folder = Path(tempfile.mkdtemp(prefix="mtdd-bench-shard-"))
        self._log = self._folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            *(sys.executable, "-P", "-m", module),
            *("--address", self.address),
            *("--pool-size", str(pool), "--workers", str(workers)),
        ]
        self._environment = {
            **os.environ,
            **(environment or {}),
            "PYTHONPATH": str(root),
            "MTDD_SHARD_DSN": dsn,
        }

    @property
    def pid(self) -> int:
        """The process that serves."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self._process = spawn(self._command, log=self._log, environment=self._environment)
        with grpc.insecure_channel(self.address) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=60)
            except grpc.FutureTimeoutError:
                self.stop()
                raise SystemExit(
                    f"The shard server did not start:\n{log_tail(self._log)}"
                ) from None
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process, and wait for it."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
