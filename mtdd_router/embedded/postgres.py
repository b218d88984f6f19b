"""One PostgreSQL server of the embedded stack.

Invariants: it listens on the loopback address only and asks everybody for a
password (SCRAM); its data folder appears whole or not at all; before it starts,
no other PostgreSQL works on that folder.
"""

import itertools
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from mtdd_router.embedded.account import Account
from mtdd_router.embedded.binaries import program_version
from mtdd_router.embedded.errors import PortTaken, StackError
from mtdd_router.embedded.ports import HOST, was_taken
from mtdd_router.embedded.processes import (
    end,
    log_tail,
    postgres_processes,
    spawn,
)

__all__ = ["SUPERUSER", "PostgresServer"]

SUPERUSER: Final = "postgres"
_CONFIGURATION: Final = "mtdd.conf"
_HBA: Final = f"host all all {HOST}/32 scram-sha-256\n"
_START_TIMEOUT: Final = 60.0
_INITDB_TIMEOUT: Final = 120.0
_STOP_TIMEOUT: Final = 20.0
_SUPERUSER_CONNECTIONS: Final = 20
_FIRST_WITH_LOCALES_OF_ITS_OWN: Final = 17


@dataclass(slots=True)
class PostgresServer:
    """A PostgreSQL server with its data in *folder*.

    Args:
        name: for messages and as PostgreSQL's cluster_name.
        connections: how many the server must allow to its ordinary users.
        durable: whether a commit survives a crash of the machine (fsync).
    """

    name: str
    folder: Path
    port: int
    log: Path
    programs: Path
    account: Account | None
    password: str
    connections: int
    durable: bool
    process: "subprocess.Popen[bytes] | None" = None

    def dsn(self, *, user: str, password: str, database: str) -> str:
        """Return the connection string of one user and database."""
        return make_conninfo(
            host=HOST, port=self.port, user=user, password=password, dbname=database
        )

    @property
    def superuser_dsn(self) -> str:
        """The connection string of the superuser."""
        return self.dsn(user=SUPERUSER, password=self.password, database="postgres")

    def begin_initialising(self) -> "Initialisation | None":
        """Start making the data folder, or return None if it is there.

        Raises:
            StackError: if it is there, but of another PostgreSQL version.
        """
        for unfinished in self.folder.parent.glob(f"{self.folder.name}.new-*"):
            end(postgres_processes(unfinished), how=signal.SIGQUIT, patience=5.0)
            shutil.rmtree(unfinished, ignore_errors=True)
        if (self.folder / "PG_VERSION").exists():
            self._check_version()
            return None
        return Initialisation.begin(self)

    def start(self) -> None:
        """Start the server; see ``wait_ready``. What an earlier crash left is cleaned."""
        self.end_strays()
        self._write("pg_hba.conf", _HBA)
        self._write(_CONFIGURATION, _as_configuration(self._settings()))
        self.process = spawn(
            [str(self.programs / "postgres"), "-D", str(self.folder)],
            log=self.log,
            environment=self._environment(),
            account=self.account,
            death_signal=signal.SIGINT,
        )

    def wait_ready(self) -> None:
        """Return when the server answers, after crash recovery if need be.

        Raises:
            PortTaken: if it ended because somebody else listens on its port.
            StackError: if it ends or does not answer in time, with its log's last lines.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            if not self.running:
                break
            try:
                psycopg.connect(self.superuser_dsn, connect_timeout=2).close()
            except psycopg.OperationalError as exc:
                if "password authentication failed" in str(exc):
                    raise StackError(
                        f"PostgreSQL {self.name!r} does not know the password kept for it; "
                        "its data and credentials.json do not belong together. "
                        "Put the right file back, or start anew with mtdd_up --reset."
                    ) from exc
                time.sleep(0.03)
            else:
                return
        said = log_tail(self.log)
        taken = not self.running and was_taken(self.port, said)
        raise (PortTaken if taken else StackError)(
            f"PostgreSQL {self.name!r} did not start on {HOST}:{self.port}; "
            f"the end of {self.log}:\n{said}"
        )

    @property
    def running(self) -> bool:
        """Whether the server's process, started by this object, is alive."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop the server: open transactions are rolled back, data is written out."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(_STOP_TIMEOUT)
        self.process = None
        self.end_strays()

    def end_strays(self) -> None:
        """End any PostgreSQL process on this folder, and what a crash left in it.

        A server whose postmaster was killed leaves processes that hold its shared
        memory, and a postmaster.pid whose number may be somebody else's by now.
        """
        end(postgres_processes(self.folder), how=signal.SIGQUIT, patience=5.0)
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def _settings(self) -> Mapping[str, str | int | bool]:
        return {
            "cluster_name": f"mtdd-{self.name}",
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "max_connections": self.connections + _SUPERUSER_CONNECTIONS,
            # Dropping a tenant locks every one of its tables and indexes at once.
            "max_locks_per_transaction": 512,
            # Without it, commits still survive a crash of PostgreSQL, not of the machine.
            "fsync": self.durable,
            "full_page_writes": self.durable,
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            # Compiling costs more than it saves on queries of a web application.
            "jit": False,
        }

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            # Every system has it. What databases sort by is up to initdb.
            "LC_ALL": "C",
        }

    def _check_version(self) -> None:
        kept = (self.folder / "PG_VERSION").read_text().strip()
        reported = program_version(self.programs, self.account)
        if reported is None or _major(reported) != kept:
            raise StackError(
                f"The data in {self.folder} is of PostgreSQL {kept}, the installed one is "
                f"{reported or 'missing'}. Install the old one, or start anew with mtdd_up --reset."
            )

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)


@dataclass(slots=True)
class Initialisation:
    """A running initdb, which several servers can do at once."""

    server: PostgresServer
    unfinished: Path
    password_file: Path
    process: "subprocess.Popen[bytes]"

    @classmethod
    def begin(cls, server: PostgresServer) -> "Initialisation":
        """Start initdb into a folder beside the final one."""
        token = secrets.token_hex(4)
        unfinished = server.folder.with_name(f"{server.folder.name}.new-{token}")
        unfinished.mkdir(mode=0o700)
        password_file = unfinished.with_suffix(f".new-{token}-password")
        password_file.touch(mode=0o600)
        password_file.write_text(server.password)
        if server.account:
            for path in (unfinished, password_file):
                os.chown(path, server.account.uid, server.account.gid)
        command = [
            str(server.programs / "initdb"),
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            *_locale_options(program_version(server.programs, server.account)),
            *([] if server.durable else ["--no-sync"]),
        ]
        process = spawn(
            command,
            log=server.log,
            environment=server._environment(),  # noqa: SLF001 - its own module
            account=server.account,
        )
        return cls(server, unfinished, password_file, process)

    def finish(self) -> None:
        """Wait for initdb and put the folder in its place.

        Raises:
            StackError: if initdb failed, with its last words.
        """
        try:
            failure = "failed" if self.process.wait(_INITDB_TIMEOUT) else ""
        except subprocess.TimeoutExpired:
            failure = f"took more than {_INITDB_TIMEOUT:.0f} s"
        if failure:
            raise StackError(
                f"initdb {failure} for PostgreSQL {self.server.name!r}; "
                f"the end of {self.server.log}:\n{log_tail(self.server.log)}"
            )
        with (self.unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write(f"\ninclude '{_CONFIGURATION}'\n")
        self.unfinished.rename(self.server.folder)

    def abandon(self) -> None:
        """End initdb if it still runs, and remove all but a finished folder; may be repeated."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        end(postgres_processes(self.unfinished), how=signal.SIGQUIT, patience=5.0)
        self.password_file.unlink(missing_ok=True)
        shutil.rmtree(self.unfinished, ignore_errors=True)


def _major(version: str) -> str:
    """Return the 18 of 18.6 and of 18beta1."""
    return "".join(itertools.takewhile(str.isdigit, version))


def _locale_options(version: str | None) -> list[str]:
    """Return initdb's options for Unicode in an order that is the same on every system."""
    if version is None or int(_major(version)) >= _FIRST_WITH_LOCALES_OF_ITS_OWN:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    # Older ones use the system's, which on Linux has the same rules.
    return ["--locale=C.UTF-8"]


def _as_configuration(settings: Mapping[str, str | int | bool]) -> str:
    lines = ["# Written at each start. Your own settings: postgresql.conf, after its include."]
    for name, value in settings.items():
        text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
        lines.append(f"{name} = '{text}'")
    return "\n".join(lines) + "\n"
