"""What stands between an application and PostgreSQL: PgBouncer, and the line that delays."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.figures import quantile
from benchmarks.servers import Postgres
from mtdd_router.embedded.ports import HOST, choose_port
from mtdd_router.embedded.processes import log_tail, spawn

__all__ = ["DelayLine", "Hop", "PgBouncer", "echo", "require_pgbouncer"]

_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
_START_SECONDS = 10.0
_STOP_SECONDS = 10.0
_PINGS = 400
_QUICK = 0.1


class _Program:
    """A program that listens on a port; as a context manager, running inside the block."""

    def __init__(self, command: list[str], port: int, environment: Mapping[str, str]) -> None:
        self.port = port
        self._folder = Path(tempfile.mkdtemp(prefix="mtdd-bench-"))
        self._log = self._folder / "output.log"
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self._process = spawn(self._command, log=self._log, environment=self._environment)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self
        self.stop()
        raise SystemExit(f"{self._command[0]} did not start:\n{log_tail(self._log)}")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """End the process, and wait for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def require_pgbouncer() -> str:
    """Return PgBouncer's path, after installing Debian's package where that may be done.

    Raises:
        SystemExit: saying what to install.
    """
    for attempt in range(2):
        found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if found:
            return found
        if attempt or os.geteuid() or not shutil.which("apt-get"):
            break
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "pgbouncer"]):
            subprocess.run(
                ["apt-get", "-qq", *command],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdout=subprocess.DEVNULL,
                check=False,
            )
    raise SystemExit(
        "PgBouncer is compared, and is not there: install it (Debian: apt install pgbouncer), "
        "or leave it out with --without pgbouncer."
    )


class PgBouncer(_Program):
    """PgBouncer in transaction mode, which reaches PostgreSQL by its unix socket.

    Args:
        postgres: the server behind it.
        database: the one database that it offers.
        schema: what each of its connections' search_path is.
        pool: how many connections it holds.
    """

    def __init__(self, postgres: Postgres, database: str, schema: str, pool: int = 20) -> None:
        port = choose_port()
        super().__init__([require_pgbouncer()], port, os.environ)
        settings = self._folder / "pgbouncer.ini"
        # It refuses to run as root; its log is not wanted.
        nobody = pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else ""
        settings.write_text(
            "[databases]\n"
            f"{database} = host={postgres.folder} port={postgres.port} user=postgres "
            f"dbname={database} connect_query='SET search_path = \"{schema}\"'\n"
            "[pgbouncer]\n"
            f"listen_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\n"
            f"default_pool_size = {pool}\nmax_client_conn = 5000\n"
            "log_connections = 0\nlog_disconnections = 0\n"
        )
        self._folder.chmod(0o755)
        self._command += [*(["-u", nobody] if nobody else []), str(settings)]


class Hop(_Program):
    """`benchmarks.hop` in front of PostgreSQL's unix socket: what a hop costs at least."""

    def __init__(self, postgres: Postgres) -> None:
        port = choose_port()
        path = f"{postgres.folder}/.s.PGSQL.{postgres.port}"
        super().__init__(_module("hop", str(port), path), port, _ENVIRONMENT)


class DelayLine(_Program):
    """`benchmarks.delay` in front of *target*, whose own overhead is taken off.

    Args:
        target: a port, or the path of a unix socket.
        round_trip: in seconds, both ways together.
    """

    correction = 0.0
    """What the program itself adds to a round trip, in seconds; measured once."""

    def __init__(self, target: str, round_trip: float) -> None:
        each_way = max(0.0, round_trip - DelayLine.correction) / 2
        port = choose_port()
        super().__init__(_module("delay", str(port), target, repr(each_way)), port, _ENVIRONMENT)

    @classmethod
    def calibrate(cls, round_trip: float) -> list[float]:
        """Measure the program with an echo behind it, and let it take off what it adds.

        Returns:
            By how much each round trip then differs from what was asked for, in seconds,
            sorted.
        """
        with socket.create_server((HOST, 0)) as server:
            threading.Thread(target=echo, args=[server], daemon=True).start()
            port = server.getsockname()[1]
            # Quick ones: the others tell of what else the machine did.
            without = quantile(_pings(port), _QUICK)
            cls.correction = 0.0
            with cls(str(port), round_trip) as line:
                cls.correction = quantile(_pings(line.port), _QUICK) - without - round_trip
            with cls(str(port), round_trip) as line:
                return sorted(ping - without - round_trip for ping in _pings(line.port))


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", f"benchmarks.{name}", *arguments]


def echo(server: socket.socket) -> None:
    """Answer each connection of *server* with what it says, until that is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)


def _pings(port: int) -> list[float]:
    durations = []
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(_PINGS):
            started = time.perf_counter()
            connection.sendall(bytes(200))
            connection.recv(1 << 16)
            durations.append(time.perf_counter() - started)
    return durations
