"""Become another program: ``launch.py REAPER SIGNAL UID GID COMMAND...``.

A program of its own, standard library only, started with ``python -I -S``: a process
with threads, as a Django server is, must not run code between fork and exec, not
even C's to change the user; its child may hang or crash. UID and GID are numbers, or
``-`` to stay who one is. REAPER is the descriptor of a pipe to the reaper, which is
told to send SIGNAL when its parent has died, or ``-`` to live on.
"""

import os
import sys
from collections.abc import Sequence
from signal import Signals

__all__ = ["launch_command"]


def launch_command(
    command: Sequence[str],
    *,
    user: tuple[int, int] | None = None,
    reaper: int | None = None,
    death_signal: Signals = Signals.SIGTERM,
) -> list[str]:
    """Return the command line that runs *command*, which begins with a full path.

    Args:
        command: the program and its arguments.
        user: user and group id to run it as; root may change them.
        reaper: the descriptor of ``reaper.reaper_pipe``, which the child inherits.
        death_signal: what the reaper sends it when this process has died.
    """
    uid, gid = map(str, user) if user else ("-", "-")
    told = "-" if reaper is None else str(reaper)
    interpreter = [sys.executable, "-I", "-S", __file__]
    return [*interpreter, told, str(int(death_signal)), uid, gid, *command]


def main(arguments: Sequence[str]) -> None:
    """Take the identity asked for, make oneself known to the reaper, and exec."""
    reaper, death_signal, uid, gid, *command = arguments
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if reaper != "-":
        # Until it is closed here, the reaper cannot take the parent for dead.
        with os.fdopen(int(reaper), "w") as pipe:
            pipe.write(f"{os.getpid()} {death_signal}\n")
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
