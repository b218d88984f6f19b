"""A whole stack: PostgreSQL for the registry and each shard, shard servers, a worker for jobs.

Invariants: one process at a time runs the stack of a folder; whatever an earlier
one left behind is ended before anything starts; data, ports and passwords stay
from one run to the next.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from mtdd_router.embedded.account import postgres_account
from mtdd_router.embedded.binaries import ROOT_FOLDER, postgres_programs
from mtdd_router.embedded.errors import PortTaken, StackError
from mtdd_router.embedded.folders import FolderLock, data_folder, prepare_folder
from mtdd_router.embedded.job_worker import JobWorker, worker_mark
from mtdd_router.embedded.options import DEFAULT_SHARDS, StackOptions
from mtdd_router.embedded.ports import choose_port
from mtdd_router.embedded.postgres import PostgresServer
from mtdd_router.embedded.processes import (
    Identity,
    end,
    marked_processes,
    postgres_processes,
)
from mtdd_router.embedded.provisioning import (
    DATABASE,
    REGISTRY_ROLE,
    SHARD_ROLE,
    provide_registry,
    provide_shard,
)
from mtdd_router.embedded.shard_server import ShardServer
from mtdd_router.embedded.state import Credentials, ShardState, StackState

__all__ = ["Stack"]

Report: TypeAlias = Callable[[str], None]
_RESTART_PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_PORT_ATTEMPTS: Final = 5
_STEADY_AFTER: Final = 60.0


_Server: TypeAlias = PostgresServer | ShardServer | JobWorker
_WHAT: Final[dict[type[_Server], str]] = {
    PostgresServer: "PostgreSQL",
    ShardServer: "The shard server",
    JobWorker: "The worker",
}


def _silent(_message: str) -> None:
    """Report nothing."""


@dataclass(slots=True)
class _Restarts:
    """When a server that dies may be started again: at once first, then ever later."""

    count: int = 0
    not_before: float = 0.0

    def allowed(self, now: float) -> bool:
        return now >= self.not_before

    def note(self, now: float) -> None:
        if now - self.not_before > _STEADY_AFTER:
            self.count = 0
        self.count = min(self.count + 1, len(_RESTART_PAUSES) - 1)
        self.not_before = now + _RESTART_PAUSES[self.count]


class Stack:
    """The stack of *folder*; as a context manager, running inside the block.

    Raises:
        StackError: from any method, saying what to do.
    """

    def __init__(
        self, folder: Path, options: StackOptions | None = None, *, report: Report = _silent
    ) -> None:
        self.folder = folder.absolute()
        self.options = options or StackOptions()
        self.state = StackState()
        self.postgres: list[PostgresServer] = []
        self.shard_servers: list[ShardServer] = []
        self.worker: JobWorker | None = None
        self._credentials = Credentials()
        self._lock = FolderLock(self.folder)
        self._report = report
        self._restarts: dict[str, _Restarts] = {}
        self._chosen_ports: set[int] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def registry_dsn(self) -> str:
        """The connection string of the registry's database."""
        if self._credentials.registry_dsn:
            return self._credentials.registry_dsn
        registry = next(server for server in self.postgres if server.name == "registry")
        return registry.dsn(
            user=REGISTRY_ROLE, password=self._credentials.registry, database=DATABASE
        )

    def start(self) -> None:
        """Start everything and return when it answers.

        Raises:
            StackRunning: if another process runs the stack of this folder.
            StackError: if anything does not start; what had started is stopped again.
        """
        prepare_folder(self.folder)
        self._lock.acquire()
        try:
            self._plan()
            self._keep("starting")
            self._start_postgres()
            self._provide()
            self._plan_shard_servers()
            self._start_shard_servers()
            self._plan_worker()
            self._keep("running")
            # Its settings read what was just kept.
            if self.worker is not None:
                self.worker.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, who needs others before these; harmless if nothing runs."""
        if self.worker is not None:
            self.worker.stop()
        for shard_server in self.shard_servers:
            shard_server.stop()
        for postgres in self.postgres:
            postgres.stop()
        if self.shard_servers or self.postgres:
            self._keep("stopped")
        self.worker = None
        self.shard_servers = []
        self.postgres = []
        self._lock.release()

    def tend(self) -> None:
        """Start again what has died; to be called about twice a second."""
        now = time.monotonic()
        servers: list[_Server] = [*self.postgres, *self.shard_servers]
        if self.worker is not None:
            servers.append(self.worker)
        for server in servers:
            restarts = self._restarts.setdefault(str(server.log), _Restarts())
            if server.running or not restarts.allowed(now):
                continue
            self._report(
                f"{_WHAT[type(server)]} of {server.name!r} has died; starting it again. "
                f"See {server.log}."
            )
            try:
                server.start()
            finally:
                # To start it may take long itself.
                restarts.note(time.monotonic())

    def reset(self) -> None:
        """Delete the stack's data, ports and passwords.

        Raises:
            StackRunning: if it is running.
        """
        prepare_folder(self.folder)
        self._lock.acquire()
        try:
            state = StackState.read(self.folder) or StackState()
            place = Path(state.data_folder or self.folder / "postgres")
            for name in ("registry", *(shard.name for shard in state.shards)):
                end(postgres_processes(place / name), how=signal.SIGQUIT, patience=5.0)
                # Only what the stack made: the folder may be the user's, with more in it.
                shutil.rmtree(place / name, ignore_errors=True)
            if place.parent == ROOT_FOLDER:
                shutil.rmtree(place, ignore_errors=True)
            shutil.rmtree(self.folder / "logs", ignore_errors=True)
            for name in ("stack.json", "credentials.json"):
                (self.folder / name).unlink(missing_ok=True)
        finally:
            self._lock.release()

    def _plan(self) -> None:
        """Decide on ports, passwords and folders; nothing runs yet, but strays are ended."""
        self.state = StackState.read(self.folder) or StackState()
        self._credentials = Credentials.read(self.folder) or Credentials()
        end(marked_processes(self.state.stack_id), how=signal.SIGTERM, patience=3.0)
        self._plan_external()
        self._plan_postgres()
        self._credentials.write(self.folder)

    def _plan_external(self) -> None:
        """Settle which PostgreSQL servers are ours, and the names of the shards."""
        dsns = self.options.shard_dsns
        known = self.state.shards
        wanted = self.options.shards or len(dsns) or len(known) or DEFAULT_SHARDS
        if dsns and wanted != len(dsns):
            raise StackError(
                f"The number of shards, {wanted}, and that of the DSNs given for them, "
                f"{len(dsns)}, do not agree."
            )
        if wanted < len(known):
            raise StackError(
                f"This stack has {len(known)} shards with data of tenants; it cannot run "
                f"with {wanted}. Start anew with mtdd_up --reset to delete all data."
            )
        names = [f"shard{number}" for number in range(1, wanted + 1)]
        given = dict(zip(names, dsns, strict=False))
        self._credentials.shard_dsns = self._credentials.shard_dsns | given
        if self.options.registry_dsn:
            self._credentials.registry_dsn = self.options.registry_dsn
        by_name = {shard.name: shard for shard in known}
        self.state.shards = [by_name.get(name, ShardState(name, 0, None)) for name in names]

    def _plan_postgres(self) -> None:
        external = self._credentials.shard_dsns
        ours = [] if self._credentials.registry_dsn else ["registry"]
        ours += [shard.name for shard in self.state.shards if shard.name not in external]
        if not ours:
            return
        account = postgres_account()
        programs = postgres_programs(account)
        kept = self.options.data_folder or (
            Path(self.state.data_folder) if self.state.data_folder else None
        )
        place = data_folder(self.folder, account, kept)
        if place != self.folder / "postgres":
            self._report(f"PostgreSQL keeps its data in {place}.")
        self.state.data_folder = str(place)
        self.postgres = [
            PostgresServer(
                name=name,
                folder=place / name,
                port=0,
                log=self.folder / "logs" / f"{name}-postgres.log",
                programs=programs,
                account=account,
                password=self._credentials.superuser,
                connections=100 if name == "registry" else self.options.pool_size + 40,
                durable=self.options.durable,
            )
            for name in ours
        ]
        ports = {shard.name: shard.postgres_port for shard in self.state.shards}
        ports["registry"] = self.state.registry_port
        for server in self.postgres:
            server.end_strays()
            server.port = self._port(ports[server.name])

    def _plan_shard_servers(self) -> None:
        by_name = {server.name: server for server in self.postgres}
        self.shard_servers = []
        for shard in self.state.shards:
            dsn = self._credentials.shard_dsns.get(shard.name) or by_name[shard.name].dsn(
                user=SHARD_ROLE, password=self._credentials.shard, database=DATABASE
            )
            self.shard_servers.append(
                ShardServer(
                    name=shard.name,
                    port=self._port(shard.port or None),
                    dsn=dsn,
                    pool_size=self.options.pool_size,
                    workers=self.options.workers,
                    log=self.folder / "logs" / f"{shard.name}-server.log",
                    mark=f"{self.state.stack_id}/{shard.name}-server",
                )
            )

    def _plan_worker(self) -> None:
        self.worker = None
        self.state.has_worker = self.options.settings is not None
        if self.options.settings is not None:
            log = self.folder / "logs" / "jobs.log"
            self.worker = JobWorker(self.options.settings, log, worker_mark(self.state.stack_id))

    def _port(self, preferred: int | None) -> int:
        port = choose_port(preferred, self._chosen_ports)
        self._chosen_ports.add(port)
        return port

    def _start_postgres(self) -> None:
        self._initialise_postgres()
        for server in self.postgres:
            server.start()
        for server in self.postgres:
            self._settle(server)
            self._report(f"PostgreSQL of {server.name!r} answers on port {server.port}.")
        ports = {server.name: server.port for server in self.postgres}
        self.state.registry_port = ports.get("registry")
        for shard in self.state.shards:
            shard.postgres_port = ports.get(shard.name)

    def _initialise_postgres(self) -> None:
        """Make the data folders that are missing, all at once; if one fails, none goes on."""
        begun = []
        with ExitStack() as ending:
            for server in self.postgres:
                if initialisation := server.begin_initialising():
                    ending.callback(initialisation.abandon)
                    begun.append(initialisation)
            if begun:
                self._report(f"Making {len(begun)} PostgreSQL data folders ...")
            for initialisation in begun:
                initialisation.finish()

    def _provide(self) -> None:
        for server in self.postgres:
            if server.name == "registry":
                provide_registry(server.superuser_dsn, self._credentials.registry)
            else:
                provide_shard(server.superuser_dsn, self._credentials.shard)

    def _start_shard_servers(self) -> None:
        for server in self.shard_servers:
            server.start()
        for shard, server in zip(self.state.shards, self.shard_servers, strict=True):
            self._settle(server)
            shard.port = server.port
            self._report(f"The shard server of {server.name!r} answers on {server.address}.")

    def _settle(self, server: PostgresServer | ShardServer) -> None:
        """Wait for a started server; give it another port if its own was taken meanwhile."""
        for _ in range(_PORT_ATTEMPTS):
            try:
                return server.wait_ready()
            except PortTaken:
                server.port = self._port(None)
                server.start()
        return server.wait_ready()

    def _keep(self, status: str) -> None:
        self.state.status = status
        self.state.supervisor = None if status == "stopped" else Identity.of(os.getpid())
        self.state.write(self.folder)
