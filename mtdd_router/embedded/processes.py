"""Starting programs, and finding those that were started, also by a dead supervisor.

A process is only ever signalled if it is provably one of ours: a child of this
process, or one that carries the stack's own random mark in its command line, or a
PostgreSQL process whose working folder is the stack's data folder. A bare process
id is never trusted, since ids are used again. (The environment would be no place for
a mark: macOS shows that of other processes to nobody.)
"""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from mtdd_router.embedded.account import Account
from mtdd_router.embedded.launch import launch_command
from mtdd_router.embedded.reaper import reaper_pipe

__all__ = [
    "Identity",
    "end",
    "log_tail",
    "mark_option",
    "marked_processes",
    "postgres_processes",
    "process_of",
    "spawn",
    "wait_until",
]

_MARK: Final = "mtdd_stack="
_CREATION_TOLERANCE: Final = 2.0
_LOG_LIMIT_BYTES: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from a later one that got the same id.

    *created* is the time of its start, in seconds since the epoch.
    """

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Return the identity of the running process *pid*."""
        return cls(pid, psutil.Process(pid).create_time())


def process_of(identity: Identity | None) -> psutil.Process | None:
    """Return the running process of that *identity*, or None if it has ended."""
    if identity is None:
        return None
    try:
        process = psutil.Process(identity.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        same = abs(process.create_time() - identity.created) < _CREATION_TOLERANCE
    except psutil.Error:
        return None
    return process if same else None


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> "subprocess.Popen[bytes]":
    """Start *command*, a full path and arguments, with its output appended to *log*.

    The program gets a session of its own, so that Ctrl-C reaches the supervisor
    only, which then stops its children in order. The reaper sends it *death_signal*
    when this process dies, however it dies.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(log.suffix + ".1"))
    user = account.ids if account else None
    reaper = reaper_pipe()
    with log.open("ab") as output:
        return subprocess.Popen(
            launch_command(command, user=user, reaper=reaper, death_signal=death_signal),
            pass_fds=(reaper,),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )


def postgres_processes(folder: Path) -> list[psutil.Process]:
    """Return the PostgreSQL processes, of whichever parent, whose data is in *folder*."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != "postgres":
            continue
        with contextlib.suppress(psutil.Error, OSError):
            # As files, not as strings: a path may lead through links, or differ in case.
            if folder.samefile(process.cwd()):
                found.append(process)
    return found


def mark_option(mark: str) -> list[str]:
    """Return options for a Python interpreter that do nothing but carry *mark*."""
    return ["-X", f"{_MARK}{mark}"]


def marked_processes(mark: str) -> list[psutil.Process]:
    """Return the Python processes whose mark begins with *mark*."""
    wanted = f"{_MARK}{mark}"
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(argument.startswith(wanted) for argument in process.info["cmdline"] or ())
    ]


def end(
    processes: Iterable[psutil.Process], *, how: signal.Signals, patience: float
) -> list[psutil.Process]:
    """Send *how*, wait up to *patience* seconds, then kill; return what was killed."""
    waiting = list(processes)
    for process in waiting:
        with contextlib.suppress(psutil.Error):
            process.send_signal(how)
    _, stubborn = psutil.wait_procs(waiting, timeout=patience)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5.0)
    return list(stubborn)


def wait_until(done: Callable[[], bool], *, timeout: float, pause: float = 0.05) -> bool:
    """Ask *done* until it says yes or *timeout* seconds have passed; return its answer."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def log_tail(log: Path, lines: int = 12) -> str:
    """Return the last *lines* of a program's log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(there is no log)"
