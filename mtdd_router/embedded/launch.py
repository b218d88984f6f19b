"""Become another program that dies with its parent: ``launch.py SIGNAL PARENT UID GID COMMAND...``.

A program of its own, standard library only, started with ``python -I -S``: code
between fork and exec of a process with threads (as every gRPC client is) may hang.
UID and GID are numbers, or ``-`` to stay who one is.
"""

import ctypes
import os
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> None:
    """Take the identity asked for, ask the kernel for the signal, and exec."""
    death_signal, parent, uid, gid, *command = arguments
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform.startswith("linux"):
        # After the change of user, which would clear it; it survives the exec.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent has ended already")
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
