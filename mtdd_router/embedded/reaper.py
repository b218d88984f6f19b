"""The reaper: a process that ends the programs of this one when this one has died.

Its standard input is a pipe, on which each program writes its id and a signal just
before it begins. Nobody else holds the pipe's other end, so its end of file means
that this process is gone, however it ended; that works on every system. The reaper
then signals the programs that still run, each known by id and time of creation.

Run as a script, it needs the standard library and psutil alone.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Final

import psutil

__all__ = ["reaper_pipe"]

# PostgreSQL may have much to write out; after this it recovers at its next start instead.
_PATIENCE: Final = 20.0
_LAST_PATIENCE: Final = 5.0


class _Reaper:
    """The reaper of this process, started when it is needed, and anew if it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: int | None = None

    def pipe(self) -> int:
        with self._lock:
            if self._pipe is None or not self._alive(self._pipe):
                self._pipe = self._start()
            return self._pipe

    def after_fork(self) -> None:
        """Leave the pipe to the parent, which would else outlive itself in the child."""
        self._lock = threading.Lock()
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    @staticmethod
    def _alive(pipe: int) -> bool:
        try:
            os.write(pipe, b"\n")
        except BrokenPipeError:
            os.close(pipe)
            return False
        return True

    @staticmethod
    def _start() -> int:
        reader, writer = os.pipe()
        with os.fdopen(reader) as standard_input:
            process = subprocess.Popen(
                # By its path, since importing the package would load a hundred modules.
                [sys.executable, "-P", __file__],
                stdin=standard_input,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                cwd="/",
                start_new_session=True,
            )
        # It outlives this process on purpose, so nobody shall warn that it still runs.
        process.returncode = 0
        return writer


_reaper: Final = _Reaper()
os.register_at_fork(after_in_child=_reaper.after_fork)


def reaper_pipe() -> int:
    """Return the descriptor of the pipe to this process's reaper, which is running then."""
    return _reaper.pipe()


def main(lines: Iterable[str]) -> None:
    """Collect programs from *lines* until they end, and then end those that still run."""
    # What reaches all processes at once, such as a shutdown, is no order to stop watching.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    programs: dict[psutil.Process, signal.Signals] = {}
    for line in lines:
        programs = {program: how for program, how in programs.items() if program.is_running()}
        if line.strip():
            pid, number = line.split()
            with contextlib.suppress(psutil.NoSuchProcess):
                programs[psutil.Process(int(pid))] = signal.Signals(int(number))
    for program, how in programs.items():
        _send(program, how)
    _, alive = psutil.wait_procs(list(programs), timeout=_PATIENCE)
    for last in (signal.SIGQUIT, signal.SIGKILL):
        for program in alive:
            _send(program, last)
        _, alive = psutil.wait_procs(alive, timeout=_LAST_PATIENCE)


def _send(program: psutil.Process, how: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        program.send_signal(how)


if __name__ == "__main__":
    main(sys.stdin)
