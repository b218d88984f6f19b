"""A stack seen from another process: is it running, where, and stop it."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from psycopg import pq
from psycopg.conninfo import make_conninfo

from mtdd_router.embedded.errors import StackError
from mtdd_router.embedded.job_worker import worker_mark
from mtdd_router.embedded.options import StackOptions
from mtdd_router.embedded.ports import HOST
from mtdd_router.embedded.postgres import SUPERUSER
from mtdd_router.embedded.processes import (
    end,
    log_tail,
    marked_processes,
    postgres_processes,
    process_of,
    wait_until,
)
from mtdd_router.embedded.provisioning import DATABASE, REGISTRY_ROLE
from mtdd_router.embedded.shard_server import shard_answers
from mtdd_router.embedded.state import Credentials, StackState

__all__ = [
    "ServiceStatus",
    "StackStatus",
    "administrator_dsns",
    "registry_dsn",
    "shard_addresses",
    "stack_status",
    "start_detached",
    "stop_stack",
]

_START_TIMEOUT: Final = 180.0
_STOP_TIMEOUT: Final = 90.0
_PING_TIMEOUT: Final = 2
# Shown by psycopg as the place where it found nobody, when there is no stack.
_NOWHERE: Final = "/the stack is not running: python manage.py mtdd_up"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One server of a stack: what it is, where, and whether somebody answers there.

    A worker is nowhere; it answers if it is alive.
    """

    name: str
    kind: str
    address: str
    answers: bool


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The whole stack; *status* is ``running``, ``starting``, ``stopped`` or ``crashed``."""

    status: str
    supervisor_pid: int | None
    data_folder: str
    services: tuple[ServiceStatus, ...]

    @property
    def healthy(self) -> bool:
        """Whether it is running and every server answers."""
        return self.status == "running" and all(service.answers for service in self.services)


def stack_status(folder: Path) -> StackStatus:
    """Tell how the stack of *folder* is."""
    state = StackState.read(folder)
    if state is None:
        return StackStatus("stopped", None, "", ())
    supervisor = process_of(state.supervisor)
    status = state.status
    if status != "stopped" and supervisor is None:
        status = "crashed"
    services = []
    if state.registry_port:
        services.append(_postgres("registry", state.registry_port))
    for shard in state.shards:
        if shard.postgres_port:
            services.append(_postgres(shard.name, shard.postgres_port))
        address = f"{HOST}:{shard.port}"
        services.append(
            ServiceStatus(shard.name, "shard server", address, answers=shard_answers(address))
        )
    if state.has_worker:
        alive = bool(marked_processes(worker_mark(state.stack_id)))
        services.append(ServiceStatus("jobs", "worker", "", answers=alive))
    return StackStatus(
        status, supervisor.pid if supervisor else None, state.data_folder, tuple(services)
    )


def _postgres(name: str, port: int) -> ServiceStatus:
    dsn = make_conninfo(host=HOST, port=port, connect_timeout=_PING_TIMEOUT)
    answers = pq.PGconn.ping(dsn.encode()) == pq.Ping.OK
    return ServiceStatus(name, "PostgreSQL", f"{HOST}:{port}", answers=answers)


def stop_stack(folder: Path) -> bool:
    """Stop the stack of *folder* and all that it ever started; tell if anything ran.

    Raises:
        StackError: if its supervisor does not end in time.
    """
    state = StackState.read(folder)
    if state is None:
        return False
    identity = state.supervisor
    supervisor = process_of(identity)
    if supervisor is not None:
        supervisor.send_signal(signal.SIGTERM)
        if not wait_until(lambda: process_of(identity) is None, timeout=_STOP_TIMEOUT):
            raise StackError(
                f"The stack's supervisor (process {supervisor.pid}) does not end; "
                f"see {folder / 'logs'}."
            )
    strays = marked_processes(state.stack_id)
    end(strays, how=signal.SIGTERM, patience=5.0)
    for name in ("registry", *(shard.name for shard in state.shards)):
        data = postgres_processes(Path(state.data_folder) / name) if state.data_folder else []
        end(data, how=signal.SIGINT, patience=10.0)
        strays += data
    state = StackState.read(folder) or state
    if state.status != "stopped":
        state.status, state.supervisor = "stopped", None
        state.write(folder)
    return supervisor is not None or bool(strays)


def start_detached(folder: Path, options: StackOptions) -> None:
    """Start the stack of *folder* in the background, and return when it answers.

    Raises:
        StackError: with the end of its log, if it does not start.
    """
    log = folder.absolute() / "logs" / "stack.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ}
    if options.registry_dsn:
        environment["MTDD_STACK_REGISTRY_DSN"] = options.registry_dsn
    if options.shard_dsns:
        environment["MTDD_STACK_SHARD_DSNS"] = "\n".join(options.shard_dsns)
    command = [sys.executable, "-m", "mtdd_router.embedded", str(folder.absolute())]
    if options.shards:
        command += ["--shards", str(options.shards)]
    if options.data_folder:
        command += ["--data-dir", str(options.data_folder.absolute())]
    if options.settings:
        command += ["--settings", options.settings]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command += ["--pool-size", str(options.pool_size), "--workers", str(options.workers)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )

    def settled() -> bool:
        if process.poll() is not None:
            return True
        state = StackState.read(folder)
        return (
            state is not None
            and state.status == "running"
            and state.supervisor is not None
            and state.supervisor.pid == process.pid
        )

    if not wait_until(settled, timeout=_START_TIMEOUT) or process.poll() is not None:
        process.terminate()
        raise StackError(f"The stack did not start:\n{log_tail(log)}")
    # It outlives this process on purpose, so nobody shall warn that it still runs.
    process.returncode = 0


def shard_addresses(folder: Path) -> dict[str, str]:
    """Return the address of each shard server of the stack, by the shard's name."""
    state = StackState.read(folder)
    return {shard.name: f"{HOST}:{shard.port}" for shard in (state.shards if state else ())}


def registry_dsn(folder: Path) -> str:
    """Return the connection string of the registry's database of *folder*'s stack.

    Without a stack it is valid, too: connecting then fails with a message that
    says how to start one.
    """
    state, credentials = StackState.read(folder), Credentials.read(folder)
    if credentials is not None and credentials.registry_dsn:
        return credentials.registry_dsn
    if state is None or credentials is None or state.status == "stopped":
        return make_conninfo(host=_NOWHERE, dbname=DATABASE)
    return make_conninfo(
        host=HOST,
        port=state.registry_port,
        user=REGISTRY_ROLE,
        password=credentials.registry,
        dbname=DATABASE,
    )


def administrator_dsns(folder: Path) -> dict[str, str]:
    """Return the most privileged connection string to each shard's PostgreSQL, by shard.

    That is the superuser's, or the DSN that was given for an existing PostgreSQL.
    """
    state, credentials = StackState.read(folder), Credentials.read(folder)
    if state is None or credentials is None:
        return {}
    return {
        shard.name: credentials.shard_dsns.get(shard.name)
        or make_conninfo(
            host=HOST,
            port=shard.postgres_port,
            user=SUPERUSER,
            password=credentials.superuser,
            dbname=DATABASE,
        )
        for shard in state.shards
    }
