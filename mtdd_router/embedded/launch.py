"""Become another program that dies with its parent: ``launch.py SIGNAL PARENT UID GID COMMAND...``.

A program of its own, standard library only, started with ``python -I -S``: a process
with threads, as every gRPC client is, must not run code between fork and exec, not
even C's to change the user; its child may hang or crash. UID and GID are numbers, or
``-`` to stay who one is; SIGNAL 0 means to live on.
"""

import ctypes
import os
import sys
from collections.abc import Sequence

__all__ = ["launch_command"]

_PR_SET_PDEATHSIG = 1


def launch_command(
    command: Sequence[str], *, user: tuple[int, int] | None = None, death_signal: int = 0
) -> list[str]:
    """Return the command line that runs *command*, which begins with a full path.

    Args:
        command: the program and its arguments.
        user: user and group id to run it as; root may change them.
        death_signal: what the kernel sends it when this process dies, on Linux.
    """
    uid, gid = map(str, user) if user else ("-", "-")
    interpreter = [sys.executable, "-I", "-S", __file__]
    return [*interpreter, str(int(death_signal)), str(os.getpid()), uid, gid, *command]


def main(arguments: Sequence[str]) -> None:
    """Take the identity asked for, ask the kernel for the signal, and exec."""
    death_signal, parent, uid, gid, *command = arguments
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if int(death_signal) and sys.platform.startswith("linux"):
        # After the change of user, which would clear it; it survives the exec.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the parent has ended already")
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
